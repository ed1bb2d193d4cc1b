#include "sandbox/hierarchy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sandbox/group_file.h"
#include "sandbox/hierarchy_internal.h"
#include "sandbox/lcg.h"

static const char *const band_names[BAND_COUNT] = {
	[BAND_CRITICAL] = "critical",
	[BAND_PRODUCTION] = "production",
	[BAND_BATCH] = "batch",
	[BAND_BEST_EFFORT] = "best-effort",
};

const char *hierarchy_band_name(enum hierarchy_band band)
{
	return (size_t)band < BAND_COUNT ? band_names[band] : "production";
}

const char *hierarchy_layout_name(enum hierarchy_layout layout)
{
	static const char *const names[] = {
		[HIERARCHY_UNIFIED] = "unified",
		[HIERARCHY_HYBRID] = "hybrid",
		[HIERARCHY_LEGACY] = "legacy",
	};

	return (size_t)layout < ARRAY_SIZE(names) ? names[layout] : "unknown";
}

bool hierarchy_is_v2(const struct hierarchy *hierarchy, enum hierarchy_controller controller)
{
	int where = hierarchy->where[controller];

	return where >= 0 && hierarchy->mounts[where].v2;
}

const struct hierarchy_feature *hierarchy_feature(const struct hierarchy *hierarchy,
						  const char *name)
{
	for (size_t i = 0; i < hierarchy->feature_count; i++) {
		if (strcmp(hierarchy->features[i].name, name) == 0)
			return &hierarchy->features[i];
	}
	return NULL;
}

bool hierarchy_v2_controllers(const struct hierarchy *hierarchy, char text[static 64])
{
	text[0] = '\0';
	for (int i = 0; i < CONTROLLER_COUNT; i++) {
		if (!hierarchy_is_v2(hierarchy, i))
			continue;
		if (text[0])
			strcat(text, " ");
		strcat(text, "+"); /* five words of at most seven letters */
		strcat(text, lcg_controller_name(hierarchy, i));
	}
	return text[0] != '\0';
}

int hierarchy_open_monitors(const struct hierarchy *hierarchy)
{
	int fd;

	if (hierarchy->unified < 0)
		return -EOPNOTSUPP;
	fd = openat(hierarchy->mounts[hierarchy->unified].base_fd, HIERARCHY_MONITORS,
		    O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

int hierarchy_lock(const struct hierarchy *hierarchy, struct err *err)
{
	const struct hierarchy_mount *mount =
		&hierarchy->mounts[hierarchy->unified < 0 ? 0 : hierarchy->unified];
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	/* A file that nobody here opens again: any close of it would give up the lock. */
	cleanup_fd int fd = openat(mount->base_fd, HIERARCHY_WORKLOADS "/cgroup.procs",
				   O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open cgroup %s/%s: %m",
			       hierarchy->base, HIERARCHY_WORKLOADS);
	if (fcntl(fd, F_SETLK, &lock) == 0)
		return take_fd(&fd);
	if (errno == EAGAIN || errno == EACCES)
		return err_set(
			err, ERR_PRECONDITION, EBUSY,
			"cgroup %s is in use by another berth-sandboxd: stop that one, or set CgroupParent",
			hierarchy->base);
	return err_set(err, ERR_INTERNAL, errno, "cannot lock cgroup %s: %m", hierarchy->base);
}

static struct hierarchy *hierarchy_new(void)
{
	struct hierarchy *hierarchy = calloc(1, sizeof(*hierarchy));

	if (!hierarchy)
		return NULL;
	hierarchy->unified = -1;
	for (int i = 0; i < CONTROLLER_COUNT; i++)
		hierarchy->where[i] = -1;
	for (size_t i = 0; i < HIERARCHY_MOUNTS_MAX; i++)
		hierarchy->mounts[i].base_fd = -1;
	return hierarchy;
}

void hierarchy_free(struct hierarchy *hierarchy)
{
	if (!hierarchy)
		return;
	for (size_t i = 0; i < hierarchy->mount_count; i++) {
		fd_close(&hierarchy->mounts[i].base_fd);
		free(hierarchy->mounts[i].path);
	}
	free(hierarchy->base);
	free(hierarchy->cpuset_cpus);
	free(hierarchy->cpuset_mems);
	free(hierarchy);
}

static int find_mounts(struct hierarchy *hierarchy, char **ret_systemd_mount, struct err *err)
{
	cleanup_file FILE *mountinfo = fopen("/proc/self/mountinfo", "re");

	if (!mountinfo)
		return err_set(err, ERR_INTERNAL, errno, "cannot open /proc/self/mountinfo: %m");
	return hierarchy_read_mounts(hierarchy, mountinfo, ret_systemd_mount, err);
}

/* Decide what cgroup2 is used for: it must be able to kill a group, which the root cannot show. */
static int settle_unified(struct hierarchy *hierarchy, struct err *err)
{
	char controllers[512];
	int r, base_fd;

	if (hierarchy->unified < 0)
		return 0;
	r = hierarchy_make_unified_base(hierarchy, err);
	if (r < 0)
		return r;
	base_fd = hierarchy->mounts[hierarchy->unified].base_fd;
	if (!group_file_exists(base_fd, "cgroup.kill")) {
		hierarchy_forget_unified(hierarchy);
		return 0;
	}
	if (group_file_read(base_fd, "cgroup.controllers", controllers, sizeof(controllers)) > 0)
		hierarchy_take_v2_controllers(hierarchy, controllers);
	return 0;
}

static int check_controllers(const struct hierarchy *hierarchy, struct err *err)
{
	static const struct {
		enum hierarchy_controller controller;
		const char *name;
	} needed[] = {
		{ CONTROLLER_CPU, "cpu" },
		{ CONTROLLER_MEMORY, "memory" },
		{ CONTROLLER_PIDS, "pids" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (hierarchy->where[needed[i].controller] < 0)
			return err_set(
				err, ERR_UNSUPPORTED, EOPNOTSUPP,
				"cannot limit %s on this host: no cgroup hierarchy has the controller in %s (see cgroup.controllers, /proc/cgroups)",
				needed[i].name, hierarchy->base);
	}
	if (hierarchy->layout == HIERARCHY_LEGACY && hierarchy->where[CONTROLLER_FREEZER] < 0)
		return err_set(
			err, ERR_UNSUPPORTED, EOPNOTSUPP,
			"cannot end workloads safely on this host: neither cgroup2 with cgroup.kill nor the freezer controller is there");
	return 0;
}

/* What workloads may choose from. */
static int read_cpuset(struct hierarchy *hierarchy, struct err *err)
{
	int where = hierarchy->where[CONTROLLER_CPUSET];
	bool v2 = hierarchy_is_v2(hierarchy, CONTROLLER_CPUSET);
	char cpus[4096], mems[4096];
	int fd;

	if (where < 0)
		return 0;
	fd = hierarchy->mounts[where].base_fd;
	if (group_file_read(fd, v2 ? "cpuset.cpus.effective" : "cpuset.cpus", cpus, sizeof(cpus)) <=
		    0 ||
	    group_file_read(fd, v2 ? "cpuset.mems.effective" : "cpuset.mems", mems, sizeof(mems)) <=
		    0)
		return err_set(err, ERR_INTERNAL, EIO, "cannot read the cpuset of cgroup %s",
			       hierarchy->base);
	hierarchy->cpuset_cpus = strdup(cpus);
	hierarchy->cpuset_mems = strdup(mems);
	return hierarchy->cpuset_cpus && hierarchy->cpuset_mems ? 0 : err_oom(err);
}

int hierarchy_discover(const struct hierarchy_options *options, struct hierarchy **ret_hierarchy,
		       struct err *err)
{
	cleanup(hierarchy_free_p) struct hierarchy *hierarchy = hierarchy_new();
	cleanup_free char *systemd_mount = NULL;
	int r;

	if (!hierarchy)
		return err_oom(err);
	r = find_mounts(hierarchy, &systemd_mount, err);
	if (r < 0)
		return r;
	r = hierarchy_choose_base(hierarchy, options, systemd_mount, err);
	if (r < 0)
		return r;
	r = settle_unified(hierarchy, err);
	if (r < 0)
		return r;
	hierarchy_settle_layout(hierarchy);
	r = check_controllers(hierarchy, err);
	if (r < 0)
		return r;
	r = lcg_init(hierarchy, err);
	if (r < 0)
		return r;
	r = hierarchy_make_tree(hierarchy, err);
	if (r < 0)
		return r;
	r = read_cpuset(hierarchy, err);
	if (r < 0)
		return r;
	r = hierarchy_probe(hierarchy, err);
	if (r < 0)
		return r;
	*ret_hierarchy = take_ptr(&hierarchy);
	return 0;
}
