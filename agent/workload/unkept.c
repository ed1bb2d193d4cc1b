/*
 * On a full disk the intent of what is new is not kept, while its events and its life are: watchers are to
 * hear how it ended. Where the process died before that was told and kept, the life is all that is left:
 * without an intent, or beside the one of the life that it was to replace. Nothing of it has run: its gate
 * opens when the intent is kept.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/canonical.h"
#include "agent/workload/model.h"

#define WHY \
	"not launched, it could not be kept: berthd ended while its store could take nothing new"

struct unkept {
	LIST_ENTRY(unkept) link;
	Berth__Agent__V1__Life *life;
};

/* ---- one that took another's place ---------------------------------------------------------------- */

int unkept_take_place(struct workload *workload, const Berth__Agent__V1__Life *life)
{
	/* A life of an earlier release has no spec: then the one before it is the last that is known. */
	struct spec *spec = life->spec ? spec_new(life->spec, NULL) : NULL;

	if (life->spec && !spec)
		return -ENOMEM;
	if (spec && workload_change_spec(workload, spec) < 0) {
		spec_free(spec);
		return -ENOMEM;
	}
	workload->instance = life->instance;
	workload->generation = life->status->generation;
	workload->durable = false;
	return 0;
}

void unkept_refuse(struct workload *workload)
{
	workload->refused = true;
	workload->is_replacement = true;
	workload->no_restart = true;
	workload->created = false; /* what berth-sandboxd has of it goes as unknown */
	workload->ending = false;
	workload->waits_for_room = false;
	if (!workload_is_ended(workload))
		workload_set_state(workload, STATE(EXITED), REASON(HOST_FAILURE), "%s", WHY);
}

/* ---- one of which there was nothing before -------------------------------------------------------- */

int unkept_remember(struct engine *engine, Berth__Agent__V1__Life *life)
{
	struct unkept *unkept = malloc(sizeof(*unkept));

	if (!unkept) {
		berth__agent__v1__life__free_unpacked(life, NULL);
		return -ENOMEM;
	}
	unkept->life = life;
	events_pass(&engine->events, life->status->event_sequence);
	LIST_INSERT_HEAD(&engine->unkept, unkept, link);
	return 0;
}

/* It was deleted, and the store failed to drop its life. */
static bool is_over(struct engine *engine, const char *id)
{
	struct event_bytes *last = events_share(&engine->events,
						events_last_of(&engine->events, id));
	Berth__V1__Event *event = last ? berth__v1__event__unpack(NULL, last->n, last->bytes)
				       : NULL;
	bool deleted = event && event->reason == REASON(DELETED);

	if (event)
		berth__v1__event__free_unpacked(event, NULL);
	event_bytes_unref(last);
	return deleted;
}

static void tell(struct engine *engine, const Berth__V1__WorkloadStatus *status,
		 Berth__V1__WorkloadState from, Berth__V1__Reason reason, const char *sentence)
{
	Berth__V1__Event event = BERTH__V1__EVENT__INIT;

	event.time_unix_ns = timer_wall_ns(&engine->timers);
	event.time_boot_ns = timer_boot_ns(&engine->timers);
	event.workload = status->id;
	event.generation = status->generation;
	event.n_labels = status->n_labels;
	/* Maps of strings are laid out alike. */
	event.labels = (Berth__V1__Event__LabelsEntry **)status->labels;
	event.from = from;
	event.to = STATE(EXITED);
	event.reason = reason;
	event.sentence = (char *)sentence;
	(void)events_append(&engine->events, &event);
}

static void end_one(struct engine *engine, const Berth__Agent__V1__Life *life)
{
	const Berth__V1__WorkloadStatus *status = life->status;

	if (!is_over(engine, status->id)) {
		if (status->state != STATE(EXITED))
			tell(engine, status, status->state, REASON(HOST_FAILURE), WHY);
		tell(engine, status, STATE(EXITED), REASON(DELETED), "deleted");
	}
	/* Its own generation bars nothing: the same command may come again. */
	if (life->stopped_generation)
		workload_bury(engine, status->id, life->stopped_generation);
	else
		engine->store->ops->put_tombstone(engine->store, status->id, 0,
						  &(struct store_done){ 0 });
}

void unkept_end(struct engine *engine, bool whole)
{
	struct unkept *unkept;

	while ((unkept = LIST_FIRST(&engine->unkept))) {
		LIST_REMOVE(unkept, link);
		if (whole)
			end_one(engine, unkept->life);
		berth__agent__v1__life__free_unpacked(unkept->life, NULL);
		free(unkept);
	}
}
