/*
 * Options of `run` about what follows an end.
 */
#pragma once

#include "berth/v1/types.pb-c.h"
#include "proto/arena.h"

/*
 * --restart-rule ENDS=ACTION, say "3,4,SEGV,oom=fail": append it to @policy. Returns 0, or the exit code
 * after saying what is wrong.
 */
int run_restart_take_rule(Berth__V1__RestartPolicy *policy, const char *text, struct arena *arena);
