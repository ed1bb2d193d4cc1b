/*
 * Only directories whose names are ours are looked at, and only below <base>/workloads, which is this
 * daemon's alone (hierarchy_lock()). A name is not enough to be killed for: a group is marked when it is made,
 * before a process can be in it. One that has processes and no mark is somebody else's; one that has neither is
 * what is left of one that was half made or half removed. A group is opened once and killed by that descriptor.
 */
#include "sandbox/recovery_groups.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/failpoint.h"
#include "proto/log.h"
#include "sandbox/hierarchy_internal.h"
#include "sandbox/leftovers.h"
#include "sandbox/removal.h"
#include "sandbox/sandboxd.h"

#define EMPTY_WAIT_MS 1000

/* The directory @path of one hierarchy, to be read; NULL where it has none. */
static DIR *open_group_dir(const struct hierarchy_mount *mount, const char *path)
{
	int fd = openat(mount->base_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		fd_close(&fd);
	return dir;
}

static const char *next_group(DIR *dir)
{
	const struct dirent *entry;

	while ((entry = readdir(dir)))
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			return entry->d_name;
	return NULL;
}

static bool is_foreign(const struct taskgroup *group)
{
	bool populated = false;

	return !taskgroup_is_marked(group) && taskgroup_is_populated(group, &populated) == 0 &&
	       populated;
}

/* The directory below a known workload's group that has a known container's name: whether it is its group. */
static bool is_group_of(struct sandboxd *host, const struct container *container, const char *path)
{
	struct taskgroup *group = NULL;
	struct err err = { 0 };
	int r = taskgroup_open(host->hierarchy, path, TASKGROUP_CONTAINER, container->group_id,
			       &group, &err);

	taskgroup_free(group);
	return r == 0 || err.kind != ERR_PRECONDITION;
}

/* A hierarchy before @mount has it, and it was seen to there. */
static bool was_seen(const struct sandboxd *host, const struct hierarchy_mount *mount,
		     const char *path)
{
	const struct hierarchy_mount *before = host->hierarchy->mounts;

	for (; before < mount; before++)
		if (faccessat(before->base_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			return true;
	return false;
}

static void remove_group(struct sandboxd *host, const struct hierarchy_mount *mount,
			 const char *path, enum taskgroup_level level)
{
	struct taskgroup *group = NULL;
	struct err err = { 0 };

	if (was_seen(host, mount, path))
		return;
	FAILPOINT("sandboxd.recovery.stranger");
	if (taskgroup_open(host->hierarchy, path, level, 0, &group, &err) < 0) {
		log_failure(LOG_WARNING, NULL, &err);
		return;
	}
	if (is_foreign(group)) {
		log_event(LOG_WARNING, NULL,
			  "cgroup %s: it has processes and was not made here: left alone", path);
		host->foreign_groups++;
		taskgroup_free(group);
		return;
	}
	log_event(LOG_WARNING, NULL, "cgroup %s: no record speaks of it: removed, with all in it",
		  path);
	host->orphans.groups++;
	(void)taskgroup_kill(group, NULL); /* the removal tells */
	(void)taskgroup_wait(group, TASKGROUP_EMPTY, EMPTY_WAIT_MS);
	(void)leftovers_remove(host->leftovers, group, 0, &err);
}

static const struct container *find_container(struct workload *workload, const char *name)
{
	const struct container *container;
	char known[REMOVAL_NAME_MAX];

	LIST_FOREACH (container, &workload->containers, link) {
		removal_container_name(container, known);
		if (strcmp(known, name) == 0)
			return container;
	}
	return NULL;
}

static void look_at_container(struct sandboxd *host, const struct hierarchy_mount *mount,
			      struct workload *workload, const char *path, const char *name)
{
	const struct container *container = workload ? find_container(workload, name) : NULL;

	if (!container || !is_group_of(host, container, path))
		remove_group(host, mount, path, TASKGROUP_CONTAINER);
}

/* The workload whose group has this name: "<id>.<instance>". */
static struct workload *find_workload(struct sandboxd *host, enum hierarchy_band band,
				      const char *name)
{
	char id[NAME_ID_MAX + 1], known[REMOVAL_NAME_MAX];
	struct workload *workload;

	if ((size_t)snprintf(id, sizeof(id), "%.*s", (int)strcspn(name, "."), name) >= sizeof(id))
		return NULL;
	workload = registry_find(&host->registry, id);
	if (!workload || workload->band != band)
		return NULL;
	removal_workload_name(workload, known);
	return strcmp(known, name) == 0 ? workload : NULL;
}

static void look_at_workload(struct sandboxd *host, const struct hierarchy_mount *mount,
			     enum hierarchy_band band, const char *name)
{
	struct workload *workload = find_workload(host, band, name);
	char path[TASKGROUP_PATH_MAX];
	DIR *dir;

	if (taskgroup_path(path, band, name, NULL, NULL) < 0)
		return; /* not ours */
	dir = open_group_dir(mount, path);
	for (const char *below; dir && (below = next_group(dir));)
		if (taskgroup_path(path, band, name, below, NULL) == 0)
			look_at_container(host, mount, workload, path, below);
	if (dir)
		(void)closedir(dir);
	if (!workload && taskgroup_path(path, band, name, NULL, NULL) == 0)
		remove_group(host, mount, path, TASKGROUP_WORKLOAD);
}

void recovery_remove_strangers(struct sandboxd *host)
{
	for (size_t i = 0; i < host->hierarchy->mount_count; i++) {
		const struct hierarchy_mount *mount = &host->hierarchy->mounts[i];

		for (int band = 0; band < BAND_COUNT; band++) {
			char path[64];
			DIR *dir;

			(void)snprintf(path, sizeof(path), HIERARCHY_WORKLOADS "/%s",
				       hierarchy_band_name(band));
			dir = open_group_dir(mount, path);
			for (const char *name; dir && (name = next_group(dir));)
				look_at_workload(host, mount, band, name);
			if (dir)
				(void)closedir(dir);
		}
	}
}
