/*
 * A workload's new namespaces get their settings from inside: the hostname by the daemon itself, which is in
 * that UTS namespace for two system calls; sysctls by a child that enters all of them and ends at once.
 */
#pragma once

#include <stddef.h>

#include "proto/err.h"
#include "sandbox/launch.h"
#include "sandbox/registry.h"

#define PREPARE_SYSCTLS_MAX 32

/* @hostname "": the workload's id. With sysctls waits for the child, half a millisecond and more. As
 * launch_prepare_workload(), and ERR_EXHAUSTED. */
int prepare_namespaces_of(const struct sandboxd *host, const struct workload *workload,
			  const char *hostname, const struct launch_sysctl *sysctls, size_t n,
			  struct err *err);
