/*
 * The history: a ring of the last events, bounded in number and in bytes. Readers hold a sequence
 * number and nothing else, so that a slow one costs nothing and learns how many it missed. An event is
 * told once the store has it, and all before it: while the disk fails nobody hears of any, so that no
 * number is told that a crash would give to another event.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "agent/store/store.h"
#include "agent/workload/engine.h"
#include "berth/v1/types.pb-c.h"

/* berth.v1.Event, packed; shared between the history and the records. */
struct event_bytes {
	unsigned int refs;
	size_t n;
	uint8_t bytes[];
};
void event_bytes_unref(struct event_bytes *event); /* NULL is fine */

struct event_entry {
	struct event_bytes *event; /* NULL: found no memory, or is not there any more */
	char id[64];               /* of its workload; "" for the node's */
	bool is_record;            /* it has an exit record */
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
	/* The first that the store failed to take, and has not taken since; 0: none. */
	uint64_t failed_from;
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
/* The number @sequence was given, whatever became of its event. */
void events_pass(struct events *events, uint64_t sequence);
/* Put all that is kept to the store once more, after it failed. */
void events_put_again(struct events *events);

/* Another reference to the event @sequence; NULL where its bytes are not in the history. */
struct event_bytes *events_share(struct events *events, uint64_t sequence);
/* Its last event that is in the history; 0: none is. */
uint64_t events_last_of(struct events *events, const char *id);
/* It is there, and has an exit record. */
bool events_is_record(struct events *events, uint64_t sequence);
/* A copy of packed bytes; NULL without memory. */
struct event_bytes *event_bytes_new(const uint8_t *bytes, size_t n);

/* Append @event, whose sequence is set here. Returns the sequence number. An event that finds no
 * memory leaves a gap, which readers count as missed. */
uint64_t events_append(struct events *events, Berth__V1__Event *event);
/* Call those watches for whom there is news; only where a command may be run. */
void events_tell(struct events *events);
/* Put @event into @ret. Returns 0 or -ENOMEM. */
int events_give(const struct event_bytes *event, struct arena *arena,
		Berth__V1__WatchEventsResponse *ret);
/* The part of engine_events_read() that is history. */
int events_read(struct events *events, struct engine_watch *watch, size_t max, struct arena *arena,
		Berth__V1__WatchEventsResponse *ret);
