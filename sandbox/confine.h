/*
 * The daemon's own fences, the same whether systemd has put its around them or not. They are inherited
 * by monitors, and by workloads below their own, narrower ones, which is what decides their form:
 *
 * - Capabilities that no launch needs are given up for good. With them go kernel modules, kexec, reboot,
 *   the clock, raw I/O, raw packets, the kernel's log.
 * - Only the native ABI's system calls are possible; another's kill. There is no list of denied calls
 *   here, since a call that this filter refused would never reach the notification by which a
 *   workload's denied calls are counted.
 * - There is no Landlock: a process under it may not mount, which is what a launch is made of.
 */
#pragma once

#include "proto/err.h"
#include "sandbox/policy.h"

/* ERR_UNSUPPORTED or ERR_INTERNAL; some of it may hold then, and the daemon should end. */
int confine_apply(const struct policy *policy, struct err *err);
