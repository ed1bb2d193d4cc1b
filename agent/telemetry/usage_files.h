/*
 * The cgroup files of one container, and what one reading of them says. The hot ones stay open and are
 * read with pread(2); the cold ones are opened for each reading, so that a thousand containers do not
 * need ten thousand descriptors for them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cleanup.h"

struct psi {
	uint32_t some_avg10_permyriad; /* hundredths of a percent */
	uint32_t full_avg10_permyriad;
	uint64_t some_total_us;
	uint64_t full_total_us;
};

/* All that is known of a container at a time; a counter that the host does not have stays 0. */
struct usage_sample {
	uint64_t boot_ns;
	uint64_t cpu_usage_ns, cpu_user_ns, cpu_system_ns;
	uint64_t cpu_periods, cpu_throttled_periods, cpu_throttled_ns;
	uint64_t memory_current, memory_inactive_file, memory_peak, memory_anon, memory_file;
	uint64_t memory_swap, memory_limit;
	uint64_t events_low, events_high, events_max, events_oom, events_oom_kill;
	uint64_t io_read_bytes, io_write_bytes, io_read_ops, io_write_ops;
	uint64_t pids, pids_limit;
	struct psi cpu_psi, memory_psi, io_psi;
};

struct usage_files;

/*
 * The files in the directories @dir_fds, one for each of the hierarchies @names ("unified", "memory", "cpu",
 * "cpuacct", "blkio", "pids"). The descriptors are taken over, also on failure. NULL without memory. A
 * file that cannot be opened is left out.
 */
struct usage_files *usage_files_new(int *dir_fds, char *const *names, size_t count);
void usage_files_free(struct usage_files *files);
DEFINE_CLEANUP(struct usage_files *, usage_files_free)

/*
 * Read into @sample at @boot_ns: what is cheap each time, the rest when it is old enough (then the last
 * reading stays). Files that have gone leave their last values.
 */
void usage_files_read(struct usage_files *files, uint64_t boot_ns, struct usage_sample *sample);

/* The memory figures alone, as they are now; may be called while another thread reads the same files. */
void usage_files_read_memory(const struct usage_files *files, struct usage_sample *sample);

/* The parsers, for tests: @text ends with a NUL. */
void usage_parse_psi(const char *text, struct psi *ret);
void usage_parse_file(const char *name, const char *text, struct usage_sample *sample);
