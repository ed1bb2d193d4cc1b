/*
 * The first process, of a launch or of an exec session: what both have in common between clone3 and
 * execve. All of it runs in the child, which shares the monitor's descriptor table: system calls only,
 * nothing closed and no number reused that is the monitor's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"
#include "sandbox/filter.h"
#include "sandbox/gate.h"
#include "sandbox/identity.h"

/*
 * A descriptor that only holds its number, taken when the daemon starts. The first process gives it up last,
 * in the table that it shares with a monitor full of the daemon's descriptors: the filter's listener
 * gets the lowest free number, which must lie below the workload's own RLIMIT_NOFILE. -1 where there are none.
 */
int launch_low_fd(void);

struct process {
	struct gate *gate;
	const char *const *argv;
	const char *const *env;
	const char *working_dir;
	const struct identity *identity;
	const struct identity_limit *limits;
	size_t limit_count;
	const struct filter *filter;
	int low_fd; /* launch_low_fd() */
	bool tty;
	uint16_t rows, columns;
};

struct process_step {
	const char *name;
	int (*run)(void *context, struct err *err);
};

/* Run @steps in order and record what each took. A failure is told to the monitor, and ends the process. */
void process_run(struct gate *gate, const struct process_step *steps, size_t count, void *context);

/* The first: default signals, a session of its own, not to be dumped or traced, the streams' place. */
int process_begin(struct process *process, struct err *err);

/* While root of the host: raise hard limits that the workload wants higher. What the host does not
 * permit becomes a warning. */
int process_raise_limits(struct process *process, struct err *err);

/* All ids 0, of the user namespace just joined; or of the host's. */
int process_become_root(struct err *err);

/* Inside, as the namespace's root with all capabilities: session keyring, terminal, working directory, limits. */
int process_settle(struct process *process, struct err *err);

/* The rest, in its order. They do not return 0 for long: the last one becomes the program. What comes behind the
 * gate finds nothing in the table by which a name could leave the container. */
int process_wait_gate(struct process *process, struct err *err);
int process_take_identity(struct process *process, struct err *err);
int process_exec(struct process *process, struct err *err);
