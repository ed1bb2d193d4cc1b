#include "sandbox/removal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/failpoint.h"
#include "sandbox/leftovers.h"
#include "sandbox/monitors.h"
#include "sandbox/record.h"
#include "sandbox/sandboxd.h"

void removal_workload_name(const struct workload *workload, char name[static REMOVAL_NAME_MAX])
{
	(void)snprintf(name, REMOVAL_NAME_MAX, "%s.%llu", workload->id,
		       (unsigned long long)workload->instance);
}

void removal_container_name(const struct container *container, char name[static REMOVAL_NAME_MAX])
{
	(void)snprintf(name, REMOVAL_NAME_MAX, "%s.%u", container->name, container->attempt);
}

/* By its name where it was never opened: the daemon was restarted, or the launch failed. The name is
 * of this launch alone. */
static struct taskgroup *take_group(struct container *container)
{
	struct taskgroup *group = take_ptr(&container->group);
	char path[TASKGROUP_PATH_MAX];

	if (!group && monitors_group_path(container, path, NULL) == 0)
		(void)taskgroup_open(container->monitor.host->hierarchy, path, TASKGROUP_CONTAINER,
				     container->group_id, &group, NULL);
	return group;
}

void removal_container(struct container *container, removal_pending_func *pending, void *userdata)
{
	struct sandboxd *host = container->monitor.host;
	struct taskgroup *group = take_group(container);
	char name[REMOVAL_NAME_MAX];
	struct err err = { 0 };

	FAILPOINT("sandboxd.remove.container");
	removal_container_name(container, name);
	if (group && leftovers_remove(host->leftovers, group, 0, &err) > 0 && pending)
		pending(err.text, userdata);
	FAILPOINT("sandboxd.remove.container-cgroup");
	record_remove_dir(container->workload->run_fd, name);
	container_free(container);
}

void removal_workload(struct sandboxd *host, struct workload *workload,
		      removal_pending_func *pending, void *userdata)
{
	struct taskgroup *group = take_ptr(&workload->group);
	uint32_t id_first = workload->namespaces.id_first;
	char name[REMOVAL_NAME_MAX];
	struct err err = { 0 };

	while (!LIST_EMPTY(&workload->containers))
		removal_container(LIST_FIRST(&workload->containers), pending, userdata);
	FAILPOINT("sandboxd.remove.volumes");
	if (workload->run_fd >= 0)
		volumes_remove(&workload->volumes, workload->run_fd);
	FAILPOINT("sandboxd.remove.cgroup");
	if (!group)
		idranges_give_back(host->ranges, id_first);
	else if (leftovers_remove(host->leftovers, group, id_first, &err) > 0 && pending)
		pending(err.text, userdata);
	FAILPOINT("sandboxd.remove.directory");
	removal_workload_name(workload, name);
	record_remove_dir(host->run_fd, name);
	registry_remove(&host->registry, workload);
}

/* Remove what is in @dir_fd, which becomes this function's; directories only at the first of the two
 * levels that there are. */
static int empty_log_dir(int dir_fd, int levels, struct err *err)
{
	DIR *dir = fdopendir(dir_fd);
	const struct dirent *entry;
	int r = 0;

	if (!dir) {
		fd_close(&dir_fd);
		return err_set(err, ERR_INTERNAL, errno, "cannot read a log directory: %m");
	}
	while (r == 0 && (entry = readdir(dir))) {
		const char *name = entry->d_name;
		int below;

		if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
			continue;
		if (unlinkat(dir_fd, name, 0) == 0)
			continue;
		below = levels == 0 ? -1
				    : openat(dir_fd, name,
					     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (below >= 0)
			r = empty_log_dir(below, levels - 1, err);
		if (r == 0 && (below < 0 || unlinkat(dir_fd, name, AT_REMOVEDIR) < 0))
			r = err_set(err, ERR_INTERNAL, errno, "cannot remove the log file %s: %m",
				    name);
	}
	(void)closedir(dir);
	return r;
}

int removal_logs(struct sandboxd *host, const char *id, struct err *err)
{
	int fd = openat(host->log_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open the log directory of %s: %m",
			       id);
	r = empty_log_dir(fd, 1, err);
	if (r == 0 && unlinkat(host->log_fd, id, AT_REMOVEDIR) < 0)
		r = err_set(err, ERR_INTERNAL, errno, "cannot remove the log directory of %s: %m",
			    id);
	return r;
}
