/*
 * What the daemon has a child do, because it changes the process that does it, and waits for: a few system
 * calls that cannot take long.
 */
#pragma once

#include "proto/err.h"
#include "sandbox/departures.h"

typedef int errand_func(void *context, struct err *err);

/* What @run returns, with its @err; or ERR_EXHAUSTED without a child, ERR_INTERNAL without an answer in 5 s. The
 * child is gone, or of @departures. */
int errand_run(struct departures *departures, errand_func *run, void *context, struct err *err);
