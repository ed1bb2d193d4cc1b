/*
 * One group in every hierarchy: made, limits and all, before its first process; removed when empty.
 *
 * Making and removing are by hand and not through libcgroup, for two reasons. To the library a directory
 * that is there is a success, and a leftover group may still hold another launch's processes; to its removal
 * one that is not empty is. And both are on the path of a launch, of which they would be the dearest step: with a container's usual limits the
 * median was 3.0 times that of the plain calls on a hybrid host (1160, 370 us; here 490 us) and 25
 * times on a unified one, where this costs what the plain calls do. The library reads the table of
 * mounts again for each value, and on v2 it writes cgroup.subtree_control from the root down, which
 * waits for whatever groups are just going away. tests/system/cgroup/costs.c measures it. The names and
 * values are those that updates give to the library.
 */
#include "sandbox/taskgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "sandbox/group_file.h"
#include "sandbox/hierarchy_internal.h"

static bool is_component(const char *text)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";
	size_t length = strlen(text);

	if (length == 0 || length > 128 || text[0] == '.' || text[0] == '-')
		return false;
	return strspn(text, allowed) == length && !strstr(text, "..");
}

int taskgroup_path(char path[static TASKGROUP_PATH_MAX], enum hierarchy_band band,
		   const char *workload, const char *container, struct err *err)
{
	if ((size_t)band >= BAND_COUNT || !is_component(workload) ||
	    (container && !is_component(container)))
		return err_set(
			err, ERR_INVALID, EINVAL,
			"cannot name a cgroup: the band, the workload's or the container's name is not valid");
	(void)snprintf(path, TASKGROUP_PATH_MAX, HIERARCHY_WORKLOADS "/%s/%s%s%s",
		       hierarchy_band_name(band), workload, container ? "/" : "",
		       container ? container : "");
	return 0;
}

static bool is_band(const char *text, size_t length)
{
	for (int i = 0; i < BAND_COUNT; i++) {
		const char *name = hierarchy_band_name(i);

		if (strlen(name) == length && strncmp(name, text, length) == 0)
			return true;
	}
	return false;
}

/* Whether taskgroup_path() could have written it, for a group of that level. */
static bool is_group_path(const char *path, enum taskgroup_level level)
{
	char names[TASKGROUP_PATH_MAX], *container;
	size_t band;

	if (strlen(path) >= TASKGROUP_PATH_MAX ||
	    strncmp(path, HIERARCHY_WORKLOADS "/", strlen(HIERARCHY_WORKLOADS) + 1) != 0)
		return false;
	path += strlen(HIERARCHY_WORKLOADS) + 1;
	band = strcspn(path, "/");
	if (!is_band(path, band) || path[band] != '/')
		return false;
	(void)snprintf(names, sizeof(names), "%s", path + band + 1);
	container = strchr(names, '/');
	if (container)
		*container++ = '\0';
	if ((level == TASKGROUP_CONTAINER) != (container != NULL))
		return false;
	return is_component(names) && (!container || is_component(container));
}

static int taskgroup_new(const struct hierarchy *hierarchy, const char *path,
			 enum taskgroup_level level, struct taskgroup **ret_group, struct err *err)
{
	struct taskgroup *group;

	if (!is_group_path(path, level))
		return err_set(err, ERR_INVALID, EINVAL, "cgroup path is not one of ours");
	group = calloc(1, sizeof(*group));
	if (!group)
		return err_oom(err);
	group->hierarchy = hierarchy;
	group->level = level;
	for (size_t i = 0; i < HIERARCHY_MOUNTS_MAX; i++)
		group->dir_fds[i] = -1;
	(void)snprintf(group->path, sizeof(group->path), "%s", path);
	*ret_group = group;
	return 0;
}

void taskgroup_free(struct taskgroup *group)
{
	if (!group)
		return;
	for (size_t i = 0; i < HIERARCHY_MOUNTS_MAX; i++)
		fd_close(&group->dir_fds[i]);
	free(group);
}

const char *taskgroup_name(const struct taskgroup *group)
{
	return group->path;
}

uint64_t taskgroup_id(const struct taskgroup *group)
{
	return group->id;
}

static int main_mount(const struct hierarchy *hierarchy)
{
	return hierarchy->unified >= 0 ? hierarchy->unified : hierarchy->where[CONTROLLER_FREEZER];
}

int taskgroup_main_dir(const struct taskgroup *group)
{
	int mount = main_mount(group->hierarchy);

	return mount < 0 ? -1 : group->dir_fds[mount];
}

/* A file of the group for openat(2): by its own directory where that is open, else by path below <base>. */
struct place {
	int dir_fd;
	char path[TASKGROUP_PATH_MAX + 64];
};

static int find_file(const struct taskgroup *group, int mount, const char *file,
		     struct place *place)
{
	int length;

	if (mount < 0)
		return -ENOENT;
	place->dir_fd = group->dir_fds[mount];
	if (place->dir_fd >= 0) {
		length = snprintf(place->path, sizeof(place->path), "%s", file);
	} else {
		place->dir_fd = group->hierarchy->mounts[mount].base_fd;
		length = snprintf(place->path, sizeof(place->path), "%s/%s", group->path, file);
	}
	return (size_t)length < sizeof(place->path) ? 0 : -ENAMETOOLONG;
}

static int write_in(const struct taskgroup *group, int mount, const char *file, const char *value)
{
	struct place place;
	int r = find_file(group, mount, file, &place);

	return r < 0 ? r : group_file_write(place.dir_fd, place.path, value);
}

int taskgroup_file_write(const struct taskgroup *group, enum hierarchy_controller controller,
			 const char *file, const char *value)
{
	return write_in(group, group->hierarchy->where[controller], file, value);
}

ssize_t taskgroup_file_read(const struct taskgroup *group, enum hierarchy_controller controller,
			    const char *file, char *text, size_t size)
{
	struct place place;
	int r = find_file(group, group->hierarchy->where[controller], file, &place);

	return r < 0 ? r : group_file_read(place.dir_fd, place.path, text, size);
}

int taskgroup_file_read_u64(const struct taskgroup *group, enum hierarchy_controller controller,
			    const char *file, uint64_t *ret_value)
{
	struct place place;
	int r = find_file(group, group->hierarchy->where[controller], file, &place);

	return r < 0 ? r : group_file_read_u64(place.dir_fd, place.path, ret_value);
}

size_t taskgroup_held(const struct taskgroup *group, int fds[static TASKGROUP_HELD_MAX])
{
	const struct hierarchy *hierarchy = group->hierarchy;
	size_t count = 0;

	for (size_t i = 0; i < hierarchy->mount_count; i++) {
		fds[count++] = hierarchy->mounts[i].base_fd;
		fds[count++] = group->dir_fds[i];
	}
	return count;
}

int taskgroup_clone_fd(const struct taskgroup *group)
{
	int unified = group->hierarchy->unified;

	return unified >= 0 ? group->dir_fds[unified] : -1;
}

/* The mount whose directory's inode is the group's identity. */
static int identity_mount(const struct hierarchy *hierarchy)
{
	return hierarchy->unified >= 0 ? hierarchy->unified : hierarchy->where[CONTROLLER_MEMORY];
}

static int open_dir_of(const struct taskgroup *group, size_t mount)
{
	int fd = openat(group->hierarchy->mounts[mount].base_fd, group->path,
			O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : fd;
}

/* Open the directory in @mount, and see whose it is; -ENOENT where there is none. */
static int take_dir(struct taskgroup *group, size_t mount)
{
	int fd = open_dir_of(group, mount);
	struct stat status;

	if (fd < 0)
		return fd;
	group->dir_fds[mount] = fd;
	if ((int)mount != identity_mount(group->hierarchy))
		return 0;
	if (fstat(fd, &status) < 0)
		return -errno;
	group->id = status.st_ino;
	return 0;
}

/* Whether the directory's descriptor is of use for more than finding whose it is. */
static bool is_kept(const struct taskgroup *group, size_t mount)
{
	return (int)mount == main_mount(group->hierarchy) || group->level == TASKGROUP_CONTAINER;
}

/* On the directory that is the group's identity: it goes with that, and nobody but the host's root can set it.
 * Where it cannot be set the group is only less well known after a crash. */
#define MARK "trusted.berth"

static void mark(int dir_fd)
{
	(void)fsetxattr(dir_fd, MARK, "1", 1, 0);
}

static int make_dir(struct taskgroup *group, size_t mount, struct err *err)
{
	const struct hierarchy *hierarchy = group->hierarchy;
	int r;

	if (mkdirat(hierarchy->mounts[mount].base_fd, group->path, 0755) < 0)
		return err_set(err,
			       errno == EEXIST   ? ERR_EXISTS
			       : errno == ENOENT ? ERR_NOT_FOUND
						 : ERR_INTERNAL,
			       errno, "cannot create cgroup %s%s/%s: %m",
			       hierarchy->mounts[mount].path, hierarchy->base, group->path);
	if (!is_kept(group, mount) && (int)mount != identity_mount(hierarchy))
		return 0;
	r = take_dir(group, mount);
	if (r == 0 && (int)mount == identity_mount(hierarchy))
		mark(group->dir_fds[mount]);
	if (r < 0 || !is_kept(group, mount))
		fd_close(&group->dir_fds[mount]);
	if (r == 0)
		return 0;
	(void)unlinkat(hierarchy->mounts[mount].base_fd, group->path, AT_REMOVEDIR);
	return err_set(err, ERR_INTERNAL, -r, "cannot open cgroup %s: %m", group->path);
}

/* The first @made of them, and only those: a directory that was there stays. */
static void unmake_dirs(struct taskgroup *group, size_t made)
{
	while (made-- > 0) {
		size_t i = made;

		(void)unlinkat(group->hierarchy->mounts[i].base_fd, group->path, AT_REMOVEDIR);
		fd_close(&group->dir_fds[i]);
	}
}

/* A v1 cpuset starts without cpus and memory nodes and then takes no process: give it its parent's. */
static int fill_cpuset(const struct taskgroup *group, struct err *err)
{
	static const char *const files[][2] = { { "../cpuset.cpus", "cpuset.cpus" },
						{ "../cpuset.mems", "cpuset.mems" } };
	const enum hierarchy_controller cpuset = CONTROLLER_CPUSET;

	if (group->hierarchy->where[cpuset] < 0 || hierarchy_is_v2(group->hierarchy, cpuset))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char text[4096];
		ssize_t r = taskgroup_file_read(group, cpuset, files[i][0], text, sizeof(text));

		if (r >= 0)
			r = taskgroup_file_write(group, cpuset, files[i][1], text);
		if (r < 0)
			return err_set(err, ERR_INTERNAL, (int)-r,
				       "cannot fill %s of cgroup %s: %m", files[i][1], group->path);
	}
	return 0;
}

/* v1 does not let a group have a larger quota or other cpus than the one above it; v2 cuts by itself. */
static int write_setting(const struct taskgroup *group, const struct setting *setting,
			 struct err *err)
{
	int r = taskgroup_file_write(group, setting->controller, setting->file, setting->value);

	if (r == 0)
		return 0;
	if (!hierarchy_is_v2(group->hierarchy, setting->controller) &&
	    (r == -EINVAL || r == -EACCES))
		return err_set(
			err, ERR_INVALID, -r,
			"cannot set %s of cgroup %s to %s: %m; the group above it must have at least as much",
			setting->file, group->path, setting->value);
	return err_set(err, r == -ENOENT ? ERR_UNSUPPORTED : ERR_INTERNAL, -r,
		       "cannot set %s of cgroup %s to %s: %m", setting->file, group->path,
		       setting->value);
}

static int write_limits(const struct taskgroup *group, const struct taskgroup_limits *limits,
			struct err *err)
{
	struct settings settings;
	int r = fill_cpuset(group, err);

	taskgroup_translate(group->hierarchy, limits, NULL, &settings);
	for (size_t i = 0; r == 0 && i < settings.count; i++)
		r = write_setting(group, &settings.rows[i], err);
	return r;
}

/* So that containers have the controllers' files too. */
static int enable_for_containers(const struct taskgroup *group, struct err *err)
{
	char value[64];
	int r;

	if (group->level != TASKGROUP_WORKLOAD ||
	    !hierarchy_v2_controllers(group->hierarchy, value))
		return 0;
	r = group_file_write(taskgroup_clone_fd(group), "cgroup.subtree_control", value);
	return r == 0 ? 0
		      : err_set(err, ERR_INTERNAL, -r,
				"cannot write %s to cgroup.subtree_control of cgroup %s: %m", value,
				group->path);
}

int taskgroup_create(const struct hierarchy *hierarchy, const char *path,
		     enum taskgroup_level level, const struct taskgroup_limits *limits,
		     struct taskgroup **ret_group, struct err *err)
{
	cleanup(taskgroup_free_p) struct taskgroup *group = NULL;
	size_t made = 0;
	int r;

	r = taskgroup_limits_check(hierarchy, limits, err);
	if (r < 0)
		return r;
	r = taskgroup_new(hierarchy, path, level, &group, err);
	if (r < 0)
		return r;
	for (; r == 0 && made < hierarchy->mount_count; made += r == 0)
		r = make_dir(group, made, err);
	if (r == 0)
		r = write_limits(group, limits, err);
	if (r == 0)
		r = enable_for_containers(group, err);
	if (r == 0 && limits->memory_low_bytes != TASKGROUP_UNSET)
		r = taskgroup_protect_above(group, err);
	if (r < 0) {
		unmake_dirs(group, made);
		return r;
	}
	*ret_group = take_ptr(&group);
	return 0;
}

/* 1 if the group is in @mount, 0 if not. */
static int find_dir(struct taskgroup *group, int mount, bool keep)
{
	int r = take_dir(group, (size_t)mount);

	if (!keep)
		fd_close(&group->dir_fds[mount]);
	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

/* Where it is killed and whose it is; one that is in neither place may be half made or half removed. */
static int find_dirs(struct taskgroup *group, struct err *err)
{
	const struct hierarchy *hierarchy = group->hierarchy;
	int main = main_mount(hierarchy), identity = identity_mount(hierarchy);
	int mount = main < 0 ? identity : main;
	int r = find_dir(group, mount, mount == main);

	if (r >= 0 && identity != mount) {
		int found = find_dir(group, identity, false);

		mount = identity;
		r = found ? found : r;
	}
	for (size_t i = 0; r == 0 && i < hierarchy->mount_count; i++) {
		mount = (int)i;
		r = find_dir(group, mount, false);
	}
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot open cgroup %s%s/%s: %m",
			       hierarchy->mounts[mount].path, hierarchy->base, group->path);
	return r > 0 ? 0
		     : err_set(err, ERR_NOT_FOUND, ENOENT, "there is no cgroup %s", group->path);
}

int taskgroup_open(const struct hierarchy *hierarchy, const char *path, enum taskgroup_level level,
		   uint64_t id, struct taskgroup **ret_group, struct err *err)
{
	cleanup(taskgroup_free_p) struct taskgroup *group = NULL;
	int r;

	r = taskgroup_new(hierarchy, path, level, &group, err);
	if (r == 0)
		r = find_dirs(group, err);
	if (r < 0)
		return r;
	if (id && group->id && group->id != id)
		return err_set(
			err, ERR_PRECONDITION, ESTALE,
			"cgroup %s is another one than the recorded: someone removed and made it again",
			path);
	*ret_group = take_ptr(&group);
	return 0;
}

static int open_identity(const struct taskgroup *group)
{
	int mount = identity_mount(group->hierarchy);

	return mount < 0 ? -ENOENT : open_dir_of(group, (size_t)mount);
}

void taskgroup_mark(const struct taskgroup *group)
{
	cleanup_fd int fd = open_identity(group);

	if (fd >= 0)
		mark(fd);
}

bool taskgroup_is_marked(const struct taskgroup *group)
{
	cleanup_fd int fd = open_identity(group);
	char value;

	return fd >= 0 && fgetxattr(fd, MARK, &value, sizeof(value)) == 1;
}

/* By hand: it is between fork and exec, and the library took three times as long (300, 120 us). */
int taskgroup_enter(const struct taskgroup *group, struct err *err)
{
	for (size_t i = 0; i < group->hierarchy->mount_count; i++) {
		const struct hierarchy_mount *mount = &group->hierarchy->mounts[i];
		int r = mount->v2 ? 0 : write_in(group, (int)i, "tasks", "0");

		if (r < 0)
			return err_set(err, ERR_INTERNAL, -r, "cannot enter cgroup %s%s/%s: %m",
				       mount->path, group->hierarchy->base, group->path);
	}
	return 0;
}

/* rmdir(2) refuses what has processes or groups in it, and moves nobody: 0, -EBUSY, or another error. */
static int remove_dir(const struct taskgroup *group, size_t mount, struct err *err)
{
	const struct hierarchy_mount *where = &group->hierarchy->mounts[mount];

	if (unlinkat(where->base_fd, group->path, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (errno == EBUSY || errno == ENOTEMPTY)
		return -EBUSY;
	return err_set(err, ERR_INTERNAL, errno, "cannot remove cgroup %s%s/%s: %m", where->path,
		       group->hierarchy->base, group->path);
}

static int remove_dirs(const struct taskgroup *group, struct err *err)
{
	bool was_protected = taskgroup_is_protected(group);
	int busy = 0;

	/* The hierarchy that knows about all processes comes first: where it refuses, nothing goes. */
	for (size_t i = 0; i < group->hierarchy->mount_count; i++) {
		size_t mount = ((size_t)identity_mount(group->hierarchy) + i) %
			       group->hierarchy->mount_count;
		int r = remove_dir(group, mount, err);

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

int taskgroup_remove(const struct taskgroup *group, struct err *err)
{
	int r = remove_dirs(group, err);

	/* What a monitor that died could not tidy up. */
	if (r == -EBUSY && group->level == TASKGROUP_CONTAINER && taskgroup_remove_below(group) > 0)
		r = remove_dirs(group, err);
	return r;
}

/* The directory in @mount once more, *ret_fd -1 where the host or the group has none. */
static int open_again(const struct taskgroup *group, int mount, int *ret_fd)
{
	int fd;

	*ret_fd = -1;
	if (mount < 0)
		return 0;
	if (group->dir_fds[mount] >= 0) {
		fd = fcntl(group->dir_fds[mount], F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			return -errno;
	} else {
		fd = open_dir_of(group, (size_t)mount);
		if (fd < 0)
			return fd == -ENOENT ? 0 : fd;
	}
	*ret_fd = fd;
	return 0;
}

int taskgroup_open_dirs(const struct taskgroup *group, int ret_fds[static TASKGROUP_DIR_COUNT],
			struct err *err)
{
	static const enum hierarchy_controller rows[TASKGROUP_DIR_COUNT] = {
		[TASKGROUP_DIR_MEMORY] = CONTROLLER_MEMORY,   [TASKGROUP_DIR_CPU] = CONTROLLER_CPU,
		[TASKGROUP_DIR_CPUACCT] = CONTROLLER_CPUACCT, [TASKGROUP_DIR_IO] = CONTROLLER_IO,
		[TASKGROUP_DIR_PIDS] = CONTROLLER_PIDS,
	};
	const struct hierarchy *hierarchy = group->hierarchy;
	int fds[TASKGROUP_DIR_COUNT] = { 0 };

	for (int i = 0; i < TASKGROUP_DIR_COUNT; i++) {
		int mount = i == TASKGROUP_DIR_UNIFIED            ? hierarchy->unified
			    : hierarchy_is_v2(hierarchy, rows[i]) ? -1
								  : hierarchy->where[rows[i]];
		int r = open_again(group, mount, &fds[i]);

		if (r < 0) {
			while (i-- > 0)
				fd_close(&fds[i]);
			return err_set(err, ERR_INTERNAL, -r,
				       "cannot open the directories of cgroup %s: %m", group->path);
		}
	}
	memcpy(ret_fds, fds, sizeof(fds));
	return 0;
}
