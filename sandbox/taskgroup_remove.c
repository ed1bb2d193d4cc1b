/* Removing a group, through libcgroup: the slow path, in the daemon only. */
#include "sandbox/taskgroup_internal.h"

#include <errno.h>
#include <stdio.h>

/* What libcgroup calls it. */
static void library_path(const struct taskgroup *group, char path[static 1024])
{
	(void)snprintf(path, 1024, "%s/%s", group->hierarchy->base + 1, group->path);
}

int taskgroup_remove(const struct taskgroup *group, struct err *err)
{
	bool was_protected = taskgroup_is_protected(group);
	char path[1024];
	int busy = 0;

	library_path(group, path);
	/* The hierarchy that knows about all processes comes first: where it refuses, nothing goes. */
	for (size_t i = 0; i < group->hierarchy->mount_count; i++) {
		size_t mount = ((size_t)taskgroup_identity_mount(group->hierarchy) + i) %
			       group->hierarchy->mount_count;
		int r = lcg_remove(group->hierarchy, path, mount, err);

		if (r == -EBUSY && i == 0)
			return r;
		if (r < 0 && r != -EBUSY)
			return r;
		if (r < 0)
			busy = r;
	}
	if (was_protected && !busy)
		return taskgroup_protect_above(group, err);
	return busy;
}
