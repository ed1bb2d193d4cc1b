/* Whether and when an attempt is followed by another one. */
#include <stdio.h>

#include "agent/workload/model.h"
#include "proto/quantity.h"

bool restart_is_due(const struct workload *workload, Berth__V1__Reason reason)
{
	switch (workload->spec->message->restart->mode) {
	case BERTH__V1__RESTART_MODE__RESTART_ALWAYS:
		return true;
	case BERTH__V1__RESTART_MODE__RESTART_ON_FAILURE:
		return reason != REASON(COMPLETED);
	default:
		return false;
	}
}

uint64_t restart_delay_ms(const Berth__V1__RestartPolicy *policy, uint32_t n)
{
	uint64_t cap = policy->max_backoff_ms;
	uint64_t delay = policy->initial_backoff_ms;

	/* Each step multiplies, so the cap is reached soon or never: a factor of 1 ends the loop
	 * by standing still. */
	for (uint32_t i = 1; i < n && delay < cap; i++) {
		uint64_t next = delay * policy->factor_permille / 1000;

		if (next == delay)
			break;
		delay = next;
	}
	return delay < cap ? delay : cap;
}

static void on_backoff_over(struct timer *timer)
{
	restart_now((struct workload *)((char *)timer - offsetof(struct workload, backoff)));
}

void restart_resume(struct workload *workload, uint64_t at_boot_ns)
{
	struct timer_queue *timers = &workload->engine->timers;
	uint64_t now = timer_boot_ns(timers);

	timer_arm(timers, &workload->backoff, at_boot_ns > now ? at_boot_ns - now : 0,
		  on_backoff_over);
}

void restart_schedule(struct workload *workload, Berth__V1__Reason reason, const char *sentence)
{
	const Berth__V1__RestartPolicy *policy = workload->spec->message->restart;
	struct timer_queue *timers = &workload->engine->timers;
	char delay_text[QUANTITY_TEXT_MAX];
	uint64_t delay_ms;

	if (workload->running_boot_ns &&
	    timer_boot_ns(timers) - workload->running_boot_ns >= policy->reset_after_ms * NS_PER_MS)
		workload->tries = 0;
	workload->tries++;
	delay_ms = restart_delay_ms(policy, workload->tries);
	timer_arm(timers, &workload->backoff, delay_ms * NS_PER_MS, on_backoff_over);
	workload->next_restart_wall_ns = timer_wall_ns(timers) + delay_ms * NS_PER_MS;
	workload_set_state(workload, STATE(BACKOFF), reason, "%.400s; starts again in %s", sentence,
			   quantity_format_duration_ms(delay_ms, delay_text));
}

void restart_now(struct workload *workload)
{
	/* Without berth-sandboxd it waits for it: inventory.c calls again. */
	if (workload->state != STATE(BACKOFF) || !workload->engine->ready)
		return;
	workload->restarts++;
	workload_attempt(workload);
}
