/*
 * How the containers of an attempt are ended: main and init containers together, then sidecars in the
 * reverse of their order, each by its signal, its grace, and the kill of its whole cgroup. What
 * survives the kill makes the workload STUCK.
 *
 * What was asked for is durable before it is done: else it could be seen, and be forgotten in a crash. A
 * disk that fails holds nothing up, and one that hangs not for long: a stop always ends.
 */
#include <stdio.h>

#include "agent/workload/model.h"
#include "proto/failpoint.h"
#include "proto/signame.h"

static void kill_container(struct container *container)
{
	FAILPOINT("berthd.stop.kill");
	container->kill_asked = true;
	/* Where the link is down, stop_resend() asks again. */
	(void)request_kill(container, NULL);
}

static void on_grace_over(struct timer *timer)
{
	struct container *container =
		(struct container *)((char *)timer - offsetof(struct container, grace));

	container->after_grace = true;
	kill_container(container);
}

static uint64_t grace_ms(const struct container *container)
{
	int64_t override = container->workload->grace_override_ms;

	return override >= 0 ? (uint64_t) override : container->spec->stop_grace_ms;
}

static void send_stop_signal(struct container *container)
{
	int signal = 15;

	FAILPOINT("berthd.stop.signal");
	(void)signame_parse(container_run(container)->stop_signal, &signal,
			    NULL); /* it was validated */
	(void)request_signal(container, signal, false, NULL, NULL);
}

static void ask(struct container *container)
{
	if (container->stop_asked || !container_is_live(container))
		return;
	container->stop_asked = true;
	probes_end(container);
	readiness_lost(container, "it is being ended");
	/* Frozen processes do not see a signal, and on v1 not even SIGKILL. */
	(void)hold_thaw(container->workload);
	/* What is not exec'd yet has nobody to take a signal. */
	if (container->phase == CONTAINER_LAUNCHING || grace_ms(container) == 0) {
		kill_container(container);
		return;
	}
	send_stop_signal(container);
	timer_arm(&container->workload->engine->timers, &container->grace,
		  grace_ms(container) * NS_PER_MS, on_grace_over);
}

static bool ask_mains(struct workload *workload)
{
	bool live = false;

	for (size_t i = 0; i < workload->n_containers; i++) {
		struct container *container = &workload->containers[i];

		if (container->spec->role == ROLE(SIDECAR) || !container_is_live(container))
			continue;
		live = true;
		ask(container);
	}
	return live;
}

static bool ask_last_sidecar(struct workload *workload)
{
	for (size_t i = workload->n_containers; i-- > 0;) {
		struct container *container = &workload->containers[i];

		if (!container_is_live(container))
			continue;
		ask(container);
		return true;
	}
	return false;
}

void stop_advance(struct workload *workload)
{
	if (!workload->ending || workload->stop_waits)
		return;
	if (ask_mains(workload) || ask_last_sidecar(workload))
		return;
	workload_attempt_over(workload);
}

/* A shorter grace counts from now on. */
static void shorten(struct workload *workload)
{
	struct timer_queue *timers = &workload->engine->timers;
	int64_t grace = workload->grace_override_ms;
	uint64_t latest = timer_boot_ns(timers) + (uint64_t)grace * NS_PER_MS;

	if (grace < 0)
		return;
	for (size_t i = 0; i < workload->n_containers; i++) {
		struct container *container = &workload->containers[i];

		if (!container->grace.armed || container->grace.at_boot_ns <= latest)
			continue;
		if (grace > 0) {
			timer_arm(timers, &container->grace, (uint64_t)grace * NS_PER_MS,
				  on_grace_over);
			continue;
		}
		timer_disarm(timers, &container->grace);
		kill_container(container);
	}
}

void stop_at_once(struct workload *workload)
{
	promise_drop(&workload->stop);
	workload->stop_waits = false;
	if (!workload->ending)
		return;
	FAILPOINT("berthd.stop.durable");
	shorten(workload);
	stop_advance(workload);
}

/* Though it be not kept: a stop always ends. */
static void on_kept(struct promise *promise, const struct err *err)
{
	stop_at_once((struct workload *)((char *)promise - offsetof(struct workload, stop)));
}

static void when_durable(struct workload *workload)
{
	workload->stop_waits = true;
	workload_keep(workload);
	promise_make(workload->engine, &workload->stop, on_kept);
}

static bool is_shorter(const struct workload *workload, int64_t grace)
{
	return grace >= 0 &&
	       (workload->grace_override_ms < 0 || grace < workload->grace_override_ms);
}

void stop_workload(struct workload *workload, Berth__V1__Reason reason, int64_t grace,
		   const char *sentence)
{
	bool first = !workload->no_restart;

	if (workload_is_ended(workload))
		return;
	workload->no_restart = true;
	FAILPOINT("berthd.stop.begin");
	if (first)
		workload_put_intent(workload, true);
	if (!workload_is_live(workload) && !workload->ending) {
		workload->grace_override_ms = grace;
		workload_finish(workload, reason, sentence);
		return;
	}
	if (workload->ending && !is_shorter(workload, grace))
		return;
	workload->grace_override_ms = grace;
	workload->stop_waits |= !workload->ending;
	workload_end(workload, reason, "%s", sentence);
	when_durable(workload);
}

void stop_resume(struct container *container, uint64_t at_boot_ns)
{
	struct timer_queue *timers = &container->workload->engine->timers;
	uint64_t now = timer_boot_ns(timers);

	timer_arm(timers, &container->grace, at_boot_ns > now ? at_boot_ns - now : 0,
		  on_grace_over);
}

void stop_resend(struct workload *workload)
{
	for (size_t i = 0; i < workload->n_containers; i++) {
		struct container *container = &workload->containers[i];

		if (!container_is_live(container) || !container->stop_asked)
			continue;
		if (container->kill_asked)
			kill_container(container);
		else
			send_stop_signal(container);
	}
}
