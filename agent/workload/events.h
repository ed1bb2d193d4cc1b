/*
 * The history: a ring of the last events, bounded in number and in bytes. Readers hold a sequence
 * number and nothing else, so that a slow one costs nothing and learns how many it missed. An event is
 * told once the store has it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "agent/store/store.h"
#include "agent/workload/engine.h"
#include "berth/v1/types.pb-c.h"

struct event_entry {
	uint8_t *bytes; /* berth.v1.Event */
	size_t n_bytes;
	char id[64]; /* of its workload; "" for the node's */
};

struct events {
	struct store *store;
	struct event_entry *ring; /* sequence s is at s % max */
	size_t max;
	size_t bytes_max;
	size_t bytes;
	uint64_t oldest; /* sequence number; oldest > newest: empty */
	uint64_t newest;
	uint64_t durable; /* what readers may see */
	char instance[40];
	/* Readers may see more; NULL: nobody wants to know. */
	void (*grew)(void *userdata);
	void *userdata;
	LIST_HEAD(, engine_watch) watches;
};

/* Returns 0 or -ENOMEM. */
int events_init(struct events *events, struct store *store, size_t max, size_t bytes_max,
		uint64_t wall_ns);
void events_done(struct events *events);

/* An event of before this start, as the store gives them: by their numbers. What is missing between two
 * counts as missed by who reads it. Returns 0 or -ENOMEM. */
int events_load(struct events *events, uint64_t sequence, const uint8_t *bytes, size_t n);
/* Put all that is kept to the store once more, after it failed. */
void events_put_again(struct events *events);

/* Append @event, whose sequence is set here. Returns the sequence number. An event that finds no
 * memory leaves a gap, which readers count as missed. */
uint64_t events_append(struct events *events, Berth__V1__Event *event);
/* Call those watches for whom there is news; only where a command may be run. */
void events_tell(struct events *events);
/* engine_events_read(). */
int events_read(struct events *events, struct engine_watch *watch, size_t max, struct arena *arena,
		Berth__V1__WatchEventsResponse *ret);
