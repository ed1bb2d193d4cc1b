/*
 * Where the engine's promises are kept: the intent before a workload runs, its life, every transition
 * before a watcher hears of it, and the fences for ever.
 *
 * store_memory_new() keeps nothing beyond the process: for hosts that want it so, and tests.
 * store_sqlite_new() is durable. Writes are collected until submit(); what was put between two submits
 * is kept as a whole or not at all.
 *
 * A store never ends the agent: what cannot be written is answered as failed, @failure says why as long
 * as that is so, and when the disk takes writes again the engine is asked to put everything once more.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

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
	bool stop;   /* it is to end, and stay so */
	bool is_new; /* nothing of it is kept yet: on a full disk it fails, so that others do not */
};

/* Told when a write is durable (@err NULL) or failed, perhaps before the operation returns; durable
 * writes are answered in the order they were given. @call may be NULL: nobody wants to know. */
struct store_done {
	void (*call)(void *userdata, uint64_t ticket, const struct err *err);
	void *userdata;
	uint64_t ticket; /* the writer's own */
};

/* What was kept, before `load` returns: events by their sequence, records by theirs,
 * then intents, then lives. Each returns
 * 0, or a negative errno that ends the load. */
struct store_visitor {
	int (*epoch)(void *userdata, uint64_t epoch);
	int (*generation)(void *userdata, const char *id, uint64_t generation);
	int (*node)(void *userdata, const uint8_t *bytes, size_t n);
	int (*intent)(void *userdata, const struct store_intent *intent);
	int (*life)(void *userdata, const char *id, const uint8_t *bytes, size_t n);
	int (*event)(void *userdata, uint64_t sequence, const uint8_t *bytes, size_t n);
	int (*record)(void *userdata, uint64_t sequence, const uint8_t *bytes, size_t n);
	void *userdata;
};

struct store_ops {
	void (*put_intent)(struct store *store, const struct store_intent *intent,
			   const struct store_done *done);
	/* berth.agent.v1.Life of @id. */
	void (*put_life)(struct store *store, const char *id, const uint8_t *bytes, size_t n,
			 const struct store_done *done);
	/* A transition, berth.v1.Event: the last ones are kept. */
	void (*put_event)(struct store *store, uint64_t sequence, const uint8_t *bytes, size_t n,
			  const struct store_done *done);
	/* An event that is a terminal record: kept, whatever becomes of the events, until it is dropped. */
	void (*put_record)(struct store *store, uint64_t sequence, const uint8_t *bytes, size_t n,
			   const struct store_done *done);
	void (*drop_record)(struct store *store, uint64_t sequence, const struct store_done *done);
	/* The highest epoch seen. */
	void (*put_epoch)(struct store *store, uint64_t epoch, const struct store_done *done);
	/* Forget @id but for its highest generation; 0: forget that too. */
	void (*put_tombstone)(struct store *store, const char *id, uint64_t generation,
			      const struct store_done *done);
	/* berth.agent.v1.Node. */
	void (*put_node)(struct store *store, const uint8_t *bytes, size_t n,
			 const struct store_done *done);
	/* Writes nothing: answered when all that was put before it is durable. */
	void (*put_barrier)(struct store *store, const struct store_done *done);
	/* Hand over what was put: together, or not at all. */
	void (*submit)(struct store *store);
	/* Before the first put. Returns 0, what a visitor's function returned, or a negative errno with
	 * @err. */
	int (*load)(struct store *store, const struct store_visitor *visitor, struct err *err);
	/* Waits until what was submitted is written; nobody is told any more. */
	void (*free)(struct store *store);
};

#define STORE_SENTENCE_MAX 512

/* Embedded first in what implements it. */
struct store {
	const struct store_ops *ops;
	/* Sentences for an operator, "" where there is nothing to say. */
	char failure
		[STORE_SENTENCE_MAX]; /* nothing new can be kept: why; cleared when it can again */
	char damage[STORE_SENTENCE_MAX]; /* what was kept was in danger, and what became of it */
	/* It does not know all that the host was asked for: a new file, or a damaged one. Set by load. */
	bool fresh;
	bool keeps; /* what is put is there for the next process */
	/* What is kept could not be read at the start. When @failure is gone it can: start anew. */
	bool unread;
	/* The disk takes writes again, but what failed meanwhile is missing: put everything. May be
	 * NULL. */
	void (*recovered)(void *userdata);
	void *userdata;
};

static inline void store_free(struct store *store)
{
	if (store)
		store->ops->free(store);
}

/* In memory: every write is answered at once. NULL without memory. */
struct store *store_memory_new(void);

struct store_sqlite_config {
	const char *directory; /* it must be there; the store's files in it are 0600 */
	uint64_t events_max;   /* older ones are dropped; 0: 16384 */
	uint64_t retry_ms;     /* after a failure; 0: 1000 */
	size_t queue_max;      /* bytes that may wait for the disk; 0: 64 MiB */
};

/*
 * A store in <directory>/agent.db, with a writer thread of its own: all that is submitted while a commit
 * runs goes into the next one, so that neither the loop nor another launch waits for a slow disk. What
 * is answered comes by @event.
 *
 * A file that is damaged is kept as agent.db.damaged-<time>, what can still be read of it is taken
 * over, and store->damage says so. A disk that cannot be written, or a directory that is not there, is no
 * failure here: store->failure says so, and it is tried again and again. After a failure of the disk all
 * is written to a new file: what reads well may not be on it.
 *
 * When the disk is full, a reserve of 1 MiB is given up: intents of what is new fail, everything else is
 * still written, and store->failure stays until the reserve can be taken again.
 * Returns 0, or a negative errno with @err: without memory or threads, or where another process has the
 * file open.
 */
int store_sqlite_new(sd_event *event, const struct store_sqlite_config *config,
		     struct store **ret_store, struct err *err);
