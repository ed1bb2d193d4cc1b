/*
 * Shortage of memory: to be told of it by the kernel, and to keep all workloads together below what the
 * host can spare.
 */
#include "sandbox/hierarchy_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/group_file.h"

/* What who has no CAP_SYS_RESOURCE may ask for (psi_trigger_create() in kernel/sched/psi.c). */
#define PLAIN_WINDOW_US 2000000ULL

static int open_workloads(const struct hierarchy *hierarchy, int mount, int flags)
{
	if (mount < 0)
		return -EOPNOTSUPP;
	mount = openat(hierarchy->mounts[mount].base_fd, HIERARCHY_WORKLOADS,
		       O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW | flags);
	return mount < 0 ? -errno : mount;
}

int hierarchy_open_workloads(const struct hierarchy *hierarchy)
{
	return open_workloads(hierarchy, hierarchy->where[CONTROLLER_MEMORY], 0);
}

static int write_trigger(int fd, uint64_t stall_us, uint64_t window_us)
{
	char text[64];
	int n = snprintf(text, sizeof(text), "some %" PRIu64 " %" PRIu64, stall_us, window_us);

	/* The kernel takes the NUL that ends it, and nothing without. */
	return write(fd, text, (size_t)n + 1) < 0 ? -errno : 0;
}

/* The same share of a window that is long enough for everybody. */
static void stretch(uint64_t *stall_us, uint64_t *window_us)
{
	uint64_t plain = (*window_us + PLAIN_WINDOW_US - 1) / PLAIN_WINDOW_US * PLAIN_WINDOW_US;

	*stall_us = *stall_us * plain / *window_us;
	*window_us = plain;
}

static int open_trigger(int dir_fd, const char *path, uint64_t *stall_us, uint64_t *window_us)
{
	int fd = openat(dir_fd, path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int r = fd < 0 ? -errno : write_trigger(fd, *stall_us, *window_us);

	if (r == -EINVAL) {
		stretch(stall_us, window_us);
		r = write_trigger(fd, *stall_us, *window_us);
	}
	if (r < 0)
		fd_close(&fd);
	return r < 0 ? r : fd;
}

int hierarchy_watch_pressure(const struct hierarchy *hierarchy, enum hierarchy_pressure which,
			     uint64_t *stall_us, uint64_t *window_us)
{
	cleanup_fd int dir_fd = -1;

	if (which == HIERARCHY_PRESSURE_HOST)
		return open_trigger(AT_FDCWD, "/proc/pressure/memory", stall_us, window_us);
	dir_fd = open_workloads(hierarchy, hierarchy->unified, 0);
	return dir_fd < 0 ? dir_fd : open_trigger(dir_fd, "memory.pressure", stall_us, window_us);
}

int hierarchy_check_workloads_fit(int dir_fd, bool v2, uint64_t limit, struct err *err)
{
	uint64_t usage = 0, file = 0;
	char text[GROUP_FILE_MAX];
	int r = group_file_read_u64(dir_fd, v2 ? "memory.current" : "memory.usage_in_bytes",
				    &usage);

	if (r < 0 || group_file_read(dir_fd, "memory.stat", text, sizeof(text)) < 0)
		return 0; /* nothing to know; the write tells */
	(void)group_file_find_u64(text, v2 ? "file" : "total_cache", &file);
	if (usage - (file < usage ? file : usage) <= limit)
		return 0;
	return err_set(err, ERR_PRECONDITION, EBUSY,
		       "cannot limit all workloads to %" PRIu64 " bytes: they hold %" PRIu64
		       " that cannot be taken back",
		       limit, usage - file);
}
