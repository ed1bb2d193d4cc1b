#include "sandbox/features.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sys/capability.h>

#include "proto/cleanup.h"
#include "sandbox/path.h"

#ifndef __NR_landlock_create_ruleset
#define __NR_landlock_create_ruleset 444
#endif

static bool has_mount_setattr(void)
{
	/* A descriptor that is none: EBADF from a kernel that has the call. */
	return syscall(SYS_mount_setattr, -1, "", AT_EMPTY_PATH, NULL, 0) < 0 && errno != ENOSYS;
}

static bool has_new_mounts(void)
{
	return syscall(SYS_move_mount, -1, "", -1, "", 0) < 0 && errno != ENOSYS &&
	       syscall(SYS_open_tree, -1, "", 0) < 0 && errno != ENOSYS;
}

static bool has_seccomp_notify(void)
{
	struct seccomp_notif_sizes sizes;

	return syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) == 0;
}

static bool has_pidfd_wait(void)
{
	siginfo_t end;
	cleanup_fd int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	/* ECHILD: understood, and we are not our own child. */
	return fd >= 0 && waitid(P_PIDFD, (id_t)fd, &end, WEXITED | WNOHANG) < 0 && errno == ECHILD;
}

static bool has_clone3(void)
{
	return syscall(SYS_clone3, NULL, 0) < 0 && errno != ENOSYS;
}

static bool has_close_range(void)
{
	return syscall(SYS_close_range, ~0U, 0U, 0) < 0 && errno == EINVAL;
}

static bool has_user_namespaces(void)
{
	cleanup_file FILE *file = fopen("/proc/sys/user/max_user_namespaces", "re");
	unsigned long max = 0;

	return file && fscanf(file, "%lu", &max) == 1 && max > 0;
}

/* Of this release: who asks may be of another one. */
static bool has_probes(void)
{
	return true;
}

static bool has_landlock(void)
{
	return syscall(__NR_landlock_create_ruleset, NULL, 0, 1U) > 0;
}

/* Hard links behind Landlock, and overlayfs of id-mapped layers, both came with Linux 5.19. layer_probe() tries. */
static bool has_images(void)
{
	cleanup_fd int fd = fsopen("overlay", FSOPEN_CLOEXEC);

	return fd >= 0 && syscall(__NR_landlock_create_ruleset, NULL, 0, 1U) >= 2;
}

static bool may_raise_limits(void)
{
	return cap_get_bound(CAP_SYS_RESOURCE) == 1;
}

static bool may_load_programs(void)
{
	return cap_get_bound(CAP_BPF) == 1 || cap_get_bound(CAP_SYS_ADMIN) == 1;
}

static struct {
	bool (*probe)(void);
	bool needed;
	struct host_feature feature;
} probes[] = {
	{ has_clone3,
	  true,
	  { "clone3", false,
	    "processes are born in their namespaces and groups by it; it came with Linux 5.3" } },
	{ has_pidfd_wait,
	  true,
	  { "pidfd", false, "processes are never named by number alone; it came with Linux 5.4" } },
	{ has_close_range,
	  true,
	  { "close_range", false,
	    "no descriptor may leak into a workload; it came with Linux 5.9" } },
	{ has_new_mounts,
	  true,
	  { "move_mount", false, "mounts are made by descriptor; it came with Linux 5.2" } },
	{ has_mount_setattr,
	  true,
	  { "mount_setattr", false,
	    "root file systems are id-mapped by it; it came with Linux 5.12" } },
	{ has_seccomp_notify,
	  true,
	  { "seccomp_notify", false,
	    "denied calls are counted by it; it came with Linux 5.0 (CONFIG_SECCOMP_FILTER)" } },
	{ has_user_namespaces,
	  true,
	  { "user_namespaces", false,
	    "every workload has one: set user.max_user_namespaces, or the kernel lacks CONFIG_USER_NS" } },
	{ has_probes, false, { "probes", false, "" } },
	{ has_landlock,
	  false,
	  { "landlock", false, "the second fence around the daemon's own files is not there" } },
	{ has_images,
	  false,
	  { "images", false,
	    "layers of images need overlayfs, and Landlock of its second version (Linux 5.19)" } },
	{ has_images,
	  false,
	  { "writable-layers", false,
	    "a root made of layers is for reading here: mount a volume where the container writes" } },
	{ may_raise_limits,
	  false,
	  { "raise_limits", false,
	    "CAP_SYS_RESOURCE is missing: hard limits of processes cannot rise above the daemon's own, and oom scores not fall" } },
	{ may_load_programs,
	  false,
	  { "bpf", false,
	    "CAP_BPF is missing: device access is not filtered by the kernel on cgroup2" } },
};

static struct host_feature list[ARRAY_SIZE(probes)];

int features_probe(struct err *err)
{
	int r = path_check_kernel(err);

	if (geteuid() != 0)
		return err_set(
			err, ERR_DENIED, EPERM,
			"berth-sandboxd makes namespaces, mounts and control groups: start it as root");
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(probes); i++) {
		list[i] = probes[i].feature;
		list[i].supported = probes[i].probe();
		if (list[i].supported)
			list[i].sentence = "";
		else if (probes[i].needed)
			return err_set(err, ERR_UNSUPPORTED, ENOSYS, "this kernel has no %s: %s",
				       list[i].name, list[i].sentence);
	}
	return 0;
}

void features_found(const char *name, const struct err *why)
{
	static struct err reasons[ARRAY_SIZE(list)];

	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		if (strcmp(list[i].name, name) != 0 || !list[i].supported || why->kind == ERR_NONE)
			continue;
		reasons[i] = *why;
		list[i].supported = false;
		list[i].sentence = reasons[i].text;
	}
}

const struct host_feature *features_list(void)
{
	return list;
}

size_t features_count(void)
{
	return ARRAY_SIZE(list);
}
