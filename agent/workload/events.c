/*
 * Entries hold the packed message: what is kept for hours should be small, and readers need a copy of
 * their own anyway. oldest..newest are always consecutive; an entry without bytes is one that found no
 * memory.
 */
#include "agent/workload/events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/fault.h"
#include "proto/cleanup.h"

#define EVENTS_MAX_DEFAULT      16384
#define EVENT_BYTES_MAX_DEFAULT (8U << 20)

int events_init(struct events *events, struct store *store, size_t max, size_t bytes_max,
		uint64_t wall_ns)
{
	*events = (struct events){ .store = store,
				   .max = max ? max : EVENTS_MAX_DEFAULT,
				   .bytes_max = bytes_max ? bytes_max : EVENT_BYTES_MAX_DEFAULT,
				   .oldest = 1 };
	LIST_INIT(&events->watches);
	/* Different for every history of this host: the time, which no other start can share. */
	(void)snprintf(events->instance, sizeof(events->instance), "%llx-%x",
		       (unsigned long long)wall_ns, (unsigned int)getpid());
	events->ring = calloc(events->max, sizeof(*events->ring));
	return events->ring ? 0 : -ENOMEM;
}

static struct event_entry *at(struct events *events, uint64_t sequence)
{
	return &events->ring[sequence % events->max];
}

static void drop_oldest(struct events *events)
{
	struct event_entry *entry = at(events, events->oldest);

	events->bytes -= entry->n_bytes;
	free(entry->bytes);
	*entry = (struct event_entry){ 0 };
	events->oldest++;
}

void events_done(struct events *events)
{
	while (events->ring && events->oldest <= events->newest)
		drop_oldest(events);
	free(events->ring);
	events->ring = NULL;
}

static void on_stored(void *userdata, uint64_t ticket, const struct err *err)
{
	struct events *events = userdata;

	/* What could not be stored is still told: that it happened is certain, and silence would
	 * not make it durable. */
	if (ticket > events->durable)
		events->durable = ticket;
	if (events->grew)
		events->grew(events->userdata);
}

static void make_room(struct events *events, size_t n_bytes)
{
	while (events->oldest <= events->newest &&
	       (events->newest - events->oldest + 1 >= events->max ||
		events->bytes + n_bytes > events->bytes_max))
		drop_oldest(events);
}

static void put(struct events *events, uint64_t sequence)
{
	const struct store_done done = { .call = on_stored,
					 .userdata = events,
					 .ticket = sequence };
	const struct event_entry *entry = at(events, sequence);

	if (entry->bytes)
		events->store->ops->put_event(events->store, sequence, entry->bytes, entry->n_bytes,
					      &done);
	else
		on_stored(events, sequence, NULL);
}

void events_put_again(struct events *events)
{
	for (uint64_t s = events->oldest; s <= events->newest; s++)
		put(events, s);
}

int events_load(struct events *events, uint64_t sequence, const uint8_t *bytes, size_t n)
{
	struct event_entry entry = { .bytes = malloc(n ? n : 1), .n_bytes = n };
	Berth__V1__Event *event = berth__v1__event__unpack(NULL, n, bytes);

	if (!entry.bytes || !event) {
		free(entry.bytes);
		if (event)
			berth__v1__event__free_unpacked(event, NULL);
		return entry.bytes ? 0 : -ENOMEM; /* what is no event is left out */
	}
	memcpy(entry.bytes, bytes, n);
	(void)snprintf(entry.id, sizeof(entry.id), "%s", event->workload);
	berth__v1__event__free_unpacked(event, NULL);
	if (events->newest == 0 || sequence - events->newest >= events->max) {
		while (events->oldest <= events->newest)
			drop_oldest(events);
		events->oldest = sequence;
		events->newest = sequence - 1;
	}
	while (events->newest + 1 < sequence) { /* a gap */
		make_room(events, 0);
		*at(events, ++events->newest) = (struct event_entry){ 0 };
	}
	make_room(events, n);
	events->newest = sequence;
	events->bytes += n;
	*at(events, sequence) = entry;
	events->durable = sequence;
	return 0;
}

uint64_t events_append(struct events *events, Berth__V1__Event *event)
{
	struct event_entry entry = { 0 };

	event->sequence = events->newest + 1;
	entry.n_bytes = berth__v1__event__get_packed_size(event);
	entry.bytes = malloc(entry.n_bytes);
	if (entry.bytes)
		(void)berth__v1__event__pack(event, entry.bytes);
	else
		entry.n_bytes = 0;
	(void)snprintf(entry.id, sizeof(entry.id), "%s", event->workload);

	make_room(events, entry.n_bytes);
	events->newest++;
	events->bytes += entry.n_bytes;
	*at(events, events->newest) = entry;

	put(events, events->newest);
	return events->newest;
}

/* Passes over what is of other workloads. */
static bool has_news(struct events *events, struct engine_cursor *place)
{
	if (place->next < events->oldest)
		return true;
	for (; place->next <= events->durable; place->next++)
		if (!*place->id || strcmp(place->id, at(events, place->next)->id) == 0)
			return true;
	return false;
}

void events_tell(struct events *events)
{
	struct engine_watch *watch;
	struct engine_watch *next;

	for (watch = LIST_FIRST(&events->watches); watch; watch = next) {
		next = LIST_NEXT(watch, link);
		if (watch->told || !has_news(events, &watch->cursor))
			continue;
		watch->told = true;
		watch->available(watch);
		/* The reader may have ended any watch, the next one among them: begin again; those
		 * who were told are passed over. */
		next = LIST_FIRST(&events->watches);
	}
}

/* Put @event into @ret; the cursor is moved by the caller. */
static int give(const struct event_entry *entry, struct arena *arena,
		Berth__V1__WatchEventsResponse *ret)
{
	Berth__V1__Event *event = berth__v1__event__unpack(&arena->allocator, entry->n_bytes,
							   entry->bytes);

	return arena_append(arena, &ret->events, &ret->n_events, event);
}

int events_read(struct events *events, struct engine_watch *watch, size_t max, struct arena *arena,
		Berth__V1__WatchEventsResponse *ret)
{
	struct engine_cursor place = watch->cursor;

	if (place.next < events->oldest) {
		place.missed += events->oldest - place.next;
		place.next = events->oldest;
	}
	for (; place.next <= events->durable && ret->n_events < max; place.next++) {
		const struct event_entry *entry = at(events, place.next);

		if (!entry->bytes) {
			place.missed++;
			continue;
		}
		if (*place.id && strcmp(place.id, entry->id) != 0)
			continue;
		if (give(entry, arena, ret) < 0)
			return -ENOMEM;
	}
	if (ret->n_events > 0 || place.missed > 0) {
		ret->missed = place.missed;
		place.missed = 0;
	}
	watch->cursor = place;
	if (place.next > events->durable)
		watch->told = false;
	return (int)ret->n_events;
}
