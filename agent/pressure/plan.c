#include "agent/pressure/plan.h"

#include <string.h>

#include "proto/cleanup.h"

#define RECLAIM_MIN_BYTES (1ULL << 20) /* less is not worth the kernel's search */
#define SQUEEZE_MIN_BYTES (4ULL << 20)
#define PAGE_MASK         (~UINT64_C(4095))

static const char *const names[] = { [PLAN_RECLAIM] = "reclaim",
				     [PLAN_SQUEEZE] = "squeeze",
				     [PLAN_FREEZE] = "freeze",
				     [PLAN_KILL] = "kill" };

const char *plan_step_name(enum plan_step step)
{
	return step < ARRAY_SIZE(names) && names[step] ? names[step] : "";
}

enum plan_step plan_step_parse(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i] && strcmp(names[i], name) == 0)
			return (enum plan_step)i;
	return PLAN_NONE;
}

/* ---- acting --------------------------------------------------------------------------------------- */

static uint64_t squeeze_to(const struct plan_workload *workload)
{
	uint64_t bytes = workload->working_set_bytes & PAGE_MASK;

	return bytes < SQUEEZE_MIN_BYTES ? SQUEEZE_MIN_BYTES : bytes;
}

static bool can(enum plan_step step, const struct plan_rules *rules,
		const struct plan_workload *workload)
{
	switch (step) {
	case PLAN_RECLAIM:
		return workload->since_reclaim_ms >= rules->reclaim_again_ms &&
		       workload->file_bytes >= RECLAIM_MIN_BYTES;
	case PLAN_SQUEEZE:
		return !workload->squeezed && workload->usage_bytes >= SQUEEZE_MIN_BYTES;
	case PLAN_FREEZE:
		return !workload->frozen && !workload->paused;
	default:
		return true;
	}
}

/* Whether @a uses more above its request than @b; among equals the first in the list stays. */
static bool uses_more(const struct plan_workload *a, const struct plan_workload *b)
{
	int64_t above_a = (int64_t)a->usage_bytes - (int64_t)a->request_bytes;
	int64_t above_b = (int64_t)b->usage_bytes - (int64_t)b->request_bytes;

	return above_a > above_b;
}

static bool choose(const struct plan_rules *rules, unsigned int band, enum plan_step step,
		   const struct plan_workload *workloads, size_t n, size_t *ret_index)
{
	bool found = false;

	if (!(rules->steps[band] & PLAN_BIT(step)))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (workloads[i].band != band || !workloads[i].running ||
		    !can(step, rules, &workloads[i]))
			continue;
		if (!found || uses_more(&workloads[i], &workloads[*ret_index]))
			*ret_index = i;
		found = true;
	}
	return found;
}

static uint64_t bytes_of(enum plan_step step, const struct plan_host *host,
			 const struct plan_workload *workload)
{
	if (step == PLAN_SQUEEZE)
		return squeeze_to(workload);
	if (step != PLAN_RECLAIM)
		return 0;
	if (host->missing_bytes < RECLAIM_MIN_BYTES)
		return RECLAIM_MIN_BYTES;
	return host->missing_bytes < workload->file_bytes ? host->missing_bytes
							  : workload->file_bytes;
}

static struct plan_choice act(const struct plan_rules *rules, const struct plan_host *host,
			      const struct plan_workload *workloads, size_t n)
{
	for (unsigned int band = PLAN_BANDS; band > 1; band--)
		for (enum plan_step step = PLAN_RECLAIM; step <= PLAN_KILL; step++) {
			size_t index = 0;

			if (choose(rules, band, step, workloads, n, &index))
				return (struct plan_choice){
					step, index, bytes_of(step, host, &workloads[index])
				};
		}
	return (struct plan_choice){ 0 };
}

/* ---- undoing -------------------------------------------------------------------------------------- */

/* Whether @a goes on before @b: the higher band, then the one that uses less. */
static bool goes_first(const struct plan_workload *a, const struct plan_workload *b)
{
	if (a->band != b->band)
		return a->band < b->band;
	return a->usage_bytes < b->usage_bytes;
}

static struct plan_choice undo(const struct plan_workload *workloads, size_t n)
{
	struct plan_choice choice = { 0 };

	for (size_t i = 0; i < n; i++) {
		enum plan_step step = workloads[i].frozen     ? PLAN_THAW
				      : workloads[i].squeezed ? PLAN_RELEASE
							      : PLAN_NONE;

		if (step == PLAN_NONE || (choice.step && choice.step < step))
			continue;
		if (choice.step != step || goes_first(&workloads[i], &workloads[choice.index]))
			choice = (struct plan_choice){ step, i, 0 };
	}
	return choice;
}

/* One that was frozen for as long as it may be: its memory is what the host lacks, or it may go on. */
static struct plan_choice end_long_freeze(const struct plan_rules *rules,
					  const struct plan_host *host,
					  const struct plan_workload *workloads, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool may_kill = workloads[i].band <= PLAN_BANDS &&
				rules->steps[workloads[i].band] & PLAN_BIT(PLAN_KILL);

		if (workloads[i].frozen && workloads[i].frozen_ms >= rules->freeze_max_ms)
			return (struct plan_choice){ host->is_scarce && may_kill ? PLAN_KILL
										 : PLAN_THAW,
						     i, 0 };
	}
	return (struct plan_choice){ 0 };
}

struct plan_choice plan_next(const struct plan_rules *rules, const struct plan_host *host,
			     const struct plan_workload *workloads, size_t n)
{
	struct plan_choice choice;

	for (size_t i = 0; i < n; i++)
		if (workloads[i].busy)
			return (struct plan_choice){ 0 };
	choice = end_long_freeze(rules, host, workloads, n);
	if (choice.step != PLAN_NONE)
		return choice;
	if (host->is_short)
		return act(rules, host, workloads, n);
	if (host->is_relieved)
		return undo(workloads, n);
	return (struct plan_choice){ 0 };
}
