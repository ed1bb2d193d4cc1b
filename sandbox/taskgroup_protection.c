/*
 * memory.low holds only as far as every group above allows it: what a container asks for is worth
 * nothing while its workload, its band or <base> protect 0 bytes. So the groups above carry the sum of
 * what their children ask for. A workload's own value may be more than that; it never shrinks, since a
 * workload's group is not used twice.
 *
 * Monitors change these sums at the same time, so each reads and writes them under a lock.
 */
#include "sandbox/taskgroup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "sandbox/group_file.h"
#include "sandbox/hierarchy_internal.h"

static uint64_t add_bytes(uint64_t a, uint64_t b)
{
	return a >= TASKGROUP_UNLIMITED - b ? TASKGROUP_UNLIMITED : a + b;
}

/* What the groups right below @dir_fd ask for together. */
static int sum_children(int dir_fd, uint64_t *ret_bytes)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	uint64_t sum = 0;
	int r = 0;

	if (!dir) {
		fd_close(&fd);
		return -errno;
	}
	while (r == 0 && (entry = readdir(dir)) != NULL) {
		char file[sizeof(entry->d_name) + 16];
		uint64_t bytes = 0;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		(void)snprintf(file, sizeof(file), "%s/memory.low", entry->d_name);
		r = group_file_read_u64(dir_fd, file, &bytes);
		if (r == -ENOENT || r == -ENODEV) /* being removed */
			r = 0;
		sum = add_bytes(sum, bytes);
	}
	(void)closedir(dir);
	*ret_bytes = sum;
	return r;
}

/* Have the group at @path (below <base>) protect what its children ask for. */
static int protect(int base_fd, const char *path, bool may_shrink)
{
	cleanup_fd int dir = openat(base_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	uint64_t sum = 0, now = 0;
	char text[32];
	int r;

	if (dir < 0)
		return -errno;
	r = sum_children(dir, &sum);
	if (r == 0)
		r = group_file_read_u64(dir, "memory.low", &now);
	if (r < 0 || sum == now || (sum < now && !may_shrink))
		return r;
	if (sum == TASKGROUP_UNLIMITED)
		(void)snprintf(text, sizeof(text), "max");
	else
		(void)snprintf(text, sizeof(text), "%" PRIu64, sum);
	return group_file_write(dir, "memory.low", text);
}

static int protect_above(const struct taskgroup *group, int base_fd)
{
	char path[TASKGROUP_PATH_MAX];
	bool may_shrink = group->level != TASKGROUP_CONTAINER;
	char *slash;

	(void)snprintf(path, sizeof(path), "%s", group->path);
	while ((slash = strrchr(path, '/')) != NULL) {
		int r;

		*slash = '\0';
		r = protect(base_fd, path, may_shrink);
		if (r < 0 && r != -ENOENT)
			return r;
		may_shrink = true;
	}
	/* A unit's value is the operator's (MemoryLow=), and hierarchy_probe() has seen it. */
	return group->hierarchy->delegated ? 0 : protect(base_fd, ".", true);
}

int taskgroup_protect_above(const struct taskgroup *group, struct err *err)
{
	int where = group->hierarchy->where[CONTROLLER_MEMORY];
	int base_fd = group->hierarchy->mounts[where].base_fd;
	cleanup_fd int lock = openat(base_fd, HIERARCHY_WORKLOADS,
				     O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot lock cgroup %s/%s: %m",
			       group->hierarchy->base, HIERARCHY_WORKLOADS);
	r = protect_above(group, base_fd);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r,
			       "cannot set memory.low of the groups above cgroup %s: %m",
			       group->path);
	return 0;
}

bool taskgroup_is_protected(const struct taskgroup *group)
{
	uint64_t low;

	return hierarchy_is_v2(group->hierarchy, CONTROLLER_MEMORY) &&
	       taskgroup_file_read_u64(group, CONTROLLER_MEMORY, "memory.low", &low) == 0 &&
	       low > 0;
}
