/*
 * Where the engine's promises are kept: the intent before a workload runs, every transition before a
 * watcher hears of it, and the fences for ever.
 *
 * This is a seam. store_memory_new() keeps nothing beyond the process: after a restart of berthd the
 * engine knows no workload, and what still runs is stopped as unknown. A durable store implements the
 * same operations, commits off the event loop, and answers when it is on disk; the engine already
 * waits for those answers: a container's gate opens by that of its intent, and events are told by
 * theirs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"

struct store;

/* What is to be true. Everything is only read during the call. */
struct store_intent {
	const char *id;
	uint64_t instance;
	uint64_t generation;
	uint64_t epoch;
	const uint8_t *spec; /* berth.v1.WorkloadSpec, canonical */
	size_t spec_bytes;
	bool stop; /* it is to end, and stay so */
};

/* Told when a write is durable (@err NULL) or failed, perhaps before the operation returns; writes are
 * answered in the order they were given. */
struct store_done {
	void (*call)(void *userdata, uint64_t ticket, const struct err *err);
	void *userdata;
	uint64_t ticket; /* the writer's own */
};

/* What was kept, once for each, before `load` returns. */
struct store_visitor {
	int (*epoch)(void *userdata, uint64_t epoch);
	int (*generation)(void *userdata, const char *id, uint64_t generation);
	void *userdata;
};

struct store_ops {
	void (*put_intent)(struct store *store, const struct store_intent *intent,
			   const struct store_done *done);
	/* A transition, berth.v1.Event; those with `exit` are terminal records. */
	void (*put_event)(struct store *store, const uint8_t *event, size_t event_bytes,
			  const struct store_done *done);
	/* The highest epoch seen. */
	void (*put_epoch)(struct store *store, uint64_t epoch, const struct store_done *done);
	/* Forget @id but for its highest generation. */
	void (*put_tombstone)(struct store *store, const char *id, uint64_t generation,
			      const struct store_done *done);
	/* Returns 0, what a visitor's function returned, or a negative errno with @err. */
	int (*load)(struct store *store, const struct store_visitor *visitor, struct err *err);
	void (*free)(struct store *store);
};

/* Embedded first in what implements it. */
struct store {
	const struct store_ops *ops;
};

static inline void store_free(struct store *store)
{
	if (store)
		store->ops->free(store);
}

/* In memory: every write is answered at once. NULL without memory. */
struct store *store_memory_new(void);
