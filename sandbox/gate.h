/*
 * The meeting of the monitor and the container's first process, which share a descriptor table and one page
 * of memory: who waits for whom, how the process says that it failed, and how the monitor learns
 * that the program was exec'd.
 *
 * The last is the hard one. A close-on-exec pipe cannot tell, because its write end is in the table
 * that both share; and once the filter is loaded, the process may make no other system call than
 * execve(2), since any profile may deny it. So the page holds a robust futex (set_robust_list(2)) of
 * the process: the kernel itself marks it and wakes the monitor when the process leaves its address space, by
 * execve or by death.
 */
#pragma once

#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"
#include "sandbox/monitor_wire.h"

#define GATE_WARNINGS_MAX 8
#define GATE_STEP_MAX     24

enum gate_phase {
	GATE_BUILDING = 0,
	GATE_WAITING = 1, /* at the closed gate */
	GATE_LOADING = 2, /* the filter next, then execve, and nothing else */
	GATE_FAILED = 3,  /* err and step say what */
};

/* Who of the two may make descriptors, from when it matters on: the filter's listener is made when the
 * workload's RLIMIT_NOFILE holds already, so that one low number is freed for it, and nobody else may have it. */
enum gate_table {
	GATE_TABLE_MONITOR = 0,
	GATE_TABLE_AWAITED = 1, /* the monitor's, and the process waits for it */
	GATE_TABLE_FREE = 2,
	GATE_TABLE_PROCESS = 3,
};

/* Shared by both, zeroed at first. One writer for each field but @table. */
struct gate_page {
	uint32_t table; /* enum gate_table, a futex */
	/* the first process's */
	uint32_t phase; /* enum gate_phase */
	uint32_t owner; /* the robust futex; node must stay beside it */
	struct robust_list node;
	int32_t listener_fd;      /* number in the shared table, or -1 */
	int32_t terminal_fd;      /* master, likewise */
	int32_t exec_errnum;      /* of execve(2) */
	char step[GATE_STEP_MAX]; /* that it is in */
	struct err err;
	uint32_t step_count;
	struct monitor_step steps[MONITOR_STEPS_MAX];
	uint32_t warning_count;
	struct monitor_text warnings[GATE_WARNINGS_MAX];
};

struct gate {
	struct gate_page *page;
	int up_fd;      /* eventfd: the process has news */
	int down_fd;    /* eventfd: the process may go on */
	int monitor_fd; /* pidfd of whoever made the gate */
};

/* Make the page and the descriptors: 0 or a negative errno with @err. */
int gate_init(struct gate *gate, struct err *err);
void gate_done(struct gate *gate);

/* In the first process. */
void gate_tell(struct gate *gate, enum gate_phase phase);
int gate_wait(struct gate *gate); /* until gate_let_pass(); 0 or a negative errno */
void gate_warn(struct gate *gate, const struct err *err);
/* The monitor has died: nobody will let us pass. From inside another pid namespace getppid(2) cannot tell. */
bool gate_is_abandoned(const struct gate *gate);
/* Before low numbers become scarce: wait until the monitor has made what it needs, and have the table to
 * ourselves. Giving it back is no system call. */
void gate_take_table(struct gate *gate);
void gate_give_table(struct gate *gate);
/* From here on the end of this address space wakes gate_wait_exec(). */
int gate_watch_exec(struct gate *gate);

/* In the monitor, which has the table at first. */
void gate_free_table(struct gate *gate);
bool gate_try_table(struct gate *gate); /* false: the process has it, and needs it */
void gate_let_pass(struct gate *gate);
enum gate_phase gate_phase(const struct gate *gate);
/* Wait for what gate_watch_exec() promises, at most @timeout_ms: 0, or -ETIME. */
int gate_wait_exec(struct gate *gate, unsigned int timeout_ms);
