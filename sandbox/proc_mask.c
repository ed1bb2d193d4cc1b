#include "sandbox/proc_mask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/path.h"
#include "sandbox/rootfs.h"

#define LOCKED_DOWN (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

static const char *const proc_files[] = {
	/* memory of the kernel and of others; addresses that help an exploit */
	"kcore",
	"kallsyms",
	"kpagecount",
	"kpageflags",
	"kpagecgroup",
	"vmallocinfo",
	"slabinfo",
	"pagetypeinfo",
	"config.gz",
	/* the host's log and keys */
	"kmsg",
	"keys",
	"key-users",
	/* what the host and its other workloads are doing */
	"latency_stats",
	"timer_list",
	"timer_stats",
	"sched_debug",
	"interrupts",
};
static const char *const proc_directories[] = { "acpi", "asound", "scsi" };
static const char *const proc_read_only[] = { "bus", "fs", "irq", "sys", "sysrq-trigger" };
static const char *const sys_directories[] = {
	"firmware",
	"devices/virtual/powercap", /* power draw tells what others compute (CVE-2020-8694) */
	"class/powercap",
	"kernel/debug",
	"kernel/tracing",
	"kernel/security",
};

int proc_mask_prepare(struct err *err)
{
	static const char *const options[] = { "size=4096", "nr_inodes=8", "mode=0555", NULL };
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	cleanup_fd int mask_fd = rootfs_new_mount("tmpfs", options, LOCKED_DOWN, err);
	cleanup_fd int file_fd = -1;

	if (mask_fd < 0)
		return err_prefix(err, mask_fd, "masks");
	file_fd = openat(mask_fd, "file", O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0444);
	if (file_fd < 0 || mkdirat(mask_fd, "dir", 0555) < 0)
		return err_set(err, ERR_INTERNAL, errno, "masks: cannot make them: %m");
	if (mount_setattr(mask_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_set(err, ERR_INTERNAL, errno, "masks: cannot make them read-only: %m");
	return take_fd(&mask_fd);
}

int proc_mask_new_proc(bool strict, struct err *err)
{
	static const char *const options[] = { "hidepid=ptraceable", "subset=pid", NULL };
	int fd = rootfs_new_mount("proc", strict ? options : NULL, LOCKED_DOWN, err);

	return fd < 0 ? err_prefix(err, fd, "/proc") : fd;
}

int proc_mask_new_sys(struct err *err)
{
	int fd = rootfs_new_mount("sysfs", NULL, LOCKED_DOWN | MOUNT_ATTR_RDONLY, err);

	return fd < 0 ? err_prefix(err, fd, "/sys") : fd;
}

/* The place to cover below @dir_fd, whose own mount it must be on. -ENOENT where this kernel has none. */
static int open_target(int dir_fd, const char *path)
{
	return path_open(dir_fd, path, PATH_BENEATH | PATH_NO_XDEV, O_PATH | O_NOFOLLOW, 0);
}

static int cover(int mask_fd, const char *with, int dir_fd, const char *path, struct err *err)
{
	cleanup_fd int target_fd = open_target(dir_fd, path);
	cleanup_fd int cover_fd = -1;

	if (target_fd == -ENOENT || target_fd == -ENOTDIR)
		return 0;
	if (target_fd < 0)
		return err_set(err, ERR_INTERNAL, -target_fd, "cannot hide %s: %m", path);
	cover_fd = open_tree(mask_fd, with, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (cover_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot hide %s: %m", path);
	return rootfs_attach(cover_fd, target_fd, path, err);
}

static int make_read_only(int proc_fd, const char *path, struct err *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | LOCKED_DOWN };
	cleanup_fd int target_fd = open_target(proc_fd, path);
	cleanup_fd int clone_fd = -1;

	if (target_fd == -ENOENT)
		return 0;
	if (target_fd < 0)
		return err_set(err, ERR_INTERNAL, -target_fd, "/proc/%s: %m", path);
	clone_fd = open_tree(target_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (clone_fd < 0 || mount_setattr(clone_fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_set(err, ERR_INTERNAL, errno, "/proc/%s: cannot make it read-only: %m",
			       path);
	return rootfs_attach(clone_fd, target_fd, path, err);
}

static int hide_in_proc(int mask_fd, int proc_fd, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(proc_read_only); i++)
		r = make_read_only(proc_fd, proc_read_only[i], err);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(proc_files); i++)
		r = cover(mask_fd, "file", proc_fd, proc_files[i], err);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(proc_directories); i++)
		r = cover(mask_fd, "dir", proc_fd, proc_directories[i], err);
	return r;
}

/* How hot each processor ran tells of the others on it. */
static int hide_thermal(int mask_fd, int sys_fd, int cpus, struct err *err)
{
	int r = 0;

	for (int cpu = 0; r >= 0 && cpu < cpus; cpu++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "devices/system/cpu/cpu%d/thermal_throttle",
			       cpu);
		r = cover(mask_fd, "dir", sys_fd, path, err);
	}
	return r;
}

int proc_mask_apply(int mask_fd, int proc_fd, int sys_fd, bool strict, int cpus, struct err *err)
{
	int r = 0;

	if (!strict)
		r = hide_in_proc(mask_fd, proc_fd, err);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(sys_directories); i++)
		r = cover(mask_fd, "dir", sys_fd, sys_directories[i], err);
	if (r >= 0)
		r = hide_thermal(mask_fd, sys_fd, cpus, err);
	return r;
}
