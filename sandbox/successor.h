/*
 * The monitor that takes the place of one that died: the same small program, forked by the daemon, with what
 * sandbox/lifeline.h kept. It logs, answers denied calls, serves attachments and writes the exit record as
 * the one before did. It is not the parent of the first process, so the daemon tells it how that ended
 * (MONITOR_COLLECTED), or the kernel does (sandbox/exit_info.h).
 */
#pragma once

#include "proto/err.h"
#include "sandbox/registry.h"

/*
 * Start one for @container, which runs or has just ended and whose monitor is gone. From here on
 * container->monitor is its. ERR_EXHAUSTED without room for a process; ERR_UNAVAILABLE where the group is not
 * open, or where too many have died one after the other: then the daemon has to do without.
 */
int successor_begin(struct container *container, struct err *err);
