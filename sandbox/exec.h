/*
 * An exec session: a program run inside a container that is running already, with a monitor of its own.
 *
 * The session's first process is born in the container's cgroup and joins the namespaces of the container's
 * first process through its pidfd; from there on identity, filter, gate-less execve are those of a launch.
 * Bytes never pass the monitor: the daemon gets the ends of the pipes, or the terminal's master.
 * It has no log files and no page of its own; denied calls count in the container's page.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"
#include "sandbox/launch.h"

struct exec_spec {
	const char *workload; /* for sentences */
	const char *container;
	uint64_t session;

	int init_pidfd; /* of the container's first process, from MONITOR_STARTED */
	bool own_users; /* the container has a user namespace of its own */
	const struct hierarchy *hierarchy;
	const char *group_path; /* the container's, and what taskgroup_id() said of it */
	uint64_t group_id;
	int monitors_fd;

	const char *const *argv;
	const char *const *env;
	const char *working_dir;
	const char *user;
	const char *const *groups;
	size_t group_count;
	uint64_t capabilities;
	const struct identity_limit *rlimits;
	size_t rlimit_count;
	int oom_score_adj;
	const struct filter *filter; /* as in launch_spec */
	int filter_image_fd;
	struct filter_request filter_request;

	bool tty;
	uint16_t rows, columns;
	bool stdin_open;
	uint32_t deadline_ms; /* not 0: a probe, in a group of its own; all of it ends by then */
	int page_fd;          /* the container's: denied calls are counted there */
	int run_dir_fd; /* "exec-<session>.sock" is made in it, for a daemon that comes back */
	int monitor_program_fd;
};

void exec_spec_init(struct exec_spec *spec);

struct exec_forked {
	struct launched monitor;
	/* Our ends, non-blocking; -1 where there is none. With a terminal all three are -1 and
	 * MONITOR_TERMINAL brings the master before STARTED. */
	int stdin_fd;
	int stdout_fd;
	int stderr_fd;
};

/* As launch_fork(). MONITOR_STARTED, MONITOR_START_FAILED and MONITOR_EXITED follow; there is no gate. */
int exec_fork(const struct exec_spec *spec, struct exec_forked *ret, struct err *err);
