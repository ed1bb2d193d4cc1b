/*
 * Admission: capacity less the reserve less what is charged already. Exact: a workload is charged from
 * the moment it is accepted until it has ended and nothing of it runs.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/workload/fault.h"
#include "berth/sandbox/v1/sandbox.pb-c.h"
#include "berth/v1/types.pb-c.h"
#include "proto/err.h"

struct charge {
	uint64_t cpu_millis;
	uint64_t memory_bytes;
	uint64_t pids;
	uint64_t workloads;
};

/*
 * What @spec asks for. The workload's own requests, and where they are absent the most that its
 * containers need at one time: init containers run alone, one after the other; sidecars and mains
 * together. An absent memory request is the limit, an absent limit is @default_memory_bytes. A limit
 * of pids is charged where the spec names it.
 */
struct charge charge_of(const Berth__V1__WorkloadSpec *spec, uint64_t default_memory_bytes);

void charge_add(struct charge *sum, const struct charge *more);
/* Saturates at 0. */
void charge_subtract(struct charge *sum, const struct charge *less);
/* The larger of each member. */
struct charge charge_max(const struct charge *a, const struct charge *b);

/*
 * Whether @asked fits into @allocatable when @taken is charged already. Where it does not, ERR_EXHAUSTED
 * with a sentence and every short resource in @fault (which may be NULL).
 */
int charge_fits(const struct charge *asked, const struct charge *taken,
		const struct charge *allocatable, struct engine_fault *fault, struct err *err);
