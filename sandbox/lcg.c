/*
 * The library as it is in 2.0.2. What to know of it:
 * - its codes are positive and hide errno behind ECGOTHER; they do not leave this file;
 * - struct cgroup takes 5 KB and 8 KB more for each value: built, used and freed within a call;
 * - it opens /proc/mounts again for each directory and value, so one change costs 50 us and up;
 * - a directory that exists is a success to it, and it checks no name: callers do both;
 * - removing moves live tasks into the parent, out of every limit, except with
 *   CGFLAG_DELETE_EMPTY_ONLY, which says 0 even when the group was not empty: looked at afterwards;
 * - on v2 it deletes once for each controller of the struct: given one for each mount.
 */
#include "sandbox/lcg.h"

#include <errno.h>
#include <fcntl.h>
#include <libcgroup.h>
#include <string.h>
#include <unistd.h>

#include "proto/cleanup.h"

#define cleanup_cgroup cleanup(cgroup_free)

static int lcg_failed(struct err *err, int code, const char *doing, const char *path,
		      const char *object)
{
	int errnum = code == ECGOTHER ? cgroup_get_last_errno() : EIO;

	switch (code) {
	case ECGROUPSUBSYSNOTMOUNTED:
	case ECGROUPVALUENOTEXIST:
		return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP,
			       "cannot %s %s of cgroup %s: this host's kernel does not have it",
			       doing, object, path);
	case ECGROUPNOTEXIST:
		return err_set(err, ERR_NOT_FOUND, ENOENT,
			       "cannot %s %s of cgroup %s: no such cgroup", doing, object, path);
	case ECGOTHER:
		if (errnum == EBUSY)
			return err_set(err, ERR_PRECONDITION, EBUSY,
				       "cannot %s %s of cgroup %s: what it uses now does not fit",
				       doing, object, path);
		return err_set(err, ERR_INTERNAL, errnum, "cannot %s %s of cgroup %s: %m", doing,
			       object, path);
	default:
		return err_set(err, ERR_INTERNAL, errnum, "cannot %s %s of cgroup %s: %s", doing,
			       object, path, cgroup_strerror(code));
	}
}

const char *lcg_controller_name(const struct hierarchy *hierarchy,
				enum hierarchy_controller controller)
{
	static const char *const names[CONTROLLER_COUNT] = {
		[CONTROLLER_CPU] = "cpu",         [CONTROLLER_CPUACCT] = "cpuacct",
		[CONTROLLER_CPUSET] = "cpuset",   [CONTROLLER_MEMORY] = "memory",
		[CONTROLLER_PIDS] = "pids",       [CONTROLLER_IO] = "blkio",
		[CONTROLLER_DEVICES] = "devices", [CONTROLLER_FREEZER] = "freezer",
	};

	if (controller == CONTROLLER_IO && hierarchy_is_v2(hierarchy, controller))
		return "io";
	return names[controller];
}

/* The library takes the first mount in /proc/mounts, we the first whose root is the hierarchy's. */
static int check_mount(const struct hierarchy *hierarchy, enum hierarchy_controller controller,
		       struct err *err)
{
	const char *name = lcg_controller_name(hierarchy, controller);
	const char *ours = hierarchy->mounts[hierarchy->where[controller]].path;
	cleanup_free char *theirs = NULL;
	int code = cgroup_get_subsys_mount_point(name, &theirs);

	if (code)
		return err_set(err, ERR_INTERNAL, EIO,
			       "cannot use cgroup controller %s: libcgroup does not see it: %s",
			       name, cgroup_strerror(code));
	if (strcmp(theirs, ours) != 0)
		return err_set(
			err, ERR_INTERNAL, EIO,
			"cannot use cgroup controller %s: mounted at %s and at %s; unmount one",
			name, ours, theirs);
	return 0;
}

int lcg_init(const struct hierarchy *hierarchy, struct err *err)
{
	int code = cgroup_init();

	if (code)
		return err_set(err, ERR_INTERNAL, EIO, "cannot start libcgroup: %s",
			       cgroup_strerror(code));
	for (int i = 0; i < CONTROLLER_COUNT; i++) {
		int r = hierarchy->where[i] < 0 ? 0 : check_mount(hierarchy, i, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static struct cgroup_controller *controller_of(struct cgroup *group, const char *name)
{
	struct cgroup_controller *found = cgroup_get_controller(group, name);

	return found ? found : cgroup_add_controller(group, name);
}

/* Add what @setting says; its controller is added as needed. */
static int add_setting(struct cgroup *group, const struct hierarchy *hierarchy,
		       const struct setting *setting)
{
	const char *name = lcg_controller_name(hierarchy, setting->controller);
	struct cgroup_controller *controller = controller_of(group, name);

	if (!controller || cgroup_add_value_string(controller, setting->file, setting->value))
		return -ENOMEM;
	return 0;
}

int lcg_create(const struct hierarchy *hierarchy, const char *path, uint32_t controllers,
	       const struct setting *settings, size_t count, struct err *err)
{
	cleanup_cgroup struct cgroup *group = cgroup_new_cgroup(path);
	int code;

	if (!group)
		return err_oom(err);
	for (int i = 0; i < CONTROLLER_COUNT; i++) {
		if (hierarchy->where[i] >= 0 && (controllers & (1u << i)) &&
		    !controller_of(group, lcg_controller_name(hierarchy, i)))
			return err_oom(err);
	}
	for (size_t i = 0; i < count; i++) {
		if (add_setting(group, hierarchy, &settings[i]) < 0)
			return err_oom(err);
	}
	/* 1: keep the owners, or every file of the group is looked at for nothing. */
	code = cgroup_create_cgroup(group, 1);
	return code ? lcg_failed(err, code, "make", path, "a value or directory") : 0;
}

int lcg_set(const struct hierarchy *hierarchy, const char *path, const struct setting *setting,
	    struct err *err)
{
	cleanup_cgroup struct cgroup *group = cgroup_new_cgroup(path);
	int code;

	if (!group || add_setting(group, hierarchy, setting) < 0)
		return err_oom(err);
	code = cgroup_modify_cgroup(group);
	return code ? lcg_failed(err, code, "set", path, setting->file) : 0;
}

/* The first controller that is used in the mount, or -1. */
static int any_controller(const struct hierarchy *hierarchy, size_t mount)
{
	for (int i = 0; i < CONTROLLER_COUNT; i++) {
		if (hierarchy->where[i] == (int)mount)
			return i;
	}
	return -1;
}

int lcg_remove(const struct hierarchy *hierarchy, const char *path, size_t mount, struct err *err)
{
	cleanup_cgroup struct cgroup *group = NULL;
	const struct hierarchy_mount *where = &hierarchy->mounts[mount];
	int controller = any_controller(hierarchy, mount);
	cleanup_free char *full = NULL;
	int code = 0;

	if (asprintf(&full, "%s/%s", where->path, path) < 0) {
		full = NULL;
		return err_oom(err);
	}
	if (controller >= 0) {
		group = cgroup_new_cgroup(path);
		if (!group ||
		    !cgroup_add_controller(group, lcg_controller_name(hierarchy, controller)))
			return err_oom(err);
		code = cgroup_delete_cgroup_ext(group, CGFLAG_DELETE_EMPTY_ONLY);
	} else if (rmdir(full) < 0 && errno != ENOENT) { /* a mount that the library does not see */
		return errno == EBUSY ? -EBUSY
				      : err_set(err, ERR_INTERNAL, errno,
						"cannot remove cgroup %s: %m", full);
	}
	if (faccessat(AT_FDCWD, full, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
		return 0;
	if (code && code != ECGNONEMPTY && !(code == ECGOTHER && cgroup_get_last_errno() == EBUSY))
		return lcg_failed(err, code, "remove", path, "a directory");
	return -EBUSY;
}
