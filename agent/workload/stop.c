/*
 * How the containers of an attempt are ended: main and init containers together, then sidecars in the
 * reverse of their order, each by its signal, its grace, and the kill of its whole cgroup. What
 * survives the kill makes the workload STUCK.
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
	container->workload->killed = true;
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
	(void)signame_parse(container->spec->stop_signal, &signal, NULL); /* it was validated */
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
	if (!workload->ending)
		return;
	if (ask_mains(workload) || ask_last_sidecar(workload))
		return;
	workload_attempt_over(workload);
}

/* A shorter grace counts from now on. */
static void shorten(struct workload *workload, int64_t grace)
{
	struct timer_queue *timers = &workload->engine->timers;
	uint64_t latest = timer_boot_ns(timers) + (uint64_t)grace * NS_PER_MS;

	if (workload->grace_override_ms < 0 || grace < workload->grace_override_ms)
		workload->grace_override_ms = grace;
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
	if (workload->ending) {
		if (grace >= 0)
			shorten(workload, grace);
		return;
	}
	workload->grace_override_ms = grace;
	if (workload_is_live(workload))
		workload_end(workload, reason, "%s", sentence);
	else
		workload_finish(workload, reason, sentence);
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
