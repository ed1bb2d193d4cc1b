/* What is done to a group because its host is short of memory: which files, by version. */
#include "sandbox/taskgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "sandbox/group_file.h"

int taskgroup_open_memory_dir(const struct taskgroup *group)
{
	int where = group->hierarchy->where[CONTROLLER_MEMORY];
	int fd;

	if (where < 0)
		return -EOPNOTSUPP;
	fd = openat(group->hierarchy->mounts[where].base_fd, group->path,
		    O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

void taskgroup_read_hold(const struct taskgroup *group, bool *ret_frozen, uint64_t *ret_high_bytes)
{
	bool unified = group->hierarchy->unified >= 0;
	int dir = taskgroup_main_dir(group);
	uint64_t value = 0;
	char text[32];

	*ret_frozen = false;
	*ret_high_bytes = 0;
	if (unified && dir >= 0 && group_file_read_u64(dir, "cgroup.freeze", &value) == 0)
		*ret_frozen = value == 1;
	/* "FREEZING" until the last process has stopped. */
	if (!unified && dir >= 0 && group_file_read(dir, "freezer.state", text, sizeof(text)) > 0)
		*ret_frozen = strcmp(text, "THAWED") != 0;
	if (hierarchy_is_v2(group->hierarchy, CONTROLLER_MEMORY) &&
	    taskgroup_file_read_u64(group, CONTROLLER_MEMORY, "memory.high", &value) == 0 &&
	    value < TASKGROUP_UNLIMITED)
		*ret_high_bytes = value;
}
