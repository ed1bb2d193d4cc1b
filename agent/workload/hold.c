/*
 * What holds a workload back while its host is short of memory: agent/pressure decides, this carries it
 * out, one step of a workload at a time, and tells what came of it.
 *
 * The kernel is the truth: whether a group is frozen, and its memory.high, come with the inventory, and
 * are compared with what was asked for (Pause, memory_high_bytes). So no hold outlives a restart of either
 * daemon unseen, and nothing of it has to be durable.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/workload/model.h"

#define PAGE_MASK (~UINT64_C(4095)) /* what the kernel rounds memory.high down to */

void engine_set_pressure(struct engine *engine, const struct engine_pressure *pressure)
{
	engine->pressure = pressure;
}

static uint64_t configured_high(const struct workload *workload)
{
	const Berth__V1__Resources *resources = workload->spec->message->resources;

	return resources && resources->_memory_high_bytes_case ? resources->memory_high_bytes : 0;
}

/* ---- telling -------------------------------------------------------------------------------------- */

static Berth__V1__MemoryFigures figures_message(const struct engine_figures *figures)
{
	Berth__V1__MemoryFigures message = BERTH__V1__MEMORY_FIGURES__INIT;

	message.available_bytes = figures->available_bytes;
	message.some_avg10 = figures->some_avg10_permyriad / 100.0;
	message.full_avg10 = figures->full_avg10_permyriad / 100.0;
	message.workload_bytes = figures->workload_bytes;
	return message;
}

int engine_fill_figures(const struct engine_figures *figures, struct arena *arena,
			Berth__V1__MemoryFigures **ret)
{
	*ret = arena_message(arena, &berth__v1__memory_figures__descriptor);
	if (!*ret)
		return -ENOMEM;
	**ret = figures_message(figures);
	return 0;
}

void engine_tell_pressure(struct engine *engine, bool is_short, const char *sentence,
			  const struct engine_figures *figures)
{
	Berth__V1__Event event = BERTH__V1__EVENT__INIT;
	Berth__V1__MemoryFigures now = figures_message(figures);

	engine_enter(engine);
	event.time_unix_ns = timer_wall_ns(&engine->timers);
	event.time_boot_ns = timer_boot_ns(&engine->timers);
	event.reason = is_short ? REASON(MEMORY_SHORT) : REASON(MEMORY_ENOUGH);
	event.sentence = (char *)sentence;
	event.memory_after = &now;
	(void)events_append(&engine->events, &event);
	engine_leave(engine);
}

static void measure(const struct workload *workload, struct engine_figures *ret)
{
	const struct engine_pressure *pressure = workload->engine->pressure;

	*ret = (struct engine_figures){ 0 };
	if (pressure)
		pressure->figures(pressure->userdata, workload, ret);
}

static void tell(struct workload *workload, Berth__V1__Reason reason, const char *sentence)
{
	Berth__V1__MemoryFigures before = figures_message(&workload->hold.before);
	Berth__V1__MemoryFigures after;
	struct engine_figures now;

	measure(workload, &now);
	after = figures_message(&now);
	workload_event_of_memory(workload, reason, &before, &after, sentence);
	workload_touch(workload);
}

/* The step is over, well or not: whoever decided it goes on. */
static void stepped(struct workload *workload, enum engine_hold_step step, const struct err *err)
{
	const struct engine_pressure *pressure = workload->engine->pressure;

	workload->hold.busy = false;
	if (pressure)
		pressure->stepped(pressure->userdata, workload, step,
				  err->kind == ERR_NONE ? NULL : err);
}

/* ---- carrying out --------------------------------------------------------------------------------- */

static void took_freeze(struct workload *workload)
{
	if (workload->ending) {
		/* It was asked to end meanwhile, and frozen it could not. */
		(void)request_freeze(workload, false, NULL, NULL);
		return;
	}
	workload->hold.frozen_boot_ns = timer_boot_ns(&workload->engine->timers);
	workload->hold.frozen = true;
	tell(workload, REASON(FROZEN_BY_PRESSURE), workload->hold.sentence);
}

static void took_thaw(struct workload *workload)
{
	if (!workload->hold.frozen)
		return; /* it was asked to end meanwhile */
	workload->hold.frozen = false;
	tell(workload, REASON(THAWED), workload->hold.step_sentence);
}

static void took(struct workload *workload, enum engine_hold_step step, uint64_t bytes)
{
	struct hold *hold = &workload->hold;

	switch (step) {
	case HOLD_RECLAIM:
		hold->reclaimed_boot_ns = timer_boot_ns(&workload->engine->timers);
		tell(workload, REASON(MEMORY_RECLAIMED), hold->step_sentence);
		break;
	case HOLD_SQUEEZE:
		hold->high_bytes = bytes;
		tell(workload, REASON(MEMORY_SQUEEZED), hold->sentence);
		break;
	case HOLD_FREEZE:
		took_freeze(workload);
		break;
	case HOLD_THAW:
		took_thaw(workload);
		break;
	case HOLD_RELEASE:
		hold->high_bytes = 0;
		tell(workload, REASON(SQUEEZE_ENDED), hold->step_sentence);
		break;
	case HOLD_KILL:
		break;
	}
	if (!hold->frozen && !hold->high_bytes)
		hold->sentence[0] = '\0';
}

static void on_done(void *userdata, const struct sandboxlink_call *call,
		    struct sandboxlink_reply *reply)
{
	struct engine *engine = userdata;
	struct workload *workload = engine_find_slot(engine, (uint32_t)call->key[0], call->key[1]);
	enum engine_hold_step step = (enum engine_hold_step)call->key[2];

	if (!workload)
		return;
	engine_enter(engine);
	if (reply->err->kind == ERR_NONE && !workload_is_ended(workload))
		took(workload, step, call->key[3]);
	else if (!workload->hold.frozen && !workload->hold.high_bytes)
		workload->hold.sentence[0] = '\0';
	stepped(workload, step, reply->err);
	engine_leave(engine);
}

static void kill_it(struct workload *workload, const char *sentence)
{
	workload->hold.evicting = true;
	stop_workload(workload, REASON(EVICTED), 0, sentence);
	/* A host that is short of memory does not wait for its disk. All of it, sidecars too. */
	stop_at_once(workload);
	(void)request_kill_workload(workload->engine, workload->id, workload->instance, NULL);
}

static int send_step(struct workload *workload, enum engine_hold_step step, uint64_t bytes,
		     struct err *err)
{
	const struct sandboxlink_call call = { .done = on_done,
					       .userdata = workload->engine,
					       .key = { workload->slot, workload->instance, step,
							bytes } };

	switch (step) {
	case HOLD_RECLAIM:
		return request_reclaim(workload, bytes, &call, err);
	case HOLD_SQUEEZE:
		return request_squeeze(workload->engine, workload->id, workload->instance, bytes,
				       &call, err);
	case HOLD_RELEASE:
		return request_squeeze(workload->engine, workload->id, workload->instance,
				       configured_high(workload), &call, err);
	case HOLD_FREEZE:
		return request_freeze(workload, true, &call, err);
	case HOLD_THAW:
		return request_freeze(workload, workload->paused, &call, err);
	default:
		return err_set(err, ERR_INTERNAL, EINVAL, "no such step");
	}
}

int engine_hold(struct engine *engine, const struct workload *which, enum engine_hold_step step,
		uint64_t bytes, const struct engine_figures *before, const char *sentence,
		struct err *err)
{
	struct workload *workload = engine_find_slot(engine, which->slot, which->instance);
	struct hold *hold = workload ? &workload->hold : NULL;
	bool holds = step == HOLD_SQUEEZE || step == HOLD_FREEZE;
	int r = 0;

	if (!hold || hold->busy || hold->evicting || workload_is_ended(workload))
		return err_set(err, ERR_PRECONDITION, EBUSY,
			       "a step is under way, or it has ended");
	engine_enter(engine);
	hold->before = *before;
	(void)snprintf(hold->step_sentence, sizeof(hold->step_sentence), "%s", sentence);
	if (step == HOLD_KILL)
		kill_it(workload, sentence);
	else
		r = send_step(workload, step, bytes, err);
	if (r == 0 && holds)
		(void)snprintf(hold->sentence, sizeof(hold->sentence), "%s", sentence);
	if (r == 0 && step != HOLD_KILL)
		hold->busy = true;
	engine_leave(engine);
	return r;
}

void hold_ended(struct workload *workload)
{
	struct hold *hold = &workload->hold;

	if (hold->evicting) {
		tell(workload, REASON(EVICTED), hold->step_sentence);
		stepped(workload, HOLD_KILL, &(struct err){ 0 });
	}
	*hold = (struct hold){ 0 };
}

bool hold_thaw(struct workload *workload)
{
	bool frozen = workload->paused || workload->hold.frozen;

	workload->paused = false;
	workload->hold.frozen = false;
	if (!workload->hold.high_bytes)
		workload->hold.sentence[0] = '\0';
	if (frozen)
		(void)request_freeze(workload, false, NULL, NULL);
	return frozen;
}

void hold_again(struct workload *workload)
{
	if (workload->hold.high_bytes)
		(void)request_squeeze(workload->engine, workload->id, workload->instance,
				      workload->hold.high_bytes, NULL, NULL);
}

/* ---- after a restart of either daemon ------------------------------------------------------------- */

void hold_adopt(struct workload *workload, const Berth__Sandbox__V1__KnownWorkload *known)
{
	const Berth__Agent__V1__Change *change = change_intended(workload);
	struct hold *hold = &workload->hold;
	uint64_t configured = configured_high(workload) & PAGE_MASK;
	bool asked = change && !change->resources; /* the freezer is seen to by that */

	hold->busy = false;
	if (workload->paused && !known->frozen && !asked)
		(void)request_freeze(workload, true, NULL, NULL);
	if (known->frozen && workload->ending)
		(void)request_freeze(workload, false, NULL, NULL);
	if (known->frozen && !hold->frozen)
		hold->frozen_boot_ns = timer_boot_ns(&workload->engine->timers);
	hold->frozen = known->frozen && !workload->paused && !workload->ending && !asked;
	hold->high_bytes = known->memory_high_bytes != configured ? known->memory_high_bytes : 0;
	if (!hold->frozen && !hold->high_bytes)
		hold->sentence[0] = '\0';
	else if (!hold->sentence[0])
		(void)snprintf(hold->sentence, sizeof(hold->sentence),
			       "held back by an earlier berthd, as its host was short of memory");
}

void hold_release_unknown(struct engine *engine, const Berth__Sandbox__V1__KnownWorkload *known)
{
	if (known->frozen)
		(void)request_thaw_unknown(engine, known->workload, known->instance);
	if (known->memory_high_bytes)
		(void)request_squeeze(engine, known->workload, known->instance, 0, NULL, NULL);
}

/* ---- for agent/pressure --------------------------------------------------------------------------- */

static struct engine_held describe(const struct workload *workload)
{
	const struct hold *hold = &workload->hold;
	uint64_t now = timer_boot_ns(&workload->engine->timers);

	return (struct engine_held){
		.workload = workload,
		.band = workload->spec->message->band,
		.running = workload->state == STATE(RUNNING) || workload->state == STATE(STARTING),
		.paused = workload->paused,
		.busy = hold->busy || hold->evicting,
		.frozen = hold->frozen,
		.request_bytes = workload->charge.memory_bytes,
		.high_bytes = hold->high_bytes,
		.frozen_ms = hold->frozen ? (now - hold->frozen_boot_ns) / NS_PER_MS : 0,
		.since_reclaim_ms = hold->reclaimed_boot_ns
					    ? (now - hold->reclaimed_boot_ns) / NS_PER_MS
					    : UINT64_MAX,
	};
}

size_t engine_list_held(const struct engine *engine, struct engine_held *list, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < engine->n_workloads && n < max; i++)
		if (!workload_is_ended(engine->by_id[i]) && engine->by_id[i]->created)
			list[n++] = describe(engine->by_id[i]);
	return n;
}

size_t engine_count(const struct engine *engine)
{
	return engine->n_workloads;
}

void engine_get_memory(const struct engine *engine, uint64_t *ret_capacity,
		       uint64_t *ret_allocatable)
{
	*ret_capacity = engine->capacity.memory_bytes;
	*ret_allocatable = engine_allocatable(engine).memory_bytes;
}

bool engine_host_has(const struct engine *engine, const char *feature, const char **ret_sentence)
{
	return host_has(&engine->host, feature, ret_sentence);
}
