/*
 * What both launch benchmarks run on: the same root file system, namespaces, filter and volume, made
 * once, and the pipe in the volume through which the workload says that it runs.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "tests/system/launch/harness.h"

struct bed {
	struct harness harness;
	int volume_fd; /* holds "pipe" */
	int pipe_fd;   /* read end */
};

extern const char *const bed_argv[]; /* one_byte /data/pipe */

void bed_begin(struct bed *bed);
void bed_end(struct bed *bed);

/* Block until the workload's byte is there. */
void bed_wait_byte(const struct bed *bed);

uint64_t bed_now_ns(void);

/* "<name> runs N: min M median M p99 M us" */
void bed_report(const char *name, uint64_t *ns, size_t count);
