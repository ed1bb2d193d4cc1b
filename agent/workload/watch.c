/* Who reads the history, and from where. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/workload/model.h"
#include "proto/names.h"

static int check_place(const struct events *events, const Berth__V1__WatchEventsRequest *request,
		       struct err *err, struct engine_fault *fault)
{
	if (*request->instance && strcmp(request->instance, events->instance) != 0) {
		fault->reason = FAULT_EVENTS_UNKNOWN;
		return err_set(
			err, ERR_PRECONDITION, ERANGE,
			"event %llu is of another history of this host (instance \"%.40s\", now \"%s\"): list the workloads and watch from now on",
			(unsigned long long)request->after_sequence, request->instance,
			events->instance);
	}
	if (request->from_oldest || request->after_sequence == 0)
		return 0;
	if (request->after_sequence + 1 >= events->oldest &&
	    request->after_sequence <= events->newest)
		return 0;
	engine_fault_add_number(fault, "oldest", events->oldest);
	engine_fault_add_number(fault, "newest", events->newest);
	if (request->after_sequence > events->newest) {
		fault->reason = FAULT_EVENTS_UNKNOWN;
		return err_set(err, ERR_PRECONDITION, ERANGE,
			       "event %llu has not happened: the newest is %llu",
			       (unsigned long long)request->after_sequence,
			       (unsigned long long)events->newest);
	}
	fault->reason = FAULT_EVENTS_TOO_OLD;
	return err_set(
		err, ERR_PRECONDITION, ERANGE,
		"event %llu is gone: the oldest that is kept is %llu; list the workloads and watch from now on",
		(unsigned long long)request->after_sequence, (unsigned long long)events->oldest);
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
		watch->cursor.next = events->newest + 1;
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

int engine_events_read(struct engine *engine, struct engine_watch *watch, size_t max,
		       struct arena *arena, Berth__V1__WatchEventsResponse *ret)
{
	return events_read(&engine->events, watch, max, arena, ret);
}
