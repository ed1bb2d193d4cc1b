/*
 * The container page: the facts of one container that change while it runs, in one 4 KiB page of a
 * file on tmpfs. The monitor is the only writer; berth-sandboxd and berthd map it and read, so telemetry
 * and the end of a container need no message, and outlive the monitor.
 *
 * Readers treat it as foreign bytes: page_read() copies it under the sequence count and checks what
 * it copied. Strings may lack their NUL until then.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/err.h"

#define PAGE_MAGIC       0x47505442u /* "BTPG" */
#define PAGE_VERSION     1u
#define PAGE_BYTES       4096u
#define PAGE_DENIED_MAX  48u
#define PAGE_PROGRAM_MAX 56u

enum page_state {
	PAGE_STARTING = 1, /* the launch is under way, up to the gate and through it */
	PAGE_RUNNING = 2,  /* the program was exec'd */
	PAGE_EXITED = 3,   /* exit_* hold; nothing changes any more */
	PAGE_FAILED = 4,   /* the program was never exec'd */
};

/* A syscall that the filter denied. */
struct page_denied {
	uint32_t number; /* of the syscall, on the native architecture */
	int32_t errnum;  /* what the caller got, positive */
	uint64_t times;
	char program[PAGE_PROGRAM_MAX]; /* who tried last; the end of a longer path */
};

struct container_page {
	uint32_t magic;
	uint32_t version;
	uint32_t sequence; /* odd while the monitor writes */
	uint32_t state;    /* enum page_state */
	uint32_t attempt;
	int32_t pid; /* of the first process, on the host */
	int32_t monitor_pid;
	/* as waitid(2) told it: CLD_EXITED, CLD_KILLED or CLD_DUMPED; and the code or the signal */
	int32_t exit_si_code;
	int32_t exit_si_status;
	uint32_t
		exit_killed_processes; /* that the container still had when its first process ended */
	uint64_t started_wall_ns;
	uint64_t started_boot_ns;
	uint64_t finished_wall_ns;
	uint64_t finished_boot_ns;
	/* read from the cgroup before it goes; 0 where the host has no such counter */
	uint64_t total_cpu_ns;
	uint64_t total_memory_peak_bytes;
	uint64_t total_io_read_bytes;
	uint64_t total_io_write_bytes;
	uint64_t total_oom_kills;
	uint64_t log_bytes;         /* written to the log files, of the workload's own bytes */
	uint64_t log_dropped_bytes; /* that could not be written */
	uint64_t log_rotated_bytes; /* written and since removed by rotation */
	uint64_t denied_total;      /* of all denials, also beyond the table */
	uint32_t denied_count;      /* entries of denied[] in use */
	uint32_t reserved;
	struct page_denied denied[PAGE_DENIED_MAX];
	/* Of the pipes of the first process's standard output and error; 0: a terminal, or a monitor of an
	 * earlier release. */
	uint64_t stdout_inode;
	uint64_t stderr_inode;
};

_Static_assert(sizeof(struct container_page) <= PAGE_BYTES, "the container page is one page");

/* The writer's brackets around every change. */
void page_write_begin(struct container_page *page);
void page_write_end(struct container_page *page);

/*
 * Copy @page, which another process may be writing, to @ret. Spins briefly while a write is under
 * way.
 *
 * Returns 0, or a negative errno with @err filled in:
 *   ERR_UNAVAILABLE  the writer died inside a write, or writes without end; @ret holds what was there
 *   ERR_INVALID      it is not a container page of a version that this program knows
 */
int page_read(const struct container_page *page, struct container_page *ret, struct err *err);
