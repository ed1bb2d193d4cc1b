/*
 * Writes to a group's memory files that make the kernel take pages back before they return: memory.reclaim,
 * memory.high, memory.max. They may take seconds, so that a child makes each; the daemon goes on, and
 * answers when the child has ended.
 */
#pragma once

#include <stdint.h>

#include "proto/err.h"
#include "sandbox/registry.h"

struct sandboxd;
struct slow_writes;

struct slow_write {
	int dir_fd;       /* of the group; only used during the call */
	const char *file; /* "memory.high" */
	const char *value;
	uint64_t
		bytes; /* instead of @value: this amount, in portions, until the kernel has no more */
	const char *what;   /* for failures: "set memory.high of workload x" */
	struct asker asker; /* who is answered */
};

/* None under way. NULL without memory. */
struct slow_writes *slow_writes_new(struct sandboxd *host);
/* Those under way are given up, unanswered. Accepts NULL. */
void slow_writes_free(struct slow_writes *writes);

/*
 * Begin. The answer follows when the kernel is done, at the latest after ten seconds; that less than
 * @bytes could be taken back is no failure.
 *   ERR_EXHAUSTED  too many are under way, or no process can be made
 */
int slow_write_begin(struct slow_writes *writes, const struct slow_write *write, struct err *err);
