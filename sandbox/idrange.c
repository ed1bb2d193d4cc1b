/* A queue of free ranges: taken from the head, given back to the tail. */
#include "sandbox/idrange.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

struct idranges {
	uint32_t first;
	uint32_t slots;
	uint32_t head;   /* of queue[], a ring of @slots places */
	uint32_t n_free; /* places in use from @head on */
	bool *taken;
	uint16_t *queue;
};

struct idranges *idranges_new(uint32_t first, uint32_t count)
{
	struct idranges *ranges = calloc(1, sizeof(*ranges));

	if (!ranges)
		return NULL;
	ranges->first = first;
	ranges->slots = count / IDRANGE_IDS;
	ranges->n_free = ranges->slots;
	ranges->taken = calloc(ranges->slots, sizeof(*ranges->taken));
	ranges->queue = calloc(ranges->slots, sizeof(*ranges->queue));
	if (!ranges->taken || !ranges->queue) {
		idranges_free(ranges);
		return NULL;
	}
	for (uint32_t i = 0; i < ranges->slots; i++)
		ranges->queue[i] = (uint16_t)i;
	return ranges;
}

void idranges_free(struct idranges *ranges)
{
	if (!ranges)
		return;
	free(ranges->taken);
	free(ranges->queue);
	free(ranges);
}

int idranges_take(struct idranges *ranges, uint32_t *ret_first, struct err *err)
{
	uint32_t slot;

	if (ranges->n_free == 0)
		return err_set(err, ERR_EXHAUSTED, ENOSPC,
			       "all %u ranges of ids are in use: raise IdRangeCount",
			       ranges->slots);
	slot = ranges->queue[ranges->head];
	ranges->head = (ranges->head + 1) % ranges->slots;
	ranges->n_free--;
	ranges->taken[slot] = true;
	*ret_first = ranges->first + slot * IDRANGE_IDS;
	return 0;
}

static bool find_slot(const struct idranges *ranges, uint32_t first, uint32_t *ret_slot)
{
	uint32_t slot = (first - ranges->first) / IDRANGE_IDS;

	if (first < ranges->first || (first - ranges->first) % IDRANGE_IDS || slot >= ranges->slots)
		return false;
	*ret_slot = slot;
	return true;
}

/* Only at start, so that a walk over the queue does not matter. */
static void queue_remove(struct idranges *ranges, uint32_t slot)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < ranges->n_free; i++) {
		uint16_t at = ranges->queue[(ranges->head + i) % ranges->slots];

		if (at != slot)
			ranges->queue[(ranges->head + kept++) % ranges->slots] = at;
	}
	ranges->n_free = kept;
}

int idranges_take_this(struct idranges *ranges, uint32_t first, struct err *err)
{
	uint32_t slot;

	if (!find_slot(ranges, first, &slot))
		return err_set(
			err, ERR_INVALID, ERANGE,
			"the range of ids from %u on is none of IdRangeFirst and IdRangeCount",
			first);
	if (ranges->taken[slot])
		return err_set(err, ERR_EXISTS, EEXIST,
			       "the range of ids from %u on is another workload's", first);
	queue_remove(ranges, slot);
	ranges->taken[slot] = true;
	return 0;
}

void idranges_give_back(struct idranges *ranges, uint32_t first)
{
	uint32_t slot;

	if (!find_slot(ranges, first, &slot) || !ranges->taken[slot])
		return;
	ranges->taken[slot] = false;
	ranges->queue[(ranges->head + ranges->n_free++) % ranges->slots] = (uint16_t)slot;
}
