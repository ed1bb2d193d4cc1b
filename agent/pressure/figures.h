/*
 * How much memory can still be had, and whether tasks wait for it: read when somebody wants to know.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A pool that can run dry: the host's memory, or what all workloads together may have of it. */
struct pool {
	uint64_t total_bytes; /* 0: there is no such pool */
	uint64_t available_bytes;
};

struct figures {
	struct pool host;
	struct pool workloads;
	uint32_t some_avg10_permyriad; /* of the source where tasks wait the most */
	uint32_t full_avg10_permyriad;
};

/*
 * Read /proc/meminfo, the group of all workloads (@group_fd, its directory in the hierarchy of the memory
 * controller; -1: none), and the @n descriptors of PSI files in @psi_fds. What cannot be read is 0.
 */
void figures_read(int group_fd, const int *psi_fds, size_t n, struct figures *ret);

/* The pool with the smaller share available. */
const struct pool *figures_tightest(const struct figures *figures);
/* Whether in some pool less than @percent of it is available. */
bool figures_below(const struct figures *figures, uint64_t percent);
/* How much is missing until in every pool @percent is. */
uint64_t figures_missing(const struct figures *figures, uint64_t percent);

/* The parsers, for tests: @text ends with a NUL. */
void figures_parse_meminfo(const char *text, struct pool *ret);
/* @usage and @limit as the kernel has them; @stat is memory.stat of either version. As MemAvailable does, half
 * of the files in use counts as available. No pool without a limit. */
void figures_parse_group(uint64_t usage, uint64_t limit, const char *stat, struct pool *ret);
