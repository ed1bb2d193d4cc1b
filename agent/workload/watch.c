/* Who reads the history, and from where. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/workload/model.h"
#include "proto/names.h"

int watch_check_number(const struct events *events, const char *instance, uint64_t sequence,
		       struct err *err, struct engine_fault *fault)
{
	if (*instance && strcmp(instance, events->instance) != 0) {
		fault->reason = FAULT_EVENTS_UNKNOWN;
		return err_set(
			err, ERR_PRECONDITION, ERANGE,
			"event %llu is of another history of this host (instance \"%.40s\", now \"%s\"): list the workloads and watch from now on",
			(unsigned long long)sequence, instance, events->instance);
	}
	if (sequence <= events->durable)
		return 0;
	engine_fault_add_number(fault, "oldest", events->oldest);
	engine_fault_add_number(fault, "newest", events->durable);
	fault->reason = FAULT_EVENTS_UNKNOWN;
	return err_set(err, ERR_PRECONDITION, ERANGE,
		       "event %llu has not happened: the newest is %llu",
		       (unsigned long long)sequence, (unsigned long long)events->durable);
}

static int check_place(const struct events *events, const Berth__V1__WatchEventsRequest *request,
		       struct err *err, struct engine_fault *fault)
{
	uint64_t after = request->from_oldest ? 0 : request->after_sequence;
	int r = watch_check_number(events, request->instance, after, err, fault);

	if (r < 0 || after == 0 || after + 1 >= events->oldest)
		return r;
	engine_fault_add_number(fault, "oldest", events->oldest);
	engine_fault_add_number(fault, "newest", events->durable);
	fault->reason = FAULT_EVENTS_TOO_OLD;
	return err_set(
		err, ERR_PRECONDITION, ERANGE,
		"event %llu is gone: the oldest that is kept is %llu; list the workloads and watch from now on",
		(unsigned long long)request->after_sequence, (unsigned long long)events->oldest);
}

/* Those of before the place where the events begin. */
static void begin_records(struct engine_cursor *place, const Berth__V1__WatchEventsRequest *request)
{
	place->records_only = request->records_only;
	place->with_records = request->earlier_records !=
			      BERTH__V1__EARLIER_RECORDS__EARLIER_RECORDS_NONE;
	place->with_acknowledged = request->earlier_records ==
				   BERTH__V1__EARLIER_RECORDS__EARLIER_RECORDS_ALL;
	place->record_next = 0;
	place->record_end = place->next;
}

int engine_watch_begin(struct engine *engine, const Berth__V1__WatchEventsRequest *request,
		       struct engine_watch *watch, struct err *err, struct engine_fault *fault)
{
	struct events *events = &engine->events;
	struct err why = { 0 };
	int r;

	watch->linked = false;
	if (*request->id && names_check_workload_id(request->id, &why) < 0) {
		engine_fault_add_field(fault, "id", why.text);
		return engine_fault_check_fields(fault, err);
	}
	r = check_place(events, request, err, fault);
	if (r < 0)
		return r;
	watch->cursor = (struct engine_cursor){ 0 };
	(void)snprintf(watch->cursor.id, sizeof(watch->cursor.id), "%s", request->id);
	if (request->from_oldest)
		watch->cursor.next = events->oldest;
	else if (request->after_sequence)
		watch->cursor.next = request->after_sequence + 1;
	else
		watch->cursor.next = events->durable + 1;
	begin_records(&watch->cursor, request);
	watch->told = false;
	watch->linked = true;
	LIST_INSERT_HEAD(&events->watches, watch, link);
	return 0;
}

void engine_watch_end(struct engine_watch *watch)
{
	if (watch->linked)
		LIST_REMOVE(watch, link);
	watch->linked = false;
}

/* Up to @max of the records that come before the events. */
static int read_records(struct engine *engine, struct engine_cursor *place, size_t max,
			struct arena *arena, Berth__V1__WatchEventsResponse *ret)
{
	const struct records *records = &engine->records;
	const struct kept_record *record;

	if (!place->with_records)
		return 0;
	/* Events that the reader was too slow for: the records among them are still there. */
	if (place->next < engine->events.oldest && place->record_end < engine->events.oldest) {
		if (place->record_next >= place->record_end)
			place->record_next = place->next;
		place->record_end = engine->events.oldest;
	}
	while (ret->n_events < max && (record = records_from(records, place->record_next)) &&
	       record->sequence < place->record_end) {
		place->record_next = record->sequence + 1;
		if ((record->acknowledged && !place->with_acknowledged) ||
		    (*place->id && strcmp(place->id, record->id) != 0))
			continue;
		if (events_give(record->event, arena, ret) < 0)
			return -ENOMEM;
	}
	return 0;
}

int engine_events_read(struct engine *engine, struct engine_watch *watch, size_t max,
		       struct arena *arena, Berth__V1__WatchEventsResponse *ret)
{
	struct engine_cursor place = watch->cursor;
	int r = read_records(engine, &place, max, arena, ret);

	if (r < 0)
		return r;
	watch->cursor = place;
	/* An answer has the ones or the others. */
	return ret->n_events ? (int)ret->n_events
			     : events_read(&engine->events, watch, max, arena, ret);
}
