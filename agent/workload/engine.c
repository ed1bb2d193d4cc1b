/*
 * The engine's own life, its table of workloads, and the one place where waiters are answered.
 *
 * by_id is sorted, for List and for lookups; slots keep their index for a workload's life, so that
 * replies find it in constant time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"
#include "proto/cleanup.h"

#define SCRATCH_BYTES         (4U << 20)
#define WORKLOADS_MAX_DEFAULT 1000

/* ---- waiters -------------------------------------------------------------------------------------- */

void engine_waiter_cancel(struct engine_waiter *waiter)
{
	if (waiter->linked)
		LIST_REMOVE(waiter, link);
	waiter->linked = false;
}

static void answer(struct engine_waiter *waiter, int r, const struct err *err,
		   const struct engine_fault *fault, const struct workload *workload,
		   bool already_applied)
{
	const struct engine_answer ans = { .r = r,
					   .err = err,
					   .fault = fault,
					   .workload = workload,
					   .already_applied = already_applied };

	engine_waiter_cancel(waiter);
	waiter->done(waiter, &ans);
}

void engine_refuse(struct engine_waiter *waiter, int r, const struct err *err,
		   const struct engine_fault *fault)
{
	cleanup_fault struct engine_fault none;

	engine_fault_init(&none);
	answer(waiter, r, err, fault ? fault : &none, NULL, false);
}

void engine_accept(struct engine_waiter *waiter, const struct workload *workload,
		   bool already_applied)
{
	cleanup_fault struct engine_fault none;
	const struct err fine = { 0 };

	engine_fault_init(&none);
	answer(waiter, 0, &fine, &none, workload, already_applied);
}

static void on_node_durable(void *userdata, uint64_t ticket, const struct err *err)
{
	struct engine *engine = userdata;
	struct engine_waiter *waiter;
	struct engine_waiter *next;

	engine_enter(engine);
	for (waiter = LIST_FIRST(&engine->node_waiters); waiter; waiter = next) {
		next = LIST_NEXT(waiter, link);
		if (waiter->generation > ticket)
			continue;
		engine_accept(waiter, NULL, false);
		next = LIST_FIRST(&engine->node_waiters); /* `done` may have changed the list */
	}
	engine_leave(engine);
}

void engine_accept_when_durable(struct engine *engine, struct engine_waiter *waiter)
{
	const struct store_done done = { .call = on_node_durable,
					 .userdata = engine,
					 .ticket = ++engine->last_serial };

	waiter->generation = done.ticket;
	waiter->linked = true;
	LIST_INSERT_HEAD(&engine->node_waiters, waiter, link);
	engine->store->ops->put_barrier(engine->store, &done);
}

/* Nothing of a launch that is refused is left, as far as this host can see to that. */
static bool is_taken_back(const struct workload *workload)
{
	return workload->buried || !workload->engine->link_up ||
	       (workload->is_replacement && workload_is_ended(workload));
}

/* Whether what @waiter waits for is so; or can no longer become so: then *ret_reason says why. */
static bool is_due(const struct workload *workload, const struct engine_waiter *waiter,
		   const char **ret_reason)
{
	/* What is told is durable, or cannot be made so. */
	bool ended = workload_is_ended(workload) && workload->life_answered;
	bool stuck = workload->state == STATE(STUCK) && workload->life_answered;

	*ret_reason = NULL;
	if (workload->refused && workload->generation == waiter->generation &&
	    (waiter->until == UNTIL_SETTLED || waiter->until == UNTIL_DURABLE)) {
		*ret_reason = FAULT_STORE_FAILED;
		return is_taken_back(workload);
	}
	switch (waiter->until) {
	case UNTIL_SETTLED:
		if (waiter->generation < workload->generation) {
			*ret_reason = FAULT_SUPERSEDED;
			return true;
		}
		if (waiter->generation > workload->generation) {
			/* Its turn comes once the old one has gone, unless nothing follows. */
			if (workload->successor && stuck)
				*ret_reason = FAULT_STUCK;
			if (workload->successor)
				return *ret_reason != NULL;
			*ret_reason = FAULT_SUPERSEDED;
			return true;
		}
		return workload->life_answered &&
		       (ended || workload->state == STATE(RUNNING) ||
			workload->state == STATE(BACKOFF) || workload->state == STATE(STUCK));
	case UNTIL_DURABLE:
		return (workload->intent_answered && workload->life_answered) || ended ||
		       workload->generation > waiter->generation;
	case UNTIL_ENDED:
		return ended || stuck || workload->generation > waiter->generation;
	case UNTIL_GONE:
		if (stuck)
			*ret_reason = FAULT_STUCK;
		return stuck || workload->buried || workload->generation > waiter->generation;
	default:
		return false;
	}
}

static void answer_due(struct workload *workload, struct engine_waiter *waiter, const char *reason)
{
	cleanup_fault struct engine_fault fault;
	const char *failure = workload->engine->store->failure;
	struct err err = { 0 };
	int r;

	engine_fault_init(&fault);
	if (!reason) {
		engine_accept(waiter, workload, waiter->already_applied);
		return;
	}
	fault.reason = reason;
	if (strcmp(reason, FAULT_STUCK) == 0)
		r = err_set(&err, ERR_PRECONDITION, EBUSY,
			    "the processes of workload %s cannot be killed: %s", workload->id,
			    workload->sentence);
	else if (strcmp(reason, FAULT_STORE_FAILED) == 0)
		r = err_set(&err, ERR_UNAVAILABLE, EIO,
			    "workload %s is not launched: what was asked could not be kept: %.300s",
			    workload->id,
			    failure[0] ? failure : "the agent's store failed meanwhile");
	else
		r = err_set(&err, ERR_CANCELLED, ECANCELED,
			    "a later command took the place of generation %llu of workload %s",
			    (unsigned long long)waiter->generation, workload->id);
	engine_refuse(waiter, r, &err, &fault);
}

static void answer_waiters(struct workload *workload)
{
	struct engine_waiter *waiter = LIST_FIRST(&workload->waiters);

	while (waiter) {
		const char *reason;

		if (!is_due(workload, waiter, &reason)) {
			waiter = LIST_NEXT(waiter, link);
			continue;
		}
		answer_due(workload, waiter, reason);
		waiter = LIST_FIRST(&workload->waiters); /* `done` may have changed the list */
	}
}

void engine_wait(struct workload *workload, struct engine_waiter *waiter, int until,
		 bool already_applied)
{
	waiter->until = until;
	waiter->already_applied = already_applied;
	waiter->linked = true;
	LIST_INSERT_HEAD(&workload->waiters, waiter, link);
	workload_touch(workload);
}

/* ---- entering and leaving ------------------------------------------------------------------------- */

void engine_enter(struct engine *engine)
{
	engine->depth++;
}

static void free_gone(struct engine *engine)
{
	struct workload *workload;

	while ((workload = TAILQ_FIRST(&engine->gone))) {
		TAILQ_REMOVE(&engine->gone, workload, gone_link);
		answer_waiters(workload);
		workload_free(workload);
	}
}

/* What changed since: its waiters may be due. Callbacks may come back with commands, which run inside
 * this loop. */
void engine_leave(struct engine *engine)
{
	struct workload *workload;

	if (engine->depth > 1) {
		engine->depth--;
		return;
	}
	TAILQ_FOREACH(workload, &engine->touched, touched_link)
	workload_keep(workload);
	engine->store->ops->submit(engine->store);
	while ((workload = TAILQ_FIRST(&engine->touched))) {
		TAILQ_REMOVE(&engine->touched, workload, touched_link);
		workload->touched = false;
		workload_keep(workload);
		answer_waiters(workload);
	}
	free_gone(engine);
	events_tell(&engine->events);
	/* Those callbacks may have touched more. */
	if (!TAILQ_EMPTY(&engine->touched) || !TAILQ_EMPTY(&engine->gone)) {
		engine_leave(engine);
		return;
	}
	engine->store->ops->submit(engine->store);
	engine->depth--;
}

void workload_touch(struct workload *workload)
{
	if (workload->touched)
		return;
	workload->touched = true;
	TAILQ_INSERT_TAIL(&workload->engine->touched, workload, touched_link);
}

/* ---- the table of workloads ----------------------------------------------------------------------- */

/* Where @id is, or belongs. */
static size_t position(const struct engine *engine, const char *id, bool *ret_found)
{
	size_t low = 0;
	size_t high = engine->n_workloads;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = strcmp(engine->by_id[middle]->id, id);

		if (c == 0) {
			*ret_found = true;
			return middle;
		}
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	*ret_found = false;
	return low;
}

size_t engine_position(const struct engine *engine, const char *id)
{
	bool found;

	return position(engine, id, &found);
}

struct workload *engine_lookup(const struct engine *engine, const char *id)
{
	bool found;
	size_t i = position(engine, id, &found);

	return found ? engine->by_id[i] : NULL;
}

const struct workload *engine_find(const struct engine *engine, const char *id)
{
	return engine_lookup(engine, id);
}

struct workload *engine_find_slot(struct engine *engine, uint32_t slot, uint64_t instance)
{
	struct workload *workload = slot < engine->n_slots ? engine->slots[slot] : NULL;

	return workload && workload->instance == instance ? workload : NULL;
}

static int find_free_slot(struct engine *engine, uint32_t *ret_slot)
{
	size_t n = engine->n_slots;
	struct workload **slots;

	for (size_t i = 0; i < n; i++) {
		size_t slot = (engine->next_slot + i) % n;

		if (engine->slots[slot])
			continue;
		engine->next_slot = slot + 1;
		*ret_slot = (uint32_t)slot;
		return 0;
	}
	slots = reallocarray(engine->slots, n ? n * 2 : 64, sizeof(struct workload *));
	if (!slots)
		return -ENOMEM;
	engine->slots = slots;
	engine->n_slots = n ? n * 2 : 64;
	memset(slots + n, 0, (engine->n_slots - n) * sizeof(struct workload *));
	engine->next_slot = n + 1;
	*ret_slot = (uint32_t)n;
	return 0;
}

int engine_add_workload(struct engine *engine, struct workload *workload, struct err *err)
{
	size_t i = engine_position(engine, workload->id);

	if (engine->n_workloads == engine->by_id_room) {
		size_t room = engine->by_id_room ? engine->by_id_room * 2 : 64;
		struct workload **by_id = reallocarray(engine->by_id, room,
						       sizeof(struct workload *));

		if (!by_id)
			return err_oom(err);
		engine->by_id = by_id;
		engine->by_id_room = room;
	}
	if (find_free_slot(engine, &workload->slot) < 0)
		return err_oom(err);
	engine->slots[workload->slot] = workload;
	memmove(&engine->by_id[i + 1], &engine->by_id[i],
		(engine->n_workloads - i) * sizeof(struct workload *));
	engine->by_id[i] = workload;
	engine->n_workloads++;
	return 0;
}

void engine_drop_workload(struct engine *engine, struct workload *workload)
{
	bool found;
	size_t i = position(engine, workload->id, &found);

	engine->n_workloads--;
	memmove(&engine->by_id[i], &engine->by_id[i + 1],
		(engine->n_workloads - i) * sizeof(struct workload *));
	engine->slots[workload->slot] = NULL;
	workload->slot = UINT32_MAX;
	TAILQ_INSERT_TAIL(&engine->gone, workload, gone_link);
}

/* ---- new and free --------------------------------------------------------------------------------- */

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
	return value ? value : fallback;
}

void engine_reconfigure(struct engine *engine, const struct engine_config *config)
{
	const struct engine_resources *found = &engine->host.found;
	const struct engine_resources *told = &config->capacity;
	const struct record_limits records = { .max = config->records_max,
					       .bytes_max = config->record_bytes_max,
					       .age_ns = config->record_age_ms * NS_PER_MS };

	engine->capacity.cpu_millis = or_default(told->cpu_millis, found->cpu_millis);
	engine->capacity.memory_bytes = or_default(told->memory_bytes, found->memory_bytes);
	engine->capacity.pids = or_default(told->pids, found->pids);
	engine->capacity.workloads = told->workloads ? told->workloads : WORKLOADS_MAX_DEFAULT;
	engine->reserve = config->reserve;
	(void)snprintf(engine->version, sizeof(engine->version), "%s",
		       config->agent_version ? config->agent_version : "");
	records_reconfigure(engine, &records);
}

struct charge engine_allocatable(const struct engine *engine)
{
	struct charge all = { .cpu_millis = engine->capacity.cpu_millis,
			      .memory_bytes = engine->capacity.memory_bytes,
			      .pids = engine->capacity.pids,
			      .workloads = engine->capacity.workloads };
	const struct charge reserve = { .cpu_millis = engine->reserve.cpu_millis,
					.memory_bytes = engine->reserve.memory_bytes,
					.pids = engine->reserve.pids };

	if (engine->host.hello && engine->host.hello->max_workloads &&
	    engine->host.hello->max_workloads < all.workloads)
		all.workloads = engine->host.hello->max_workloads;
	charge_subtract(&all, &reserve);
	return all;
}

static void before_timers(void *userdata)
{
	engine_enter(userdata);
}

static void after_timers(void *userdata)
{
	engine_leave(userdata);
}

/* Watchers are told in engine_leave(). */
static void on_events_grew(void *userdata)
{
	struct engine *engine = userdata;

	if (engine->depth > 0)
		return;
	engine_enter(engine);
	engine_leave(engine);
}

static void on_store_recovered(void *userdata)
{
	struct engine *engine = userdata;

	engine_enter(engine);
	engine_keep_all(engine);
	release_again(engine);
	engine_leave(engine);
}

static int init(struct engine *engine, sd_event *event, const struct engine_config *config,
		struct err *err)
{
	int r = timer_queue_init(&engine->timers, event, config->clock, err);

	if (r < 0)
		return r;
	engine->timers.firing = before_timers;
	engine->timers.fired = after_timers;
	engine->timers.userdata = engine;
	engine->start_boot_ns = timer_boot_ns(&engine->timers);
	/* Instances must differ from those of an earlier berthd: begin at the time of day. */
	engine->last_instance = timer_wall_ns(&engine->timers) / NS_PER_MS;
	engine->last_session = timer_wall_ns(&engine->timers);
	if (events_init(&engine->events, engine->store, config->events_max, config->event_bytes_max,
			timer_wall_ns(&engine->timers)) < 0)
		return err_oom(err);
	engine->events.grew = on_events_grew;
	engine->events.userdata = engine;
	engine_enter(engine);
	r = engine_load(engine, err);
	engine_leave(engine);
	return r;
}

int engine_new(sd_event *event, const struct engine_config *config, struct store *store,
	       struct sandboxlink *link, struct engine **ret_engine, struct err *err)
{
	struct engine *engine = calloc(1, sizeof(*engine));
	int r;

	if (!engine)
		return err_oom(err);
	engine->store = store;
	engine->link = link;
	engine->event = event;
	engine->prober = config->prober;
	engine->schedulable = true;
	arena_init(&engine->scratch, SCRATCH_BYTES);
	fence_init(&engine->fence);
	host_init(&engine->host);
	images_attach(engine, config->provider);
	records_init(&engine->records, store);
	TAILQ_INIT(&engine->gone);
	TAILQ_INIT(&engine->promises);
	TAILQ_INIT(&engine->operations);
	TAILQ_INIT(&engine->touched);
	TAILQ_INIT(&engine->timers.timers);
	engine_reconfigure(engine, config);
	r = init(engine, event, config, err);
	if (r < 0) {
		engine_free(engine);
		return r;
	}
	engine->store->recovered = on_store_recovered;
	engine->store->userdata = engine;
	inventory_attach(engine);
	*ret_engine = engine;
	return 0;
}

void engine_free(struct engine *engine)
{
	struct workload *workload;

	if (!engine)
		return;
	if (engine->link->listener == &engine->link_listener)
		engine->link->listener = NULL;
	for (size_t i = 0; i < engine->n_workloads; i++)
		workload_free(engine->by_id[i]);
	while ((workload = TAILQ_FIRST(&engine->gone))) {
		TAILQ_REMOVE(&engine->gone, workload, gone_link);
		workload_free(workload);
	}
	while (!TAILQ_EMPTY(&engine->operations))
		operation_free(TAILQ_FIRST(&engine->operations));
	inventory_forget_strays(engine);
	release_forget(engine);
	leases_forget(engine);
	engine->store->recovered = NULL;
	images_detach(engine);
	timer_disarm(&engine->timers, &engine->drain.timer);
	timer_disarm(&engine->timers, &engine->records_timer);
	timer_queue_done(&engine->timers);
	events_done(&engine->events);
	records_done(&engine->records);
	fence_done(&engine->fence);
	host_done(&engine->host);
	arena_done(&engine->scratch);
	free(engine->by_id);
	free(engine->slots);
	free(engine);
}

void engine_set_listener(struct engine *engine, const struct engine_listener *listener)
{
	engine->listener = listener;
}

void engine_run_timers(struct engine *engine)
{
	timer_queue_run(&engine->timers);
}

const char *engine_log_dir(const struct engine *engine)
{
	const Berth__Sandbox__V1__HelloResult *hello = engine->host.hello;

	return hello && *hello->log_dir ? hello->log_dir : NULL;
}

bool engine_is_ready(const struct engine *engine)
{
	return engine->ready && !engine->store->failure[0];
}
