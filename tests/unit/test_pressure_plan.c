/* Which step comes next: a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "agent/pressure/plan.h"
#include "proto/cleanup.h"

/* Rows change members of the usual workload. */
#pragma GCC diagnostic ignored "-Woverride-init"

#define MIB  (1ULL << 20)
#define LONG UINT64_MAX /* since a reclaim: never */
#define ALL                                                                        \
	(PLAN_BIT(PLAN_RECLAIM) | PLAN_BIT(PLAN_SQUEEZE) | PLAN_BIT(PLAN_FREEZE) | \
	 PLAN_BIT(PLAN_KILL))

enum { CRITICAL = 1, PRODUCTION, BATCH, BEST_EFFORT };

static const struct plan_rules usual = {
	.steps = { [4] = ALL, [3] = ALL, [2] = PLAN_BIT(PLAN_RECLAIM) },
	.reclaim_again_ms = 10000,
	.freeze_max_ms = 300000,
};
/* v1: memory.high is not there. */
static const struct plan_rules no_squeeze = {
	.steps = { [4] = ALL & ~PLAN_BIT(PLAN_SQUEEZE), [3] = ALL & ~PLAN_BIT(PLAN_SQUEEZE) },
	.reclaim_again_ms = 10000,
	.freeze_max_ms = 300000,
};
static const struct plan_rules critical_too = { .steps = { [1] = ALL }, .freeze_max_ms = 300000 };

/* Running, with 100 MiB, half of it files, above a request of 10. */
#define USED(band_, ...)                                                                          \
	{                                                                                         \
		.band = (band_), .running = true, .usage_bytes = 100 * MIB,                       \
		.working_set_bytes = 70 * MIB, .file_bytes = 50 * MIB, .request_bytes = 10 * MIB, \
		.since_reclaim_ms = LONG, ##__VA_ARGS__                                           \
	}
#define SPENT .since_reclaim_ms = 1, .squeezed = true

static const struct plan_host is_short = { .is_short = true,
					   .is_scarce = true,
					   .missing_bytes = 20 * MIB };
static const struct plan_host scarce = { .is_scarce = true, .missing_bytes = 20 * MIB };
static const struct plan_host relieved = { .is_relieved = true };
static const struct plan_host between = { .missing_bytes = 5 * MIB };

static const struct row {
	const char *name;
	const struct plan_rules *rules;
	const struct plan_host *host;
	enum plan_step step;
	size_t index;
	uint64_t bytes;
	size_t n;
	struct plan_workload workloads[4];
} rows[] = {
	{ "nothing to do it to", &usual, &is_short, PLAN_NONE, 0, 0, 0, { { 0 } } },
	{ "enough is available", &usual, &between, PLAN_NONE, 0, 0, 1, { USED(BEST_EFFORT) } },
	{ "too little, but nobody stalls",
	  &usual,
	  &scarce,
	  PLAN_NONE,
	  0,
	  0,
	  1,
	  { USED(BEST_EFFORT) } },
	{ "best-effort first, the mildest first",
	  &usual,
	  &is_short,
	  PLAN_RECLAIM,
	  1,
	  20 * MIB,
	  3,
	  { USED(BATCH), USED(BEST_EFFORT), USED(PRODUCTION) } },
	{ "no more than there may be",
	  &usual,
	  &is_short,
	  PLAN_RECLAIM,
	  0,
	  3 * MIB,
	  1,
	  { USED(BEST_EFFORT, .file_bytes = 3 * MIB) } },
	{ "the largest above its request first",
	  &usual,
	  &is_short,
	  PLAN_RECLAIM,
	  2,
	  20 * MIB,
	  3,
	  { USED(BEST_EFFORT, .usage_bytes = 300 * MIB, .request_bytes = 290 * MIB),
	    USED(BEST_EFFORT, .usage_bytes = 80 * MIB), USED(BEST_EFFORT) } },
	{ "below its request comes last",
	  &usual,
	  &is_short,
	  PLAN_RECLAIM,
	  1,
	  20 * MIB,
	  2,
	  { USED(BEST_EFFORT, .request_bytes = 500 * MIB),
	    USED(BEST_EFFORT, .usage_bytes = MIB) } },
	{ "all are reclaimed before one is squeezed",
	  &usual,
	  &is_short,
	  PLAN_RECLAIM,
	  1,
	  20 * MIB,
	  2,
	  { USED(BEST_EFFORT, .since_reclaim_ms = 5, .usage_bytes = 900 * MIB),
	    USED(BEST_EFFORT) } },
	{ "without files there is nothing to reclaim",
	  &usual,
	  &is_short,
	  PLAN_SQUEEZE,
	  0,
	  70 * MIB,
	  1,
	  { USED(BEST_EFFORT, .file_bytes = 1000) } },
	{ "squeezed to the working set, in whole pages",
	  &usual,
	  &is_short,
	  PLAN_SQUEEZE,
	  0,
	  70 * MIB,
	  1,
	  { USED(BEST_EFFORT, .since_reclaim_ms = 5, .working_set_bytes = 70 * MIB + 5) } },
	{ "squeezed once, then frozen",
	  &usual,
	  &is_short,
	  PLAN_FREEZE,
	  0,
	  0,
	  1,
	  { USED(BEST_EFFORT, SPENT) } },
	{ "all are squeezed before one is frozen",
	  &usual,
	  &is_short,
	  PLAN_SQUEEZE,
	  1,
	  70 * MIB,
	  2,
	  { USED(BEST_EFFORT, SPENT), USED(BEST_EFFORT, .since_reclaim_ms = 5) } },
	{ "where nothing can be squeezed it is frozen",
	  &no_squeeze,
	  &is_short,
	  PLAN_FREEZE,
	  0,
	  0,
	  1,
	  { USED(BEST_EFFORT, .since_reclaim_ms = 5) } },
	{ "frozen, then killed",
	  &usual,
	  &is_short,
	  PLAN_KILL,
	  0,
	  0,
	  1,
	  { USED(BEST_EFFORT, SPENT, .frozen = true) } },
	{ "one that is paused is not frozen",
	  &usual,
	  &is_short,
	  PLAN_KILL,
	  0,
	  0,
	  1,
	  { USED(BEST_EFFORT, SPENT, .paused = true) } },
	{ "the larger is killed first",
	  &usual,
	  &is_short,
	  PLAN_KILL,
	  1,
	  0,
	  2,
	  { USED(BEST_EFFORT, SPENT, .frozen = true),
	    USED(BEST_EFFORT, SPENT, .frozen = true, .usage_bytes = 101 * MIB) } },
	{ "batch only after the last of best-effort",
	  &usual,
	  &is_short,
	  PLAN_KILL,
	  1,
	  0,
	  2,
	  { USED(BATCH), USED(BEST_EFFORT, SPENT, .frozen = true) } },
	{ "then batch",
	  &usual,
	  &is_short,
	  PLAN_RECLAIM,
	  1,
	  20 * MIB,
	  2,
	  { USED(PRODUCTION), USED(BATCH) } },
	{ "production last, as configured",
	  &usual,
	  &is_short,
	  PLAN_RECLAIM,
	  0,
	  20 * MIB,
	  1,
	  { USED(PRODUCTION) } },
	{ "production no further",
	  &usual,
	  &is_short,
	  PLAN_NONE,
	  0,
	  0,
	  1,
	  { USED(PRODUCTION, .since_reclaim_ms = 5) } },
	{ "critical never", &usual, &is_short, PLAN_NONE, 0, 0, 1, { USED(CRITICAL) } },
	{ "critical never, whatever the rules",
	  &critical_too,
	  &is_short,
	  PLAN_NONE,
	  0,
	  0,
	  1,
	  { USED(CRITICAL) } },
	{ "one step at a time",
	  &usual,
	  &is_short,
	  PLAN_NONE,
	  0,
	  0,
	  2,
	  { USED(BEST_EFFORT), USED(BATCH, .busy = true) } },
	{ "what does not run has nothing",
	  &usual,
	  &is_short,
	  PLAN_RECLAIM,
	  1,
	  20 * MIB,
	  2,
	  { USED(BEST_EFFORT, .running = false), USED(BATCH) } },
	{ "reclaimed again after a while",
	  &usual,
	  &is_short,
	  PLAN_RECLAIM,
	  0,
	  20 * MIB,
	  1,
	  { USED(BEST_EFFORT, .since_reclaim_ms = 10000, .squeezed = true, .frozen = true) } },

	{ "nothing to undo", &usual, &relieved, PLAN_NONE, 0, 0, 1, { USED(BEST_EFFORT) } },
	{ "thawed first",
	  &usual,
	  &relieved,
	  PLAN_THAW,
	  1,
	  0,
	  2,
	  { USED(BATCH, .squeezed = true), USED(BEST_EFFORT, .frozen = true) } },
	{ "then released",
	  &usual,
	  &relieved,
	  PLAN_RELEASE,
	  0,
	  0,
	  1,
	  { USED(BEST_EFFORT, .squeezed = true) } },
	{ "one that is frozen and squeezed is thawed first",
	  &usual,
	  &relieved,
	  PLAN_THAW,
	  0,
	  0,
	  1,
	  { USED(BEST_EFFORT, SPENT, .frozen = true) } },
	{ "the higher band goes on first",
	  &usual,
	  &relieved,
	  PLAN_THAW,
	  1,
	  0,
	  2,
	  { USED(BEST_EFFORT, .frozen = true, .usage_bytes = MIB), USED(BATCH, .frozen = true) } },
	{ "the smaller goes on first",
	  &usual,
	  &relieved,
	  PLAN_THAW,
	  1,
	  0,
	  2,
	  { USED(BEST_EFFORT, .frozen = true),
	    USED(BEST_EFFORT, .frozen = true, .usage_bytes = MIB) } },
	{ "one undone at a time",
	  &usual,
	  &relieved,
	  PLAN_NONE,
	  0,
	  0,
	  2,
	  { USED(BEST_EFFORT, .frozen = true, .busy = true), USED(BATCH, .frozen = true) } },
	{ "an earlier squeeze is undone, whatever the rules",
	  &no_squeeze,
	  &relieved,
	  PLAN_RELEASE,
	  0,
	  0,
	  1,
	  { USED(BEST_EFFORT, .squeezed = true) } },

	{ "frozen for as long as it may be, and too little still",
	  &usual,
	  &scarce,
	  PLAN_KILL,
	  0,
	  0,
	  1,
	  { USED(BEST_EFFORT, .frozen = true, .frozen_ms = 300000) } },
	{ "the same, but there is room now",
	  &usual,
	  &between,
	  PLAN_THAW,
	  0,
	  0,
	  1,
	  { USED(BEST_EFFORT, .frozen = true, .frozen_ms = 300000) } },
	{ "the same, where nobody is killed",
	  &critical_too,
	  &scarce,
	  PLAN_THAW,
	  0,
	  0,
	  1,
	  { USED(BEST_EFFORT, .frozen = true, .frozen_ms = 300000) } },
	{ "not yet",
	  &usual,
	  &scarce,
	  PLAN_NONE,
	  0,
	  0,
	  1,
	  { USED(BEST_EFFORT, .frozen = true, .frozen_ms = 299999) } },
};

static void every_row_gives_its_step(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		struct plan_choice choice = plan_next(row->rules, row->host, row->workloads,
						      row->n);

		if (choice.step != row->step ||
		    (row->step && (choice.index != row->index || choice.bytes != row->bytes)))
			fail_msg("%s: step %d of %zu with %llu", row->name, (int)choice.step,
				 choice.index, (unsigned long long)choice.bytes);
	}
}

/* From the first stall until nothing is left, and back: each workload in turn, none for ever. */
static void a_shortage_that_lasts_ends_with_the_lower_bands(void **state)
{
	struct plan_workload workloads[] = { USED(CRITICAL), USED(PRODUCTION), USED(BATCH),
					     USED(BEST_EFFORT) };
	enum plan_step last[5] = { 0 };
	int steps = 0;

	(void)state;
	for (;; steps++) {
		struct plan_choice choice = plan_next(&usual, &is_short, workloads,
						      ARRAY_SIZE(workloads));
		struct plan_workload *workload = &workloads[choice.index];

		if (choice.step == PLAN_NONE)
			break;
		assert_true(steps < 20);
		assert_true(choice.step > last[workload->band]);
		last[workload->band] = choice.step;
		if (choice.step == PLAN_RECLAIM)
			workload->since_reclaim_ms = 0;
		workload->squeezed |= choice.step == PLAN_SQUEEZE;
		workload->frozen |= choice.step == PLAN_FREEZE;
		workload->running &= choice.step != PLAN_KILL;
	}
	assert_int_equal(steps, 4 + 4 + 1);
	assert_int_equal(last[CRITICAL], PLAN_NONE);
	assert_int_equal(last[PRODUCTION], PLAN_RECLAIM);
	assert_int_equal(last[BATCH], PLAN_KILL);
	assert_int_equal(last[BEST_EFFORT], PLAN_KILL);
}

static void steps_have_names(void **state)
{
	(void)state;
	for (enum plan_step step = PLAN_RECLAIM; step <= PLAN_KILL; step++)
		assert_int_equal(plan_step_parse(plan_step_name(step)), step);
	assert_int_equal(plan_step_parse("thaw"), PLAN_NONE);
	assert_int_equal(plan_step_parse(""), PLAN_NONE);
	assert_string_equal(plan_step_name(PLAN_NONE), "");
	assert_string_equal(plan_step_name(PLAN_THAW), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_gives_its_step),
		cmocka_unit_test(a_shortage_that_lasts_ends_with_the_lower_bands),
		cmocka_unit_test(steps_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
