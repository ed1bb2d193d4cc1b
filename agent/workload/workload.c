/*
 * The life of a workload: attempts, each of which starts its containers in order and ends as a whole
 * with the first main container or sidecar that ends.
 *
 *	begin ─▶ attempt ─▶ STARTING ─▶ RUNNING ─▶ end ─▶ (STOPPING, stop.c) ─▶ attempt_over
 *	           ▲                                                              │
 *	           └───────────── BACKOFF (restart.c) ◀───────────────────────────┤
 *	                                                                          ▼
 *	                                     successor takes over ◀── finish ─▶ EXITED ─▶ remove
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/canonical.h"
#include "agent/workload/model.h"
#include "agent/workload/record.h"
#include "proto/cleanup.h"
#include "proto/failpoint.h"

/* ---- facts about one ------------------------------------------------------------------------------ */

const char *engine_workload_id(const struct workload *workload)
{
	return workload->id;
}

uint64_t engine_workload_instance(const struct workload *workload)
{
	return workload->instance;
}

uint64_t engine_workload_generation(const struct workload *workload)
{
	return workload->generation;
}

Berth__V1__WorkloadState engine_workload_state(const struct workload *workload)
{
	return workload->state;
}

uint32_t engine_workload_restarts(const struct workload *workload)
{
	return workload->restarts;
}

const Berth__V1__WorkloadSpec *engine_workload_spec(const struct workload *workload)
{
	return workload->spec->message;
}

bool workload_is_ended(const struct workload *workload)
{
	return workload->state == STATE(EXITED) || workload->state == STATE(LOST);
}

bool workload_is_live(const struct workload *workload)
{
	for (size_t i = 0; i < workload->n_containers; i++)
		if (container_is_live(&workload->containers[i]))
			return true;
	return false;
}

struct container *workload_container(const struct workload *workload, const char *name)
{
	for (size_t i = 0; i < workload->n_containers; i++)
		if (strcmp(workload->containers[i].spec->name, name) == 0)
			return &workload->containers[i];
	return NULL;
}

/* ---- events and states ---------------------------------------------------------------------------- */

static void fill_event(const struct workload *workload, Berth__V1__Event *event)
{
	const Berth__V1__WorkloadSpec *spec = workload->spec->message;

	event->time_unix_ns = timer_wall_ns(&workload->engine->timers);
	event->time_boot_ns = timer_boot_ns(&workload->engine->timers);
	event->workload = (char *)workload->id;
	event->generation = workload->generation;
	event->n_labels = spec->n_labels;
	/* The entries of both maps have the same layout: protobuf-c makes one type a map. */
	event->labels = (Berth__V1__Event__LabelsEntry **)spec->labels;
}

/* Packing looks at the entries' own descriptors, which differ in name only. */
_Static_assert(sizeof(Berth__V1__Event__LabelsEntry) ==
		       sizeof(Berth__V1__WorkloadSpec__LabelsEntry),
	       "maps of strings are laid out alike");

void workload_set_state(struct workload *workload, Berth__V1__WorkloadState state,
			Berth__V1__Reason reason, const char *fmt, ...)
{
	Berth__V1__Event event = BERTH__V1__EVENT__INIT;
	struct engine *engine = workload->engine;
	char sentence[SENTENCE_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	/* By way of a copy: the arguments may be the workload's own sentence. */
	memcpy(workload->sentence, sentence, sizeof(sentence));
	fill_event(workload, &event);
	event.from = workload->state;
	event.to = state;
	event.reason = reason;
	event.sentence = workload->sentence;
	workload->state = state;
	workload->reason = reason;
	workload->changed_wall_ns = event.time_unix_ns;
	workload->event_sequence = events_append(&engine->events, &event);
	workload_touch(workload);
	readiness_update(workload);
	if (engine->listener && engine->listener->workload_changed)
		engine->listener->workload_changed(engine->listener->userdata, workload);
}

void workload_event(struct workload *workload, const struct container *container,
		    Berth__V1__Reason reason, const Berth__V1__ExitRecord *record, const char *fmt,
		    ...)
{
	Berth__V1__Event event = BERTH__V1__EVENT__INIT;
	char sentence[SENTENCE_MAX];
	uint64_t sequence;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(sentence, sizeof(sentence), fmt, ap);
	va_end(ap);
	fill_event(workload, &event);
	event.from = workload->state;
	event.to = workload->state;
	event.reason = reason;
	event.sentence = sentence;
	if (container)
		event.container = container->spec->name;
	event.exit = (Berth__V1__ExitRecord *)record;
	sequence = events_append(&workload->engine->events, &event);
	if (record)
		records_keep(workload->engine, workload, sequence);
}

void workload_event_of_memory(struct workload *workload, Berth__V1__Reason reason,
			      Berth__V1__MemoryFigures *before, Berth__V1__MemoryFigures *after,
			      const char *sentence)
{
	Berth__V1__Event event = BERTH__V1__EVENT__INIT;

	fill_event(workload, &event);
	event.from = workload->state;
	event.to = workload->state;
	event.reason = reason;
	event.sentence = (char *)sentence;
	event.memory_before = before;
	event.memory_after = after;
	(void)events_append(&workload->engine->events, &event);
}

/* ---- new and free --------------------------------------------------------------------------------- */

/* Take over @spec: containers of it, in their first state. */
static int adopt_spec(struct workload *workload, struct spec *spec)
{
	const Berth__V1__WorkloadSpec *message = spec->message;
	struct container *containers = calloc(message->n_containers, sizeof(*containers));

	if (!containers)
		return -ENOMEM;
	for (size_t i = 0; i < message->n_containers; i++) {
		containers[i].workload = workload;
		containers[i].spec = message->containers[i];
		containers[i].index = (uint32_t)i;
	}
	workload->spec = spec;
	if (volume_images_new(workload) < 0) {
		workload->spec = NULL;
		free(containers);
		return -ENOMEM;
	}
	workload->containers = containers;
	workload->n_containers = message->n_containers;
	return 0;
}

int workload_new(struct engine *engine, struct spec *spec, uint64_t generation, uint64_t epoch,
		 struct workload **ret_workload, struct err *err)
{
	struct workload *workload = calloc(1, sizeof(*workload));

	if (!workload)
		return err_oom(err);
	workload->engine = engine;
	if (adopt_spec(workload, spec) < 0) {
		free(workload);
		return err_oom(err);
	}
	(void)snprintf(workload->id, sizeof(workload->id), "%s", spec->message->id);
	workload->slot = UINT32_MAX;
	workload->instance = ++engine->last_instance;
	workload->generation = generation;
	workload->epoch = epoch;
	workload->charge = charge_of(spec->message, host_default_memory(&engine->host));
	workload->created_wall_ns = timer_wall_ns(&engine->timers);
	workload->grace_override_ms = -1;
	LIST_INIT(&workload->waiters);
	*ret_workload = workload;
	return 0;
}

static void free_life(struct workload *workload)
{
	for (size_t i = 0; i < workload->n_containers; i++)
		container_done(&workload->containers[i]);
	free(workload->containers);
	workload->containers = NULL;
	workload->n_containers = 0;
	volume_images_free(workload);
	spec_free(workload->spec);
	workload->spec = NULL;
	spec_free(workload->launched);
	workload->launched = NULL;
}

int workload_change_spec(struct workload *workload, struct spec *spec)
{
	free_life(workload);
	return adopt_spec(workload, spec);
}

void workload_drop_successor(struct workload *workload)
{
	if (!workload->successor)
		return;
	spec_free(workload->successor->spec);
	free(workload->successor->scheduler);
	free(workload->successor);
	workload->successor = NULL;
	workload_touch(workload);
}

void workload_free(struct workload *workload)
{
	struct timer_queue *timers = &workload->engine->timers;

	timer_disarm(timers, &workload->backoff);
	promise_drop(&workload->stop);
	lease_end(workload);
	free_life(workload);
	if (workload->successor) {
		spec_free(workload->successor->spec);
		free(workload->successor->scheduler);
	}
	free(workload->successor);
	free(workload->scheduler);
	told_forget(workload);
	free(workload);
}

/* ---- intent --------------------------------------------------------------------------------------- */

static void open_gates(struct workload *workload)
{
	for (size_t i = 0; i < workload->n_containers; i++) {
		struct container *container = &workload->containers[i];

		if (!container->gate_waits || !container_is_live(container))
			continue;
		container->gate_waits = false;
		/* Where the link broke the container is gone with its gate, and the inventory of
		 * the next connection says so. */
		(void)request_open_gate(container, NULL);
	}
}

/* Nothing of it has run. What was begun goes again; of what it replaced only the record is left, and the
 * command may be given once more. */
static void refuse(struct workload *workload, const struct err *err)
{
	workload->refused = true;
	workload->no_restart = true;
	workload->grace_override_ms = 0;
	workload->delete_when_ended = !workload->is_replacement;
	if (!workload_is_ended(workload))
		workload_end(workload, REASON(HOST_FAILURE),
			     "not launched, it could not be kept: %s", err->text);
	else if (workload->delete_when_ended)
		workload_remove(workload);
}

static void on_intent_stored(void *userdata, uint64_t ticket, const struct err *err)
{
	struct engine *engine = userdata;
	uint32_t slot = (uint32_t)(ticket >> 32);
	struct workload *workload = slot < engine->n_slots ? engine->slots[slot] : NULL;

	if (!workload || workload->intent_ticket != ticket)
		return; /* a later intent is on its way, or all is over */
	engine_enter(engine);
	workload->intent_answered = true;
	workload_touch(workload);
	FAILPOINT("berthd.launch.durable");
	if (!err) {
		workload->durable = true;
		if (!workload->ending)
			open_gates(workload);
		FAILPOINT("berthd.launch.gates-open");
	} else if (!workload->durable && !workload->no_restart) {
		refuse(workload, err);
	}
	engine_leave(engine);
}

void workload_put_intent(struct workload *workload, bool stop)
{
	struct engine *engine = workload->engine;
	const struct store_done done = {
		.call = on_intent_stored,
		.userdata = engine,
		.ticket = (uint64_t)workload->slot << 32 | (uint32_t)++engine->last_ticket,
	};
	struct store_intent intent = { .id = workload->id,
				       .instance = workload->instance,
				       .generation = workload->generation,
				       .epoch = workload->epoch,
				       .stop = stop,
				       .is_new = !workload->durable && !stop };
	cleanup_free uint8_t *bytes = spec_pack(workload->spec->message, &intent.spec_bytes);
	const struct err no_memory = { .kind = ERR_INTERNAL, .text = "out of memory" };

	intent.spec = bytes;
	workload->intent_ticket = done.ticket;
	workload->intent_answered = false;
	if (bytes)
		engine->store->ops->put_intent(engine->store, &intent, &done);
	else
		on_intent_stored(engine, done.ticket, &no_memory);
}

/* ---- attempts ------------------------------------------------------------------------------------- */

static void on_created(void *userdata, const struct sandboxlink_call *call,
		       struct sandboxlink_reply *reply)
{
	struct engine *engine = userdata;
	struct workload *workload = engine_find_slot(engine, (uint32_t)call->key[0], call->key[1]);

	/* One that is ending refuses: the inventory of the next one has it begin again. */
	if (!workload || !reply->message || reply->err->kind == ERR_UNAVAILABLE)
		return;
	engine_enter(engine);
	if (reply->err->kind != ERR_NONE) {
		/* The launches behind it fail too; this is the one with the reason. */
		workload->created = false;
		workload_end(workload, record_failure_reason(reply->err), "cannot be made: %s",
			     reply->err->text);
	} else if (reply->message->result_case ==
		   BERTH__SANDBOX__V1__REPLY__RESULT_CREATE_WORKLOAD) {
		workload->host_id_first = reply->message->create_workload->host_id_first;
	}
	engine_leave(engine);
}

static int create(struct workload *workload, struct err *err)
{
	const struct sandboxlink_call call = { .done = on_created,
					       .userdata = workload->engine,
					       .key = { workload->slot, workload->instance } };
	int r = request_create_workload(workload, &call, err);

	FAILPOINT("berthd.launch.create");
	if (r >= 0)
		workload->created = true;
	return r;
}

void workload_set_starting(struct workload *workload)
{
	if (workload->attempt == 1)
		workload_set_state(workload, STATE(STARTING), REASON(ACCEPTED), "starting");
	else
		workload_set_state(workload, STATE(STARTING), REASON(RESTARTING),
				   "starting for the %u. time", workload->attempt);
}

void workload_attempt(struct workload *workload)
{
	for (size_t i = 0; i < workload->n_containers; i++)
		container_reset(&workload->containers[i]);
	workload->attempt++;
	workload->ending = false;
	workload->killed = false;
	/* The group is the same: what starts in it would be frozen too. */
	(void)hold_thaw(workload);
	workload->restart_rule = 0;
	workload->running_boot_ns = 0;
	workload->next_restart_wall_ns = 0;
	if (images_are_missing(workload))
		images_begin(workload);
	else
		workload_start(workload);
}

void workload_start(struct workload *workload)
{
	workload_set_starting(workload);
	workload_advance(workload);
}

void workload_attempt_if_it_may(struct workload *workload)
{
	/* berth-sandboxd knows a workload by its id: the old life goes first. */
	if (workload->state == STATE(PENDING) && !workload->waits_for_room &&
	    workload->engine->ready && !release_waits(workload->engine, workload->id))
		workload_attempt(workload);
}

void workload_begin(struct workload *workload)
{
	workload_set_state(workload, STATE(PENDING), REASON(ACCEPTED), "%s",
			   workload->waits_for_room ? "accepted; waits until others are gone"
						    : "accepted");
	workload_put_intent(workload, false);
	lease_watch(workload);
	workload_attempt_if_it_may(workload);
}

/* Launch the containers of @role; returns whether what comes after them may start. With @one_by_one a
 * container waits until those before it are where @after wants them. */
static bool start_role(struct workload *workload, Berth__V1__ContainerRole role, bool one_by_one,
		       enum container_phase after)
{
	bool all = true;

	for (size_t i = 0; i < workload->n_containers; i++) {
		struct container *container = &workload->containers[i];

		if (container->spec->role != role)
			continue;
		if (container->phase == CONTAINER_IDLE && images_are_missing(workload))
			images_begin(workload); /* they were had, and are not known any more */
		else if (container->phase == CONTAINER_IDLE)
			container_launch(container);
		/* A launch that cannot even be asked for ends the attempt at once. */
		if (workload->state != STATE(STARTING) || workload->ending)
			return false;
		if (container->phase < after) {
			all = false;
			if (one_by_one)
				return false;
		}
	}
	return all;
}

void workload_advance(struct workload *workload)
{
	struct engine *engine = workload->engine;
	struct err err = { 0 };

	if (workload->state != STATE(STARTING) || workload->ending)
		return;
	/* A first attempt begins with it; one that was decided by an earlier process may lack it. */
	if (!workload->created && create(workload, &err) < 0) {
		if (err.kind == ERR_UNAVAILABLE)
			return; /* the peer has gone unnoticed: the next inventory goes on here */
		workload_end(workload, REASON(HOST_FAILURE), "cannot be made: %s", err.text);
		return;
	}
	if (!engine->ready)
		return;
	if (!start_role(workload, ROLE(INIT), true, CONTAINER_ENDED) ||
	    !start_role(workload, ROLE(SIDECAR), true, CONTAINER_RUNNING) ||
	    !start_role(workload, ROLE(MAIN), false, CONTAINER_RUNNING))
		return;
	FAILPOINT("berthd.started.all");
	workload->running_boot_ns = timer_boot_ns(&engine->timers);
	workload_set_state(workload, STATE(RUNNING), REASON(STARTED), "all main containers run");
}

void workload_end(struct workload *workload, Berth__V1__Reason reason, const char *fmt, ...)
{
	va_list ap;

	if (workload->ending || workload_is_ended(workload))
		return;
	workload->ending = true;
	workload->end_reason = reason;
	va_start(ap, fmt);
	(void)vsnprintf(workload->end_sentence, sizeof(workload->end_sentence), fmt, ap);
	va_end(ap);
	timer_disarm(&workload->engine->timers, &workload->backoff);
	if (workload_is_live(workload))
		workload_set_state(workload, STATE(STOPPING), reason, "%s", workload->end_sentence);
	stop_advance(workload);
}

/* Nobody asked for the end: the restart policy says what follows. */
static void restart_or_finish(struct workload *workload, Berth__V1__Reason reason,
			      const char *sentence)
{
	const Berth__V1__RestartPolicy *policy = workload->spec->message->restart;
	Berth__V1__RestartAction action = restart_action(workload, reason);
	char more[SENTENCE_MAX];

	if (action == BERTH__V1__RESTART_ACTION__RULE_FAIL) {
		(void)snprintf(more, sizeof(more), "%.400s; by restart rule %u that is a failure",
			       sentence, workload->restart_rule);
		workload_finish(workload, REASON(FAILED_BY_RULE), more);
	} else if (action != BERTH__V1__RESTART_ACTION__RULE_RESTART) {
		(void)snprintf(more, sizeof(more), "%.400s; by restart rule %u not restarted",
			       sentence, workload->restart_rule);
		workload_finish(workload, reason, workload->restart_rule ? more : sentence);
	} else if (policy->max_restarts && workload->tries >= policy->max_restarts) {
		(void)snprintf(
			more, sizeof(more),
			"restarted %u time%s, which is all that its policy allows; last: %.400s",
			workload->tries, workload->tries == 1 ? "" : "s", sentence);
		workload_finish(workload, REASON(RESTARTS_EXHAUSTED), more);
	} else {
		restart_schedule(workload, reason, sentence);
	}
}

void workload_attempt_over(struct workload *workload)
{
	Berth__V1__Reason reason = workload->end_reason;
	char sentence[SENTENCE_MAX];

	images_end(workload);
	workload->ending = false;
	memcpy(sentence, workload->end_sentence, sizeof(sentence));
	if (workload->no_restart || workload->successor) {
		if (workload->killed) {
			reason = REASON(KILLED_AFTER_GRACE);
			(void)snprintf(sentence, sizeof(sentence),
				       "%.400s; killed when its grace was over",
				       workload->end_sentence);
		}
		workload_finish(workload, reason, sentence);
	} else {
		restart_or_finish(workload, reason, sentence);
	}
}

/* ---- the end -------------------------------------------------------------------------------------- */

static void uncharge(struct workload *workload)
{
	charge_subtract(&workload->engine->charged, &workload->charge);
	workload->charge = (struct charge){ 0 };
}

void workload_finish(struct workload *workload, Berth__V1__Reason reason, const char *sentence)
{
	struct engine *engine = workload->engine;

	FAILPOINT("berthd.end.finish");
	images_end(workload);
	timer_disarm(&engine->timers, &workload->backoff);
	promise_drop(&workload->stop);
	workload->stop_waits = false;
	lease_end(workload);
	if (workload->created)
		release_workload(engine, workload->id, workload->instance, false, NULL);
	workload->created = false;
	workload->waits_for_room = false;
	hold_ended(workload);
	uncharge(workload);
	workload_set_state(workload, STATE(EXITED), reason, "%s", sentence);
	if (workload->successor)
		workload_succeed(workload);
	else if (workload->delete_when_ended)
		workload_remove(workload);
	drain_advance(engine);
	engine_start_waiting(engine);
}

void workload_tell_life_over(const struct workload *workload)
{
	const struct engine_listener *listener = workload->engine->listener;

	if (listener && listener->workload_gone)
		listener->workload_gone(listener->userdata, workload->id, workload->instance);
}

void workload_succeed(struct workload *workload)
{
	struct engine *engine = workload->engine;
	struct successor *next = take_ptr(&workload->successor);

	uncharge(workload); /* it held the room for the new one */
	workload_tell_life_over(workload);
	if (workload_change_spec(workload, next->spec) < 0) {
		/* Nothing runs, and the new life cannot begin: the workload stays ended as it was,
		 * with the new spec and no containers. */
		workload->spec = next->spec;
		workload->generation = next->generation;
		workload_set_state(workload, STATE(EXITED), REASON(HOST_FAILURE), "out of memory");
		free(next->scheduler);
		free(next);
		return;
	}
	workload->instance = ++engine->last_instance;
	workload->generation = next->generation;
	workload->epoch = next->epoch;
	workload->charge = next->charge;
	charge_add(&engine->charged, &workload->charge);
	workload->created_wall_ns = timer_wall_ns(&engine->timers);
	workload->attempt = 0;
	workload->restarts = 0;
	workload->tries = 0;
	workload->host_id_first = 0;
	workload->durable = false;
	workload->refused = false;
	workload->is_replacement = !workload->buried; /* of that nothing is left to stay */
	workload->buried = false;
	workload->bury_ticket = 0;
	workload->no_restart = false;
	workload->killed = false;
	workload->delete_when_ended = false;
	workload->removing = false;
	workload->grace_override_ms = -1;
	if (next->scheduler) {
		free(workload->scheduler);
		workload->scheduler = next->scheduler;
	}
	free(next);
	workload_begin(workload);
}

void engine_start_waiting(struct engine *engine)
{
	struct charge all = engine_allocatable(engine);

	for (size_t i = 0; i < engine->n_workloads; i++) {
		struct workload *workload = engine->by_id[i];
		struct charge others = engine->charged;

		if (!workload->waits_for_room || workload->state != STATE(PENDING))
			continue;
		charge_subtract(&others, &workload->charge);
		if (charge_fits(&workload->charge, &others, &all, NULL, NULL) < 0)
			continue;
		workload->waits_for_room = false;
		workload_attempt_if_it_may(workload);
	}
}
