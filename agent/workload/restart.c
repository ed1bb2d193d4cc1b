/* Whether and when an attempt is followed by another one. */
#include <stdio.h>

#include "agent/workload/model.h"
#include "proto/quantity.h"
#include "proto/signame.h"

/* ---- rules ---------------------------------------------------------------------------------------- */

static bool names_code(const Berth__V1__RestartRule *rule, const Berth__V1__ExitRecord *record)
{
	for (size_t i = 0; i < rule->n_exit_codes; i++)
		if (record->kind == BERTH__V1__EXIT_KIND__EXIT_CODE &&
		    record->code == (int32_t)rule->exit_codes[i])
			return true;
	return false;
}

static bool names_signal(const Berth__V1__RestartRule *rule, const Berth__V1__ExitRecord *record)
{
	int signal = 0;

	if (record->kind != BERTH__V1__EXIT_KIND__EXIT_SIGNAL &&
	    record->kind != BERTH__V1__EXIT_KIND__EXIT_CORE_DUMPED)
		return false;
	for (size_t i = 0; i < rule->n_signals; i++)
		if (signame_parse(rule->signals[i], &signal, NULL) == 0 && signal == record->signal)
			return true;
	return false;
}

/* An end that the container itself came to: nobody asked for it, and it is known. */
static bool is_own_end(const Berth__V1__ExitRecord *record)
{
	return record->reason == REASON(COMPLETED) || record->reason == REASON(EXITED_NONZERO) ||
	       record->reason == REASON(SIGNALED) || record->reason == REASON(OOM_KILLED);
}

uint32_t restart_find_rule(const struct workload *workload, const Berth__V1__ExitRecord *record)
{
	const Berth__V1__RestartPolicy *policy = workload->spec->message->restart;

	if (!record || !is_own_end(record))
		return 0;
	for (size_t i = 0; i < policy->n_rules; i++) {
		const Berth__V1__RestartRule *rule = policy->rules[i];

		if (names_code(rule, record) || names_signal(rule, record) ||
		    (rule->oom && record->reason == REASON(OOM_KILLED)))
			return (uint32_t)i + 1;
	}
	return 0;
}

static Berth__V1__RestartAction action_of_mode(const struct workload *workload,
					       Berth__V1__Reason reason)
{
	switch (workload->spec->message->restart->mode) {
	case BERTH__V1__RESTART_MODE__RESTART_ALWAYS:
		return BERTH__V1__RESTART_ACTION__RULE_RESTART;
	case BERTH__V1__RESTART_MODE__RESTART_ON_FAILURE:
		return reason != REASON(COMPLETED) ? BERTH__V1__RESTART_ACTION__RULE_RESTART
						   : BERTH__V1__RESTART_ACTION__RULE_DO_NOT_RESTART;
	default:
		return BERTH__V1__RESTART_ACTION__RULE_DO_NOT_RESTART;
	}
}

Berth__V1__RestartAction restart_action(const struct workload *workload, Berth__V1__Reason reason)
{
	const Berth__V1__RestartPolicy *policy = workload->spec->message->restart;
	uint32_t rule = workload->restart_rule;

	if (rule > 0 && rule <= policy->n_rules)
		return policy->rules[rule - 1]->action;
	return action_of_mode(workload, reason);
}

/* ---- when ----------------------------------------------------------------------------------------- */

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

uint64_t restart_left_ms(const struct workload *workload)
{
	uint64_t now = timer_boot_ns(&workload->engine->timers);
	uint64_t at = workload->backoff.at_boot_ns;

	return workload->backoff.armed && at > now ? (at - now + NS_PER_MS - 1) / NS_PER_MS : 0;
}

void restart_now(struct workload *workload)
{
	/* Without berth-sandboxd it waits for it: inventory.c calls again. */
	if (workload->state != STATE(BACKOFF) || !workload->engine->ready)
		return;
	workload->restarts++;
	workload_attempt(workload);
}
