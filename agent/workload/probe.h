/*
 * The probes of a container that runs: when each is asked, what its answers amount to, and what follows.
 * How one is asked is agent/probe's (over a socket) and session.c's (a program).
 */
#pragma once

#include "agent/probe/output.h"
#include "agent/probe/prober.h"
#include "agent/workload/engine.h"
#include "agent/workload/timer.h"

struct container;

#define PROBES 3 /* startup, readiness, liveness */

struct probe {
	struct container *container;
	const Berth__V1__Probe *spec; /* canonical */
	Berth__V1__ProbeKind kind;
	struct timer next; /* until the next try */
	uint32_t successes;
	uint32_t failures;
	uint64_t last_wall_ns;
	uint64_t last_failure_wall_ns;
	char last_failure[PROBE_TEXT_MAX];
	char not_asked[PROBE_TEXT_MAX];
	size_t n_output;
	uint8_t output[PROBE_OUTPUT_MAX];

	/* The try that is under way, or the last one. */
	uint64_t begun_boot_ns;
	struct timer deadline;
	uint64_t socket_wanted; /* the number of the request for one; 0: none is under way */
	struct probe_try *try;
	struct engine_session session; /* of an exec probe; session.linked: it is under way */
	struct probe_output *reading;

	int socket_fd; /* for the next try; -1: one has to be asked for */
};

/* @container runs, or is found to run after a start of berthd. Again: nothing. */
void probes_begin(struct container *container);
/* It does not run any more, or is on its way out: nothing is asked any more. */
void probes_end(struct container *container);
/* For its status, into @arena; -ENOMEM. */
int probes_fill(const struct container *container, struct arena *arena,
		Berth__V1__ContainerStatus *ret);
