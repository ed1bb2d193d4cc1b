/*
 * The options of `run` about probes: --startup-, --readiness- or --liveness-, each with
 *   exec COMMAND, http PORT[/PATH], tcp PORT, grpc PORT[/SERVICE]
 *   delay, period, timeout DURATION, failures, successes N
 */
#pragma once

#include <getopt.h>

#include "berth/v1/types.pb-c.h"
#include "proto/arena.h"

/* Their numbers, for getopt_long(3), are from here on. */
#define RUN_PROBE_FIRST   1024
#define RUN_PROBE_OPTIONS 27

/* Write the rows of all of them to @ret. */
void run_probe_options(struct option ret[static RUN_PROBE_OPTIONS]);

/* Returns 0, an exit code after saying what is wrong, or -1 for an @option that is none of these. */
int run_probe_take(Berth__V1__Container *container, int option, const char *value,
		   struct arena *arena);
