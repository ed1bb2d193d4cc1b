/*
 * Which step under a shortage of memory comes next, and of which workload. Pure: it sees figures and
 * answers; agent/pressure/pressure.c measures and has the step carried out.
 *
 * Bands are spent one after the other, best-effort first, and critical never. Within a band all of one
 * step comes before the next one: reclaim, squeeze, freeze, kill; and within a step the workload that uses
 * most above its request comes first. What was done is undone the other way round.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_BANDS 4 /* 1 critical, 2 production, 3 batch, 4 best-effort, as in the contract */

enum plan_step {
	PLAN_NONE,
	PLAN_RECLAIM,
	PLAN_SQUEEZE,
	PLAN_FREEZE,
	PLAN_KILL,
	PLAN_THAW,
	PLAN_RELEASE, /* of the squeeze */
};

#define PLAN_BIT(step) (1U << (step))

struct plan_rules {
	unsigned int steps[PLAN_BANDS + 1]; /* by band; bits of PLAN_RECLAIM to PLAN_KILL */
	uint64_t reclaim_again_ms;          /* not within that time from the same workload */
	uint64_t freeze_max_ms;             /* nobody is frozen for longer */
};

struct plan_host {
	bool is_short;          /* stalls, and too little is available: act */
	bool is_scarce;         /* too little is available, with stalls or without */
	bool is_relieved;       /* for long enough: undo */
	uint64_t missing_bytes; /* until enough is available */
};

struct plan_workload {
	unsigned int band;
	bool running;
	bool paused;   /* by request: to freeze it changes nothing */
	bool busy;     /* a step of it is under way */
	bool squeezed; /* by an earlier step */
	bool frozen;
	uint64_t frozen_ms;
	uint64_t since_reclaim_ms;
	uint64_t usage_bytes;
	uint64_t working_set_bytes;
	uint64_t file_bytes; /* what a reclaim may find */
	uint64_t request_bytes;
};

struct plan_choice {
	enum plan_step step;
	size_t index;   /* of the workload */
	uint64_t bytes; /* PLAN_RECLAIM: how much; PLAN_SQUEEZE: the new memory.high */
};

/* The next step among @n workloads; PLAN_NONE while one is under way, and where nothing is left to do. */
struct plan_choice plan_next(const struct plan_rules *rules, const struct plan_host *host,
			     const struct plan_workload *workloads, size_t n);

/* "reclaim", "squeeze", "freeze", "kill", as in the configuration. */
const char *plan_step_name(enum plan_step step);
/* PLAN_NONE for no such name. */
enum plan_step plan_step_parse(const char *name);
