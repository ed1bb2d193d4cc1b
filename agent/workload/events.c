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

void event_bytes_unref(struct event_bytes *event)
{
	if (event && --event->refs == 0)
		free(event);
}

struct event_bytes *event_bytes_new(const uint8_t *bytes, size_t n)
{
	struct event_bytes *event = malloc(sizeof(*event) + n);

	if (!event)
		return NULL;
	event->refs = 1;
	event->n = n;
	if (bytes)
		memcpy(event->bytes, bytes, n);
	return event;
}

static size_t size_of(const struct event_entry *entry)
{
	return entry->event ? entry->event->n : 0;
}

static void drop_oldest(struct events *events)
{
	struct event_entry *entry = at(events, events->oldest);

	events->bytes -= size_of(entry);
	event_bytes_unref(entry->event);
	*entry = (struct event_entry){ 0 };
	events->oldest++;
	if (events->failed_from && events->failed_from < events->oldest)
		events->failed_from = events->oldest;
}

struct event_bytes *events_share(struct events *events, uint64_t sequence)
{
	struct event_bytes *event = NULL;

	if (sequence >= events->oldest && sequence <= events->newest)
		event = at(events, sequence)->event;
	if (event)
		event->refs++;
	return event;
}

void events_done(struct events *events)
{
	while (events->ring && events->oldest <= events->newest)
		drop_oldest(events);
	free(events->ring);
	events->ring = NULL;
}

uint64_t events_last_of(struct events *events, const char *id)
{
	for (uint64_t s = events->newest; s >= events->oldest; s--)
		if (strcmp(at(events, s)->id, id) == 0)
			return s;
	return 0;
}

bool events_is_record(struct events *events, uint64_t sequence)
{
	return sequence >= events->oldest && sequence <= events->newest &&
	       at(events, sequence)->is_record;
}

static void take_answer(struct events *events, uint64_t sequence, bool failed)
{
	if (failed) {
		if (!events->failed_from || sequence < events->failed_from)
			events->failed_from = sequence;
		return;
	}
	/* What comes after a failed one waits for it: events_put_again() puts them in their order. */
	if (events->failed_from && sequence > events->failed_from)
		return;
	if (sequence == events->failed_from)
		events->failed_from = 0;
	if (sequence > events->durable)
		events->durable = sequence;
}

static void on_stored(void *userdata, uint64_t ticket, const struct err *err)
{
	struct events *events = userdata;

	take_answer(events, ticket, err != NULL);
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
	const struct event_bytes *event = at(events, sequence)->event;

	if (event)
		events->store->ops->put_event(events->store, sequence, event->bytes, event->n,
					      &done);
	else
		events->store->ops->put_barrier(events->store, &done);
}

void events_put_again(struct events *events)
{
	for (uint64_t s = events->oldest; s <= events->newest; s++)
		put(events, s);
}

/* Begin anew at @sequence where what is there is too far behind; else the gap is one of events that are
 * not there any more. */
static void reach(struct events *events, uint64_t sequence)
{
	if (events->newest == 0 || sequence - events->newest >= events->max) {
		while (events->oldest <= events->newest)
			drop_oldest(events);
		events->oldest = sequence;
		events->newest = sequence - 1;
	}
	while (events->newest + 1 < sequence) {
		make_room(events, 0);
		*at(events, ++events->newest) = (struct event_entry){ 0 };
	}
}

int events_load(struct events *events, uint64_t sequence, const uint8_t *bytes, size_t n)
{
	Berth__V1__Event *event = berth__v1__event__unpack(NULL, n, bytes);
	struct event_entry entry = { 0 };

	if (!event)
		return 0; /* what is no event is left out */
	(void)snprintf(entry.id, sizeof(entry.id), "%s", event->workload);
	entry.is_record = event->exit != NULL;
	berth__v1__event__free_unpacked(event, NULL);
	entry.event = event_bytes_new(bytes, n);
	if (!entry.event)
		return -ENOMEM;
	reach(events, sequence);
	make_room(events, n);
	events->newest = sequence;
	events->bytes += n;
	*at(events, sequence) = entry;
	events->durable = sequence;
	return 0;
}

void events_pass(struct events *events, uint64_t sequence)
{
	if (sequence <= events->newest)
		return;
	reach(events, sequence + 1);
	events->durable = sequence;
}

uint64_t events_append(struct events *events, Berth__V1__Event *event)
{
	struct event_entry entry = { .is_record = event->exit != NULL };

	event->sequence = events->newest + 1;
	entry.event = event_bytes_new(NULL, berth__v1__event__get_packed_size(event));
	if (entry.event)
		(void)berth__v1__event__pack(event, entry.event->bytes);
	(void)snprintf(entry.id, sizeof(entry.id), "%s", event->workload);

	make_room(events, size_of(&entry));
	events->newest++;
	events->bytes += size_of(&entry);
	*at(events, events->newest) = entry;

	put(events, events->newest);
	return events->newest;
}

static bool is_wanted(const struct engine_cursor *place, const struct event_entry *entry)
{
	return (!*place->id || strcmp(place->id, entry->id) == 0) &&
	       (!place->records_only || entry->is_record);
}

/* Passes over what is of other workloads. */
static bool has_news(struct events *events, struct engine_cursor *place)
{
	if (place->next < events->oldest)
		return true;
	for (; place->next <= events->durable; place->next++)
		if (is_wanted(place, at(events, place->next)))
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

int events_give(const struct event_bytes *event, struct arena *arena,
		Berth__V1__WatchEventsResponse *ret)
{
	Berth__V1__Event *message = berth__v1__event__unpack(&arena->allocator, event->n,
							     event->bytes);

	return arena_append(arena, &ret->events, &ret->n_events, message);
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

		if (!entry->event) {
			place.missed++;
			continue;
		}
		if (!is_wanted(&place, entry))
			continue;
		if (events_give(entry->event, arena, ret) < 0)
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
