/*
 * Which group is ours to divide. systemd owns the tree on a host that it runs: below a unit with
 * Delegate=yes it lets be, everywhere else it may move, remove or re-weight what it finds.
 *
 * systemd 252 cannot start a service whose group has controllers enabled for its children, as ours has
 * while workloads live (status 219/CGROUP: the kernel permits no process there). So the group that
 * holds the workloads must be of another unit than the daemon that is restarted; @base names it.
 */
#include "sandbox/hierarchy_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>
#include <systemd/sd-daemon.h>

static bool is_component(const char *text, size_t length)
{
	if (length == 0 || length > 200 || text[0] == '-')
		return false;
	if (text[0] == '.' && (length == 1 || (length == 2 && text[1] == '.')))
		return false;
	return strspn(text,
		      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@:-") >=
	       length;
}

bool hierarchy_is_base_path(const char *path)
{
	if (path[0] != '/' || strlen(path) > 300)
		return false;
	while (*path) {
		size_t length = strcspn(path + 1, "/");

		if (!is_component(path + 1, length))
			return false;
		path += 1 + length;
	}
	return true;
}

char *hierarchy_own_group(FILE *proc_cgroup, const char *controller)
{
	cleanup_free char *text = NULL;
	size_t size = 0;

	while (getline(&text, &size, proc_cgroup) > 0) {
		char *names = strchr(text, ':'), *path = names ? strchr(names + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		if (strcmp(names + 1, controller) == 0)
			return strdup(path);
	}
	return NULL;
}

/* After a restart that kept the process (re-exec) it sits one group down. */
static void strip_supervisor(char *path)
{
	char *last = strrchr(path, '/');

	if (last && strcmp(last + 1, HIERARCHY_SUPERVISOR) == 0)
		*last = '\0';
}

/* systemd marks the directory that it delegates; with which name depends on its version. */
static bool is_delegated(const char *mount, const char *path)
{
	static const char *const names[] = { "trusted.delegate", "user.delegate" };
	cleanup_free char *full = NULL;
	char value;

	if (asprintf(&full, "%s%s", mount, path) < 0) {
		full = NULL;
		return false;
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (lgetxattr(full, names[i], &value, 1) == 1 && value == '1')
			return true;
	}
	return false;
}

/* @path or a group above it. */
static bool is_below_delegated(const char *mount, const char *path)
{
	char part[512];
	char *slash;

	(void)snprintf(part, sizeof(part), "%s", path);
	while ((slash = strrchr(part, '/')) != NULL) {
		if (part[1] && is_delegated(mount, part))
			return true;
		*slash = '\0';
	}
	return false;
}

static int own_unit(const char *controller, char **ret_path, struct err *err)
{
	cleanup_file FILE *file = fopen("/proc/self/cgroup", "re");
	char *path;

	if (!file)
		return err_set(err, ERR_INTERNAL, errno, "cannot open /proc/self/cgroup: %m");
	path = hierarchy_own_group(file, controller);
	if (!path)
		return err_set(err, ERR_INTERNAL, ENOENT,
			       "cannot find the own cgroup in /proc/self/cgroup");
	strip_supervisor(path);
	*ret_path = path;
	return 0;
}

int hierarchy_choose_base(struct hierarchy *hierarchy, const struct hierarchy_options *options,
			  const char *systemd_mount, struct err *err)
{
	const char *mount = systemd_mount ? systemd_mount : "";
	const char *controller = "name=systemd";
	bool systemd = sd_booted() > 0;
	int r;

	if (hierarchy->unified >= 0) {
		mount = hierarchy->mounts[hierarchy->unified].path;
		controller = "";
	}
	if (options->base) {
		hierarchy->base = strdup(options->base);
	} else if (systemd) {
		r = own_unit(controller, &hierarchy->base, err);
		if (r < 0)
			return r;
	} else {
		hierarchy->base = strdup("/berth");
	}
	if (!hierarchy->base)
		return err_oom(err);
	if (!hierarchy_is_base_path(hierarchy->base))
		return err_set(err, ERR_INVALID, EINVAL,
			       "cannot use cgroup %s as a base: a path like /berth is needed",
			       hierarchy->base);
	hierarchy->delegated = is_delegated(mount, hierarchy->base);
	if (systemd && !options->trust_base && !is_below_delegated(mount, hierarchy->base))
		return err_set(
			err, ERR_PRECONDITION, EPERM,
			"cannot use cgroup %s as a base: systemd owns it; set Delegate=yes in its unit",
			hierarchy->base);
	return 0;
}
