#include "sandbox/proc_mask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/rootfs.h"

/* Where rootfs_enter() attaches what proc_mask_prepare() made. */
#define COVER_FILE "/proc/file"
#define COVER_DIR  "/proc/dir"

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

/*
 * What is hidden lies in file systems of the kernel that were made for this container, below the working
 * directory: nobody else has them, and no image decides where a name in them leads. So mount(2) may look them up,
 * which is one call where a detached mount for each is five, with a mount namespace of its own to hold it.
 */
static bool is_missing(const char *path)
{
	return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
	       (errno == ENOENT || errno == ENOTDIR);
}

static int cover(const char *with, const char *path, struct err *err)
{
	int errnum;

	if (mount(with, path, NULL, MS_BIND, NULL) == 0)
		return 0;
	errnum = errno;
	return is_missing(path) ? 0
				: err_set(err, ERR_INTERNAL, errnum, "cannot hide %s: %m", path);
}

static int make_read_only(const char *path, struct err *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | LOCKED_DOWN };
	int errnum;

	if (mount(path, path, NULL, MS_BIND, NULL) == 0 &&
	    mount_setattr(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &attr, sizeof(attr)) == 0)
		return 0;
	errnum = errno;
	return is_missing(path) ? 0
				: err_set(err, ERR_INTERNAL, errnum,
					  "/proc/%s: cannot make it read-only: %m", path);
}

/* That the covers are where rootfs_enter() attached them: what is missing must be what is to be hidden. */
static int check_covers(int mask_fd, struct err *err)
{
	struct stat mask, file, dir;

	if (fstat(mask_fd, &mask) < 0 || stat(COVER_FILE, &file) < 0 || stat(COVER_DIR, &dir) < 0)
		return err_set(err, ERR_INTERNAL, errno, "masks: they are not there: %m");
	if (file.st_dev != mask.st_dev || dir.st_dev != mask.st_dev)
		return err_set(err, ERR_INTERNAL, EXDEV, "masks: something else is there");
	return 0;
}

static int enter(int fd, struct err *err)
{
	return fchdir(fd) < 0 ? err_set(err, ERR_INTERNAL, errno, "masks: %m") : 0;
}

static int hide_in_proc(int proc_fd, struct err *err)
{
	int r = enter(proc_fd, err);

	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(proc_read_only); i++)
		r = make_read_only(proc_read_only[i], err);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(proc_files); i++)
		r = cover(COVER_FILE, proc_files[i], err);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(proc_directories); i++)
		r = cover(COVER_DIR, proc_directories[i], err);
	return r;
}

/* How hot each processor ran tells of the others on it. */
static int hide_thermal(int cpus, struct err *err)
{
	int r = 0;

	for (int cpu = 0; r >= 0 && cpu < cpus; cpu++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "devices/system/cpu/cpu%d/thermal_throttle",
			       cpu);
		r = cover(COVER_DIR, path, err);
	}
	return r;
}

int proc_mask_apply(int mask_fd, int proc_fd, int sys_fd, bool strict, int cpus, struct err *err)
{
	int r = check_covers(mask_fd, err);

	if (r >= 0 && !strict)
		r = hide_in_proc(proc_fd, err);
	if (r >= 0)
		r = enter(sys_fd, err);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(sys_directories); i++)
		r = cover(COVER_DIR, sys_directories[i], err);
	if (r >= 0)
		r = hide_thermal(cpus, err);
	return r;
}
