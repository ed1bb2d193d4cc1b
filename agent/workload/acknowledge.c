/* Terminal records that somebody waits for, and those that he has: AckRecords, and the limits. */
#include <errno.h>
#include <stddef.h>

#include "agent/workload/model.h"
#include "agent/workload/validate.h"
#include "proto/log.h"

#define SEQUENCES_MAX 4096

static void on_old(struct timer *timer)
{
	records_apply_limits(
		(struct engine *)((char *)timer - offsetof(struct engine, records_timer)));
}

static void say_dropped(struct engine *engine, uint64_t before)
{
	uint64_t dropped = engine->records.dropped;

	if (dropped == before)
		return;
	/* Every one is counted; a line each would fill the log of a host that nobody acknowledges. */
	if (engine->acknowledges && (before == 0 || dropped / 1000 > before / 1000))
		log_event(
			LOG_WARNING, NULL,
			"%llu terminal records were dropped before a scheduler had acknowledged them (see [Records] in berthd.conf)",
			(unsigned long long)dropped);
	engine_keep_node(engine);
}

void records_apply_limits(struct engine *engine)
{
	uint64_t dropped = engine->records.dropped;
	uint64_t now = timer_boot_ns(&engine->timers);
	uint64_t next = records_trim(&engine->records, now);

	timer_disarm(&engine->timers, &engine->records_timer);
	if (next)
		timer_arm(&engine->timers, &engine->records_timer, next - now, on_old);
	say_dropped(engine, dropped);
}

void records_keep(struct engine *engine, const struct workload *workload, uint64_t sequence)
{
	struct kept_record record = { .sequence = sequence,
				      .event = events_share(&engine->events, sequence),
				      .boot_ns = timer_boot_ns(&engine->timers) };

	/* Without memory for it, it is in the workload's status only. */
	if (!record.event)
		return;
	(void)snprintf(record.id, sizeof(record.id), "%s", workload->id);
	if (records_add(&engine->records, &record, true) == 0)
		records_apply_limits(engine);
}

void records_reconfigure(struct engine *engine, const struct record_limits *limits)
{
	records_set_limits(&engine->records, limits);
	if (engine->records.n == 0)
		return;
	engine_enter(engine);
	records_apply_limits(engine);
	engine_leave(engine);
}

void engine_fill_records(const struct engine *engine, Berth__V1__RecordFigures *ret)
{
	ret->kept = engine->records.n;
	ret->kept_bytes = engine->records.bytes;
	ret->unacknowledged = engine->records.unacknowledged;
	ret->dropped_unacknowledged = engine->records.dropped;
}

/* ---- AckRecords ----------------------------------------------------------------------------------- */

static void validate(const Berth__V1__AckRecordsRequest *request, struct engine_fault *fault)
{
	validate_fence(request->fence, false, fault);
	if (!request->up_to_sequence && !request->n_sequences)
		engine_fault_add_field(fault, "up_to_sequence",
				       "say which: up_to_sequence or sequences");
	if (request->n_sequences > SEQUENCES_MAX)
		engine_fault_add_field(fault, "sequences", "at most 4096 at a time");
}

static void acknowledge(struct command *command, const Berth__V1__AckRecordsRequest *request)
{
	struct engine *engine = command->engine;
	size_t news;
	int r;

	validate(request, &command->fault);
	if (!command_passes(command))
		return;
	r = watch_check_number(&engine->events, request->instance, request->up_to_sequence,
			       &command->err, &command->fault);
	if (r < 0) {
		command_refuse(command, r);
		return;
	}
	news = records_acknowledge(&engine->records, 0, request->up_to_sequence);
	for (size_t i = 0; i < request->n_sequences; i++)
		news += records_acknowledge(&engine->records, request->sequences[i],
					    request->sequences[i]);
	engine->acknowledges = true;
	records_apply_limits(engine);
	if (news)
		engine_keep_node(engine);
	engine_accept_when_durable(engine, command->waiter);
}

void engine_ack_records(struct engine *engine, const Berth__V1__AckRecordsRequest *request,
			struct engine_waiter *waiter)
{
	struct command command;

	command_begin(&command, engine, waiter, request->fence);
	acknowledge(&command, request);
	command_end(&command);
}
