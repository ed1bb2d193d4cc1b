/*
 * berthd confines itself once it has opened what it needs: it is the process that reads bytes from the
 * network, so a mistake in it must not be worth much.
 *
 *   - no new privileges, not dumpable;
 *   - Landlock: files are read below a few directories, written below fewer, nothing is executed;
 *   - seccomp: the calls that an event loop with TLS, files and one thread needs. No exec, no fork, no
 *     namespaces, mounts, ptrace, bpf, keyrings, modules. What is not listed fails with EPERM.
 *
 * Sources: landlock(7), seccomp(2).
 */
#pragma once

#include <stddef.h>

#include "proto/err.h"

struct confine_paths {
	const char *const *read_only; /* NULL-terminated; those that do not exist are left out */
	const char *const *read_write;
};

/*
 * For good, for this thread and those made later. A kernel without Landlock gives a warning in the log;
 * everything else is needed.
 *
 * Returns 0, or a negative errno with @err filled in (ERR_INTERNAL).
 */
int confine_agent(const struct confine_paths *paths, struct err *err);
