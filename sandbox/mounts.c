#include "sandbox/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/path.h"
#include "sandbox/rootfs.h"

/* No link inside a volume is followed: a workload that can write there chooses none of its own mounts. */
static int open_source(const struct launch_mount *mount, struct err *err)
{
	int fd;

	if (!mount->sub_path || !mount->sub_path[0])
		return fcntl(mount->source_fd, F_DUPFD_CLOEXEC, 0);
	fd = path_open(mount->source_fd, mount->sub_path, PATH_BENEATH, O_PATH, 0);
	if (fd == -ELOOP)
		return err_set(err, ERR_START, ELOOP,
			       "mount at %s: %s leads over a symbolic link, and none is followed",
			       mount->target, mount->sub_path);
	if (fd < 0)
		return err_set(err, ERR_START, -fd, "mount at %s: the volume has no %s: %m",
			       mount->target, mount->sub_path);
	return fd;
}

int mounts_prepare(const struct launch_mount *mounts, size_t count, int userns_fd, int *ret_fds,
		   struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		unsigned int flags = ROOTFS_RECURSIVE;
		cleanup_fd int source_fd = open_source(&mounts[i], err);

		if (source_fd < 0)
			return source_fd;
		if (mounts[i].read_only)
			flags |= ROOTFS_READ_ONLY;
		ret_fds[i] = rootfs_clone(source_fd, mounts[i].map_ids ? userns_fd : -1, flags,
					  mounts[i].target, err);
		if (ret_fds[i] < 0)
			return err_prefix(err, ret_fds[i], "volume");
	}
	return 0;
}

static int is_directory(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? -errno : S_ISDIR(st.st_mode);
}

int mounts_attach(const struct launch_mount *mounts, size_t count, const int *fds, int root_fd,
		  struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		cleanup_fd int target_fd = -1;
		int directory = is_directory(fds[i]);
		int r;

		if (directory < 0)
			return err_set(err, ERR_INTERNAL, -directory, "volume for %s: %m",
				       mounts[i].target);
		/* Once more, though the daemon has checked it: the most expensive mistake here. */
		if (path_is_reserved(mounts[i].target))
			return err_set(
				err, ERR_INVALID, EINVAL,
				"mount at %s: nothing may be mounted over /proc, /sys or /dev",
				mounts[i].target);
		target_fd = rootfs_target(root_fd, mounts[i].target, directory, err);
		if (target_fd < 0)
			return target_fd;
		r = rootfs_attach(fds[i], target_fd, mounts[i].target, err);
		if (r < 0)
			return r;
	}
	return 0;
}
