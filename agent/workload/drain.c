/*
 * Draining: the lowest band is stopped first; the next one when that has ended, or when its share of
 * the time until the deadline is over. At the deadline whatever is left is killed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/workload/model.h"
#include "agent/workload/validate.h"
#include "proto/names.h"

#define SENTENCE_BYTES_MAX    256
#define DRAIN_DEADLINE_MAX_MS (7ULL * 24 * 3600 * 1000)

static uint64_t ms_left(const struct engine *engine)
{
	uint64_t now = timer_boot_ns(&engine->timers);

	return engine->drain.deadline_boot_ns > now
		       ? (engine->drain.deadline_boot_ns - now) / NS_PER_MS
		       : 0;
}

/* One that is stuck has had its kill: it holds up no other. */
static bool band_is_empty(const struct engine *engine, Berth__V1__PriorityBand band)
{
	for (size_t i = 0; i < engine->n_workloads; i++) {
		const struct workload *workload = engine->by_id[i];

		if (workload->spec->message->band == band && !workload_is_ended(workload) &&
		    workload->state != STATE(STUCK))
			return false;
	}
	return true;
}

/* The longest grace of a workload's containers. */
static uint64_t longest_grace_ms(const struct workload *workload)
{
	uint64_t longest = 0;

	for (size_t i = 0; i < workload->n_containers; i++)
		if (workload->containers[i].spec->stop_grace_ms > longest)
			longest = workload->containers[i].spec->stop_grace_ms;
	return longest;
}

static void stop_band(struct engine *engine, Berth__V1__PriorityBand band, uint64_t share_ms)
{
	/* By slot: a workload without processes ends, and may go, within the call. */
	for (size_t i = 0; i < engine->n_slots; i++) {
		struct workload *workload = engine->slots[i];

		if (!workload || workload->spec->message->band != band)
			continue;
		workload_drop_successor(workload);
		stop_workload(workload, REASON(NODE_DRAINING),
			      longest_grace_ms(workload) > share_ms ? (int64_t)share_ms : -1,
			      *engine->unschedulable ? engine->unschedulable
						     : "this host is drained");
	}
}

static void on_share_over(struct timer *timer);

static void begin_band(struct engine *engine, Berth__V1__PriorityBand band)
{
	struct drain *drain = &engine->drain;
	uint64_t share_ms = ms_left(engine) / (uint64_t)band; /* CRITICAL is 1: all that is left */

	drain->band = band;
	timer_arm(&engine->timers, &drain->timer, share_ms * NS_PER_MS, on_share_over);
	stop_band(engine, band, share_ms);
}

static void end_drain(struct engine *engine)
{
	engine->drain.active = false;
	engine->drain.deadline_boot_ns = 0;
	timer_disarm(&engine->timers, &engine->drain.timer);
}

static void next_band(struct engine *engine)
{
	struct drain *drain = &engine->drain;

	if (drain->band > BERTH__V1__PRIORITY_BAND__CRITICAL)
		begin_band(engine, drain->band - 1);
	else
		end_drain(engine);
}

static void on_share_over(struct timer *timer)
{
	struct engine *engine =
		(struct engine *)((char *)timer - offsetof(struct engine, drain.timer));

	/* What is left of this band has had its time. */
	stop_band(engine, engine->drain.band, 0);
	if (engine->drain.active)
		next_band(engine);
}

void drain_advance(struct engine *engine)
{
	struct drain *drain = &engine->drain;

	if (!drain->active || drain->advancing)
		return;
	drain->advancing = true;
	while (drain->active && band_is_empty(engine, drain->band))
		next_band(engine);
	drain->advancing = false;
}

static void node_event(struct engine *engine, Berth__V1__Reason reason, const char *sentence)
{
	Berth__V1__Event event = BERTH__V1__EVENT__INIT;

	event.time_unix_ns = timer_wall_ns(&engine->timers);
	event.time_boot_ns = timer_boot_ns(&engine->timers);
	event.reason = reason;
	event.sentence = (char *)sentence;
	(void)events_append(&engine->events, &event);
}

static void begin_drain(struct engine *engine, uint64_t deadline_ms)
{
	struct drain *drain = &engine->drain;

	drain->active = true;
	drain->deadline_boot_ns = timer_boot_ns(&engine->timers) + deadline_ms * NS_PER_MS;
	drain->deadline_wall_ns = timer_wall_ns(&engine->timers) + deadline_ms * NS_PER_MS;
	drain->advancing = true;
	begin_band(engine, BERTH__V1__PRIORITY_BAND__BEST_EFFORT);
	drain->advancing = false;
	drain_advance(engine);
}

void drain_resume(struct engine *engine)
{
	struct drain *drain = &engine->drain;
	uint64_t now = timer_boot_ns(&engine->timers);

	if (!drain->deadline_boot_ns || drain->active || engine->schedulable)
		return;
	begin_drain(engine, drain->deadline_boot_ns > now
				    ? (drain->deadline_boot_ns - now) / NS_PER_MS
				    : 0);
}

static void set_schedulable(struct engine *engine, const Berth__V1__SetSchedulableRequest *request)
{
	bool was = engine->schedulable;

	end_drain(engine);
	engine->drain.deadline_wall_ns = 0;
	engine->schedulable = request->schedulable;
	(void)snprintf(engine->unschedulable, sizeof(engine->unschedulable), "%s",
		       request->schedulable ? "" : request->sentence);
	if (request->schedulable) {
		if (!was)
			node_event(engine, REASON(NODE_SCHEDULABLE),
				   "this host takes workloads again");
		engine_keep_node(engine);
		return;
	}
	node_event(engine, REASON(NODE_DRAINING),
		   *engine->unschedulable ? engine->unschedulable
					  : "this host takes no new workloads");
	if (request->drain_deadline_ms)
		begin_drain(engine, request->drain_deadline_ms);
	engine_keep_node(engine);
}

void engine_set_schedulable(struct engine *engine, const Berth__V1__SetSchedulableRequest *request,
			    struct engine_waiter *waiter)
{
	struct command command;
	struct err why = { 0 };

	command_begin(&command, engine, waiter, request->fence);
	validate_fence(request->fence, false, &command.fault);
	if (names_check_line(request->sentence, SENTENCE_BYTES_MAX, &why) < 0)
		engine_fault_add_field(&command.fault, "sentence", why.text);
	if (request->drain_deadline_ms > DRAIN_DEADLINE_MAX_MS)
		engine_fault_add_field(&command.fault, "drain_deadline_ms",
				       "at most a week, 604800000");
	if (request->schedulable && request->drain_deadline_ms)
		engine_fault_add_field(&command.fault, "drain_deadline_ms",
				       "only with schedulable = false");
	if (command_passes(&command)) {
		set_schedulable(engine, request);
		engine_accept_when_durable(engine, waiter);
	}
	command_end(&command);
}
