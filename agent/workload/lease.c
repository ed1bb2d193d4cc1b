/*
 * Leases: a workload with stop_after_disconnect_ms is stopped once the scheduler that placed it has been
 * silent for that long.
 *
 * A scheduler here is a name and when it was last heard of; it is remembered as long as a call of it is
 * open or a lease hangs on it. Each lease has a timer of its own that asks anew when it fires: being heard
 * of costs no more than a clock's reading.
 *
 * What is kept for the next berthd is written from time to time only, with how much later the scheduler
 * may have been heard of since: a restart makes a lease longer by as much, and never shorter.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"
#include "berth/agent/v1/kept.pb-c.h"
#include "proto/quantity.h"

/* After a start, schedulers get that long to come back. */
#define COME_BACK_NS (10 * NS_PER_SEC)

/* How often it is written when a scheduler was heard of, as a part of its shortest lease. */
#define KEEP_PARTS  8
#define KEEP_MIN_NS (NS_PER_SEC / 2)
#define KEEP_MAX_NS (60 * NS_PER_SEC)

struct scheduler {
	LIST_ENTRY(scheduler) link;
	struct engine *engine;
	char *name; /* "": of workloads whose scheduler is not known; every call counts */
	unsigned int open_calls;
	unsigned int leases;
	uint64_t heard_boot_ns;
	uint64_t shortest_ns; /* of its leases, as long as it has any */
	uint64_t kept_boot_ns;
	struct timer beat; /* while a call is open */
};

static uint64_t now_of(const struct engine *engine)
{
	return timer_boot_ns(&engine->timers);
}

static uint64_t heard_of(const struct scheduler *scheduler)
{
	return scheduler->open_calls ? now_of(scheduler->engine) : scheduler->heard_boot_ns;
}

static struct scheduler *find(const struct engine *engine, const char *name)
{
	struct scheduler *scheduler;

	LIST_FOREACH (scheduler, &engine->schedulers, link)
		if (strcmp(scheduler->name, name) == 0)
			return scheduler;
	return NULL;
}

/* NULL without memory. */
static struct scheduler *find_or_add(struct engine *engine, const char *name)
{
	struct scheduler *scheduler = find(engine, name);

	if (scheduler)
		return scheduler;
	scheduler = calloc(1, sizeof(*scheduler));
	if (!scheduler)
		return NULL;
	scheduler->name = strdup(name);
	if (!scheduler->name) {
		free(scheduler);
		return NULL;
	}
	scheduler->engine = engine;
	scheduler->heard_boot_ns = now_of(engine);
	LIST_INSERT_HEAD(&engine->schedulers, scheduler, link);
	return scheduler;
}

static void scheduler_free(struct scheduler *scheduler)
{
	timer_disarm(&scheduler->engine->timers, &scheduler->beat);
	LIST_REMOVE(scheduler, link);
	free(scheduler->name);
	free(scheduler);
}

static void drop_unused(struct scheduler *scheduler)
{
	if (scheduler->open_calls == 0 && scheduler->leases == 0)
		scheduler_free(scheduler);
}

/* ---- keeping -------------------------------------------------------------------------------------- */

static uint64_t keep_interval(const struct scheduler *scheduler)
{
	uint64_t ns = scheduler->shortest_ns / KEEP_PARTS;

	if (ns < KEEP_MIN_NS)
		return KEEP_MIN_NS;
	return ns > KEEP_MAX_NS ? KEEP_MAX_NS : ns;
}

int leases_fill(struct engine *engine, struct arena *arena, Berth__Agent__V1__Node *node)
{
	struct scheduler *scheduler;

	LIST_FOREACH (scheduler, &engine->schedulers, link) {
		Berth__Agent__V1__Scheduler *kept;

		if (scheduler->leases == 0)
			continue;
		kept = arena_message(arena, &berth__agent__v1__scheduler__descriptor);
		if (arena_append(arena, &node->schedulers, &node->n_schedulers, kept) < 0)
			return -1;
		kept->name = scheduler->name;
		kept->heard_boot_ns = heard_of(scheduler);
		kept->late_ns = keep_interval(scheduler);
		scheduler->kept_boot_ns = now_of(engine);
	}
	return 0;
}

static void on_beat(struct timer *timer)
{
	struct scheduler *scheduler =
		(struct scheduler *)((char *)timer - offsetof(struct scheduler, beat));
	struct engine *engine = scheduler->engine;

	engine_keep_node(engine);
	timer_arm(&engine->timers, timer, keep_interval(scheduler), on_beat);
}

/* It was heard of just now, or a lease was hung on it. */
static void keep_where_due(struct scheduler *scheduler)
{
	struct engine *engine = scheduler->engine;
	uint64_t interval = keep_interval(scheduler);

	if (scheduler->leases == 0 || scheduler->open_calls == 0)
		timer_disarm(&engine->timers, &scheduler->beat);
	else if (!scheduler->beat.armed)
		timer_arm(&engine->timers, &scheduler->beat, interval, on_beat);
	if (scheduler->leases == 0 ||
	    (scheduler->kept_boot_ns && now_of(engine) - scheduler->kept_boot_ns < interval))
		return;
	engine_enter(engine);
	engine_keep_node(engine);
	engine_leave(engine);
}

void leases_load(struct engine *engine, const Berth__Agent__V1__Node *node)
{
	for (size_t i = 0; i < node->n_schedulers; i++) {
		const Berth__Agent__V1__Scheduler *kept = node->schedulers[i];
		struct scheduler *scheduler = find_or_add(engine, kept->name);
		uint64_t heard = kept->heard_boot_ns + kept->late_ns;

		if (scheduler && heard < scheduler->heard_boot_ns)
			scheduler->heard_boot_ns = heard;
	}
}

void leases_loaded(struct engine *engine)
{
	struct scheduler *scheduler = LIST_FIRST(&engine->schedulers);
	struct scheduler *next;

	for (; scheduler; scheduler = next) {
		next = LIST_NEXT(scheduler, link);
		drop_unused(scheduler);
	}
}

void leases_forget(struct engine *engine)
{
	while (!LIST_EMPTY(&engine->schedulers))
		scheduler_free(LIST_FIRST(&engine->schedulers));
}

/* ---- being heard of ------------------------------------------------------------------------------- */

void engine_call_began(struct engine *engine, const char *name)
{
	struct scheduler *unknown = find(engine, "");
	struct scheduler *scheduler = find_or_add(engine, name);

	if (unknown)
		unknown->heard_boot_ns = now_of(engine);
	if (!scheduler)
		return; /* its end will not be counted either */
	scheduler->open_calls++;
	scheduler->heard_boot_ns = now_of(engine);
	keep_where_due(scheduler);
}

void engine_call_ended(struct engine *engine, const char *name)
{
	struct scheduler *unknown = find(engine, "");
	struct scheduler *scheduler = find(engine, name);

	if (unknown)
		unknown->heard_boot_ns = now_of(engine);
	if (!scheduler)
		return;
	scheduler->heard_boot_ns = now_of(engine);
	if (scheduler->open_calls > 0)
		scheduler->open_calls--;
	keep_where_due(scheduler);
	drop_unused(scheduler);
}

/* ---- leases --------------------------------------------------------------------------------------- */

static uint64_t limit_of(const struct workload *workload)
{
	uint64_t ms = workload->spec->message->stop_after_disconnect_ms;

	return ms > UINT64_MAX / NS_PER_MS ? UINT64_MAX : ms * NS_PER_MS;
}

static uint64_t add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t lease_left_ns(const struct workload *workload)
{
	const struct engine *engine = workload->engine;
	uint64_t limit = limit_of(workload);
	uint64_t come_back = add(engine->start_boot_ns,
				 limit < COME_BACK_NS ? limit : COME_BACK_NS);
	uint64_t now = now_of(engine);
	uint64_t end;

	if (!workload->lease)
		return 0;
	end = add(heard_of(workload->lease), limit);
	if (end < come_back)
		end = come_back;
	return end > now ? end - now : 0;
}

static void on_lease_over(struct timer *timer)
{
	struct workload *workload =
		(struct workload *)((char *)timer - offsetof(struct workload, disconnect));
	uint64_t left = lease_left_ns(workload);
	char limit[QUANTITY_TEXT_MAX];
	char sentence[SENTENCE_MAX];

	if (left > 0) {
		timer_arm(&workload->engine->timers, timer, left, on_lease_over);
		return;
	}
	(void)snprintf(sentence, sizeof(sentence),
		       "%.200s, which placed it, was not heard of for %s",
		       workload->scheduler ? workload->scheduler : "the scheduler",
		       quantity_format_duration_ms(limit_of(workload) / NS_PER_MS, limit));
	lease_end(workload);
	stop_workload(workload, REASON(SCHEDULER_SILENT), -1, sentence);
}

void lease_end(struct workload *workload)
{
	struct scheduler *scheduler = workload->lease;

	if (!scheduler)
		return;
	timer_disarm(&workload->engine->timers, &workload->disconnect);
	workload->lease = NULL;
	scheduler->leases--;
	if (scheduler->leases == 0)
		scheduler->shortest_ns = 0;
	drop_unused(scheduler);
}

void lease_watch(struct workload *workload)
{
	struct engine *engine = workload->engine;
	uint64_t limit = limit_of(workload);
	struct scheduler *scheduler;

	lease_end(workload);
	if (limit == 0 || workload->no_restart)
		return;
	scheduler = find_or_add(engine, workload->scheduler ? workload->scheduler : "");
	if (!scheduler)
		return; /* without memory the workload runs on, as without a lease */
	workload->lease = scheduler;
	if (scheduler->leases++ == 0 || limit < scheduler->shortest_ns)
		scheduler->shortest_ns = limit;
	timer_arm(&engine->timers, &workload->disconnect, lease_left_ns(workload), on_lease_over);
	keep_where_due(scheduler);
}

void lease_pass_to(struct workload *workload, const char *name)
{
	char *copy;

	if (!name || (workload->scheduler && strcmp(workload->scheduler, name) == 0))
		return;
	copy = strdup(name);
	if (!copy)
		return; /* it stays with the one before, who is heard of or not */
	free(workload->scheduler);
	workload->scheduler = copy;
	workload_touch(workload);
	if (workload->lease)
		lease_watch(workload);
}
