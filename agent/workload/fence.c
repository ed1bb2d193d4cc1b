#include "agent/workload/fence.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

struct tombstone {
	TAILQ_ENTRY(tombstone) link;
	uint64_t generation;
	char id[64];
};

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct tombstone *)a)->id, ((const struct tombstone *)b)->id);
}

void fence_init(struct fence *fence)
{
	*fence = (struct fence){ 0 };
	TAILQ_INIT(&fence->oldest_first);
}

static void drop_oldest(struct fence *fence)
{
	struct tombstone *oldest = TAILQ_FIRST(&fence->oldest_first);

	(void)tdelete(oldest, &fence->tree, compare);
	TAILQ_REMOVE(&fence->oldest_first, oldest, link);
	fence->n_tombstones--;
	free(oldest);
}

void fence_done(struct fence *fence)
{
	while (!TAILQ_EMPTY(&fence->oldest_first))
		drop_oldest(fence);
}

int fence_pass_epoch(struct fence *fence, uint64_t epoch, bool *ret_raised,
		     struct engine_fault *fault, struct err *err)
{
	if (epoch < fence->epoch) {
		fault->reason = FAULT_STALE_EPOCH;
		engine_fault_add_number(fault, "epoch", epoch);
		engine_fault_add_number(fault, "highest_epoch", fence->epoch);
		return err_set(
			err, ERR_PRECONDITION, ESTALE,
			"epoch %llu is over: this host has seen epoch %llu; another scheduler leads",
			(unsigned long long)epoch, (unsigned long long)fence->epoch);
	}
	*ret_raised = epoch > fence->epoch;
	fence->epoch = epoch;
	return 0;
}

int fence_stale_generation(const char *id, uint64_t generation, uint64_t highest,
			   struct engine_fault *fault, struct err *err)
{
	fault->reason = FAULT_STALE_GENERATION;
	engine_fault_add_number(fault, "generation", generation);
	engine_fault_add_number(fault, "highest_generation", highest);
	return err_set(err, ERR_PRECONDITION, ESTALE,
		       "generation %llu of workload %s is over: this host has seen generation %llu",
		       (unsigned long long)generation, id, (unsigned long long)highest);
}

static struct tombstone *find(const struct fence *fence, const char *id)
{
	struct tombstone key = { 0 };
	struct tombstone *const *found;

	strncpy(key.id, id, sizeof(key.id) - 1);
	found = tfind(&key, &fence->tree, compare);
	return found ? *found : NULL;
}

uint64_t fence_tombstone(const struct fence *fence, const char *id)
{
	const struct tombstone *tombstone = find(fence, id);

	return tombstone ? tombstone->generation : 0;
}

void fence_put_again(const struct fence *fence, struct store *store)
{
	const struct store_done nobody = { 0 };
	const struct tombstone *tombstone;

	TAILQ_FOREACH(tombstone, &fence->oldest_first, link)
	store->ops->put_tombstone(store, tombstone->id, tombstone->generation, &nobody);
}

int fence_bury(struct fence *fence, const char *id, uint64_t generation)
{
	struct tombstone *tombstone = find(fence, id);

	if (tombstone) {
		if (generation > tombstone->generation)
			tombstone->generation = generation;
		TAILQ_REMOVE(&fence->oldest_first, tombstone, link);
		TAILQ_INSERT_TAIL(&fence->oldest_first, tombstone, link);
		return 0;
	}
	tombstone = calloc(1, sizeof(*tombstone));
	if (!tombstone)
		return -ENOMEM;
	strncpy(tombstone->id, id, sizeof(tombstone->id) - 1);
	tombstone->generation = generation;
	if (!tsearch(tombstone, &fence->tree, compare)) {
		free(tombstone);
		return -ENOMEM;
	}
	TAILQ_INSERT_TAIL(&fence->oldest_first, tombstone, link);
	if (++fence->n_tombstones > FENCE_TOMBSTONES_MAX)
		drop_oldest(fence);
	return 0;
}
