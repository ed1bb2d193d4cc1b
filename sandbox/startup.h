/*
 * What berth-sandboxd opens and makes between its options and its loop, in order; and the end of it.
 */
#pragma once

#include <stdbool.h>

#include "proto/err.h"
#include "sandbox/sandboxd.h"

struct startup_options {
	const char *policy_path;
	bool policy_must_exist;
	const char *socket_path;
	const char *monitor_path; /* the program that monitors become */
	const char *unpack_path;  /* the program that reads layers */
};

/* Fill @host, zeroed, step by step. On failure some steps are done: startup_close() ends them. The
 * sentence says what to do. */
int startup_open(const struct startup_options *options, struct sandboxd *host, struct err *err);

/* Let go of everything. Workloads, their monitors and what they have on the host stay. */
void startup_close(struct sandboxd *host);

/* Load the policy anew; the old one holds where the new one is bad. What cannot change while workloads
 * live is told and stays. */
int startup_reload(struct sandboxd *host, struct err *err);
