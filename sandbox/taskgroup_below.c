/* Groups below that of a container. */
#include "sandbox/taskgroup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "sandbox/group_file.h"

int taskgroup_make_below(const struct taskgroup *group, const char *name, int ret_fds[static 2],
			 struct err *err)
{
	cleanup_fd int above = -1;
	int fd;

	if (taskgroup_main_dir(group) >= 0)
		above = fcntl(taskgroup_main_dir(group), F_DUPFD_CLOEXEC, 3);
	if (above < 0 || mkdirat(above, name, 0755) < 0)
		return err_set(err, errno == EEXIST ? ERR_EXISTS : ERR_INTERNAL, errno,
			       "cannot create cgroup %s/%s: %m", group->path, name);
	fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		int r = err_set(err, ERR_INTERNAL, errno, "cannot open cgroup %s/%s: %m",
				group->path, name);

		(void)unlinkat(above, name, AT_REMOVEDIR);
		return r;
	}
	ret_fds[0] = fd;
	ret_fds[1] = take_fd(&above);
	return 0;
}

int taskgroup_enter_below(const struct taskgroup *group, int dir_fd, struct err *err)
{
	int r = group->hierarchy->unified >= 0 ? 0 : group_file_write(dir_fd, "tasks", "0");

	return r == 0 ? 0
		      : err_set(err, ERR_INTERNAL, -r, "cannot enter a cgroup below %s: %m",
				group->path);
}

size_t taskgroup_remove_below(const struct taskgroup *group)
{
	int fd = taskgroup_main_dir(group) < 0 ? -1
					       : openat(taskgroup_main_dir(group), ".",
							O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	size_t removed = 0;

	if (!dir) {
		fd_close(&fd);
		return 0;
	}
	while ((entry = readdir(dir)))
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			removed += unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0;
	(void)closedir(dir);
	return removed;
}
