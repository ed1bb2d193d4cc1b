/*
 * The groups that last: <base> and the two levels below it. All of it is made again at each start, and
 * what is there already is kept: a start after a crash finds running workloads in it.
 */
#include "sandbox/hierarchy_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/group_file.h"
#include "sandbox/lcg.h"

/* Below <base>, parents first. The weight counts between siblings; 100 is what supervisor and monitors
 * have by default, and "workloads" has more because it holds all that the host is there for. */
static const struct tree_row {
	const char *name;
	unsigned int cpu_weight; /* 0: the kernel's default */
} tree[] = {
	{ HIERARCHY_SUPERVISOR, 0 },
	{ HIERARCHY_MONITORS, 0 },
	{ HIERARCHY_WORKLOADS, 1000 },
	{ HIERARCHY_WORKLOADS "/critical", 1000 },
	{ HIERARCHY_WORKLOADS "/production", 100 },
	{ HIERARCHY_WORKLOADS "/batch", 30 },
	{ HIERARCHY_WORKLOADS "/best-effort", 5 },
};

static int tree_path(const struct hierarchy *hierarchy, const char *name, char **ret_path)
{
	int n = asprintf(ret_path, "%s/%s", hierarchy->base + 1, name);

	if (n < 0)
		*ret_path = NULL;
	return n < 0 ? -ENOMEM : 0;
}

/* mkdir -p of @path (absolute below the mount) in @mount. */
static int make_directories(const struct hierarchy_mount *mount, const char *path, struct err *err)
{
	cleanup_free char *full = NULL;
	size_t skip = strlen(mount->path);

	if (asprintf(&full, "%s%s", mount->path, path) < 0) {
		full = NULL;
		return err_oom(err);
	}
	for (char *end = full + skip; *end;) {
		char *next = end + 1 + strcspn(end + 1, "/"), kept = *next;

		*next = '\0';
		if (mkdir(full, 0755) < 0 && errno != EEXIST)
			return err_set(err, ERR_INTERNAL, errno, "cannot make cgroup %s: %m", full);
		*next = kept;
		end = next;
	}
	return 0;
}

static int open_base(struct hierarchy *hierarchy, size_t index, struct err *err)
{
	struct hierarchy_mount *mount = &hierarchy->mounts[index];
	cleanup_free char *full = NULL;

	if (asprintf(&full, "%s%s", mount->path, hierarchy->base) < 0) {
		full = NULL;
		return err_oom(err);
	}
	mount->base_fd = open(full, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (mount->base_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open cgroup %s: %m", full);
	return 0;
}

static int move_to_supervisor(const struct hierarchy *hierarchy, int base_fd, const char *pid,
			      struct err *err)
{
	int r;

	if (!hierarchy->delegated && strtol(pid, NULL, 10) != getpid())
		return err_set(err, ERR_PRECONDITION, EBUSY,
			       "cannot use cgroup %s as a base: process %s is in it and not ours",
			       hierarchy->base, pid);
	if (mkdirat(base_fd, HIERARCHY_SUPERVISOR, 0755) < 0 && errno != EEXIST)
		return err_set(err, ERR_INTERNAL, errno, "cannot make cgroup %s/%s: %m",
			       hierarchy->base, HIERARCHY_SUPERVISOR);
	r = group_file_write(base_fd, HIERARCHY_SUPERVISOR "/cgroup.procs", pid);
	if (r < 0 && r != -ESRCH) /* it ended meanwhile */
		return err_set(err, ERR_INTERNAL, -r, "cannot move process %s to %s/%s: %m", pid,
			       hierarchy->base, HIERARCHY_SUPERVISOR);
	return 0;
}

/* In a unit's group these are the unit's own processes: ours, or that which keeps the unit alive. */
static int empty_base(const struct hierarchy *hierarchy, int base_fd, struct err *err)
{
	char text[4096], *rest = text, *pid;
	ssize_t n = group_file_read(base_fd, "cgroup.procs", text, sizeof(text));

	if (n < 0)
		return err_set(err, ERR_INTERNAL, (int)-n,
			       "cannot list the processes of cgroup %s: %m", hierarchy->base);
	while ((pid = strsep(&rest, "\n")) != NULL) {
		int r = *pid ? move_to_supervisor(hierarchy, base_fd, pid, err) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

int hierarchy_make_unified_base(struct hierarchy *hierarchy, struct err *err)
{
	struct hierarchy_mount *mount = &hierarchy->mounts[hierarchy->unified];
	int r;

	r = make_directories(mount, hierarchy->base, err);
	if (r < 0)
		return r;
	r = open_base(hierarchy, (size_t)hierarchy->unified, err);
	if (r < 0)
		return r;
	return empty_base(hierarchy, mount->base_fd, err);
}

/* v1 makes cpuset groups without cpus and memory nodes, and such a group takes no process: give it
 * what the group above has, unless someone chose already. */
static size_t fill_cpuset(const struct hierarchy *hierarchy, const char *path,
			  struct setting settings[static 2])
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	int where = hierarchy->where[CONTROLLER_CPUSET];
	size_t count = 0;

	if (where < 0 || hierarchy->mounts[where].v2)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		const char *mount = hierarchy->mounts[where].path;
		struct setting *setting = &settings[count];
		char file[1024], has[256];

		(void)snprintf(file, sizeof(file), "%s/%s/%s", mount, path, files[i]);
		if (group_file_read(AT_FDCWD, file, has, sizeof(has)) > 0)
			continue;
		(void)snprintf(file, sizeof(file), "%s/%.*s/%s", mount,
			       (int)(strrchr(path, '/') ? strrchr(path, '/') - path : 0), path,
			       files[i]);
		*setting = (struct setting){ .controller = CONTROLLER_CPUSET, .file = files[i] };
		if (group_file_read(AT_FDCWD, file, setting->value, sizeof(setting->value)) > 0)
			count++;
	}
	return count;
}

static int make_group(const struct hierarchy *hierarchy, const char *path, unsigned int cpu_weight,
		      struct err *err)
{
	struct setting settings[3];
	size_t count = fill_cpuset(hierarchy, path, settings);

	if (cpu_weight) {
		bool v2 = hierarchy_is_v2(hierarchy, CONTROLLER_CPU);
		struct setting *setting = &settings[count++];

		*setting = (struct setting){ .controller = CONTROLLER_CPU,
					     .file = v2 ? "cpu.weight" : "cpu.shares" };
		(void)snprintf(setting->value, sizeof(setting->value), "%u",
			       v2 ? cpu_weight : cpu_weight * 1024 / 100);
	}
	return lcg_create(hierarchy, path, UINT32_MAX, settings, count, err);
}

/* Level by level, for fill_cpuset(). */
static int make_base(const struct hierarchy *hierarchy, struct err *err)
{
	cleanup_free char *path = strdup(hierarchy->base + 1);

	if (!path)
		return err_oom(err);
	for (char *end = path; *end;) {
		char *next = end + strcspn(end, "/"), kept = *next;
		int r;

		*next = '\0';
		r = make_group(hierarchy, path, 0, err);
		if (r < 0)
			return r;
		*next = kept;
		end = kept ? next + 1 : next;
	}
	return 0;
}

/* A cgroup2 mount without controllers is not there for libcgroup. */
static int make_in_bare_unified(const struct hierarchy *hierarchy, const char *name,
				struct err *err)
{
	const struct hierarchy_mount *mount;

	if (hierarchy->unified < 0)
		return 0;
	mount = &hierarchy->mounts[hierarchy->unified];
	if (mount->in_use || mkdirat(mount->base_fd, name, 0755) == 0 || errno == EEXIST)
		return 0;
	return err_set(err, ERR_INTERNAL, errno, "cannot make cgroup %s/%s/%s: %m", mount->path,
		       hierarchy->base + 1, name);
}

/* libcgroup enables controllers above what it makes; the bands' children are not made by it. */
static int enable_for_children(const struct hierarchy *hierarchy, const char *name, struct err *err)
{
	const struct hierarchy_mount *mount;
	char file[128], value[64];
	int r;

	if (hierarchy->unified < 0)
		return 0;
	mount = &hierarchy->mounts[hierarchy->unified];
	if (!hierarchy_v2_controllers(hierarchy, value))
		return 0;
	(void)snprintf(file, sizeof(file), "%s/cgroup.subtree_control", name);
	r = group_file_write(mount->base_fd, file, value);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot write %s to %s%s/%s: %m", value,
			       mount->path, hierarchy->base, file);
	return 0;
}

static int make_row(const struct hierarchy *hierarchy, const struct tree_row *row, struct err *err)
{
	cleanup_free char *path = NULL;
	int r;

	if (tree_path(hierarchy, row->name, &path) < 0)
		return err_oom(err);
	r = make_group(hierarchy, path, row->cpu_weight, err);
	if (r < 0)
		return r;
	r = make_in_bare_unified(hierarchy, row->name, err);
	if (r < 0 || !strchr(row->name, '/'))
		return r;
	return enable_for_children(hierarchy, row->name, err);
}

int hierarchy_make_tree(struct hierarchy *hierarchy, struct err *err)
{
	int r = make_base(hierarchy, err);

	for (size_t i = 0; r == 0 && i < hierarchy->mount_count; i++) {
		if (hierarchy->mounts[i].base_fd < 0)
			r = open_base(hierarchy, i, err);
	}
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(tree); i++)
		r = make_row(hierarchy, &tree[i], err);
	return r;
}

/* Remove @path everywhere: 0, -EBUSY where something is in it, or another error. */
static int remove_group(const struct hierarchy *hierarchy, const char *path, struct err *err)
{
	int busy = 0;

	for (size_t i = 0; i < hierarchy->mount_count; i++) {
		int r = lcg_remove(hierarchy, path, i, err);

		if (r < 0 && r != -EBUSY)
			return r;
		if (r < 0)
			busy = r;
	}
	return busy;
}

/* systemd does not use v1's cpuset and freezer: a unit's path in them was made here, to its root. */
static int remove_foreign_base(const struct hierarchy *hierarchy, struct err *err)
{
	const uint32_t not_systemds = 1u << CONTROLLER_CPUSET | 1u << CONTROLLER_FREEZER;

	for (size_t i = 0; i < hierarchy->mount_count; i++) {
		const struct hierarchy_mount *mount = &hierarchy->mounts[i];
		char path[512];
		int r = 0;

		if (mount->v2 || (mount->in_use & ~not_systemds))
			continue;
		(void)snprintf(path, sizeof(path), "%s", hierarchy->base + 1);
		while (r == 0 && path[0]) {
			char *slash = strrchr(path, '/');

			r = lcg_remove(hierarchy, path, i, err);
			*(slash ? slash : path) = '\0';
		}
		if (r < 0 && r != -EBUSY)
			return r;
	}
	return 0;
}

int hierarchy_remove_if_empty(const struct hierarchy *hierarchy, struct err *err)
{
	int busy = 0, r;

	for (size_t i = ARRAY_SIZE(tree); i-- > 0;) {
		cleanup_free char *path = NULL;

		if (tree_path(hierarchy, tree[i].name, &path) < 0)
			return err_oom(err);
		r = remove_group(hierarchy, path, err);
		if (r < 0 && r != -EBUSY)
			return r;
		/* A unit's processes are in its supervisor group; systemd removes both. */
		if (r < 0 &&
		    !(hierarchy->delegated && strcmp(tree[i].name, HIERARCHY_SUPERVISOR) == 0))
			busy = r;
	}
	if (busy)
		return busy;
	if (hierarchy->delegated)
		return remove_foreign_base(hierarchy, err);
	return remove_group(hierarchy, hierarchy->base + 1, err);
}
