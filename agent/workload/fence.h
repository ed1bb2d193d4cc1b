/*
 * Fences: the highest epoch that this host has seen, and the generations of ids that are gone. A
 * generation outlives its workload, so that a command that was late on its way cannot bring it back.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "agent/store/store.h"
#include "agent/workload/fault.h"
#include "berth/v1/node_agent.pb-c.h"
#include "proto/err.h"

/* More ids than a host places in months; the oldest goes first. */
#define FENCE_TOMBSTONES_MAX 65536

struct tombstone;
TAILQ_HEAD(tombstone_list, tombstone);

struct fence { /* all zero but by fence_init() */
	uint64_t epoch;
	void *tree; /* of tombstones, by id: tsearch(3) */
	struct tombstone_list oldest_first;
	size_t n_tombstones;
};

void fence_init(struct fence *fence);
void fence_done(struct fence *fence);

/* Compare with the highest epoch, and raise it. *ret_raised tells whether it was. ERR_PRECONDITION,
 * STALE_EPOCH. */
int fence_pass_epoch(struct fence *fence, uint64_t epoch, bool *ret_raised,
		     struct engine_fault *fault, struct err *err);
int fence_stale_generation(const char *id, uint64_t generation, uint64_t highest,
			   struct engine_fault *fault, struct err *err);

/* The highest generation of @id that is gone; 0: none is known. */
uint64_t fence_tombstone(const struct fence *fence, const char *id);
/* To the store once more, after it failed. */
void fence_put_again(const struct fence *fence, struct store *store);
/* Remember; never lowers. Returns 0 or -ENOMEM. */
int fence_bury(struct fence *fence, const char *id, uint64_t generation);
