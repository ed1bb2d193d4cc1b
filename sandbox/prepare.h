/*
 * A workload's new namespaces get their settings from inside, by a child that enters them and ends at
 * once: no nested user namespaces, the hostname, the sysctls.
 */
#pragma once

#include <stddef.h>

#include "proto/err.h"
#include "sandbox/launch.h"
#include "sandbox/registry.h"

#define PREPARE_SYSCTLS_MAX 32

/* @hostname "": the workload's id. Waits for the child, half a millisecond. As
 * launch_prepare_workload(), and ERR_EXHAUSTED. */
int prepare_namespaces_of(const struct sandboxd *host, const struct workload *workload,
			  const char *hostname, const struct launch_sysctl *sysctls, size_t n,
			  struct err *err);
