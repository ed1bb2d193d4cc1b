#include "sandbox/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/layer_root.h"
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

static int clone_volume(const struct launch_mount *mount, int userns_fd, struct err *err)
{
	cleanup_fd int source_fd = open_source(mount, err);
	int fd;

	if (source_fd < 0)
		return source_fd;
	fd = rootfs_clone(source_fd, userns_fd,
			  ROOTFS_RECURSIVE | (mount->read_only ? ROOTFS_READ_ONLY : 0),
			  mount->target, err);
	return fd < 0 ? err_prefix(err, fd, "volume") : fd;
}

int mounts_prepare(const struct launch_mount *mounts, size_t count, int store_fd, int userns_fd,
		   int *ret_fds, struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		const struct launch_mount *mount = &mounts[i];
		int ids_fd = mount->map_ids ? userns_fd : -1;

		ret_fds[i] = mount->layer_count
				     ? layer_volume_mount(store_fd, mount->layers,
							  mount->layer_count, ids_fd, err)
				     : clone_volume(mount, ids_fd, err);
		if (ret_fds[i] < 0)
			return ret_fds[i];
	}
	return 0;
}

static int is_directory(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? -errno : S_ISDIR(st.st_mode);
}

/* The name was checked, but the image's links decide where it leads: a target in one of the kernel's file
 * systems, or in our /dev, would put the volume's content in their place. */
static int check_target(int target_fd, int root_fd, const char *target, struct err *err)
{
	static const char *const kernels[] = { "proc",    "sys",     "dev",
					       "dev/pts", "dev/shm", "dev/mqueue" };
	struct stat at;

	if (fstat(target_fd, &at) < 0)
		return err_set(err, ERR_INTERNAL, errno, "mount at %s: %m", target);
	for (size_t i = 0; i < ARRAY_SIZE(kernels); i++) {
		cleanup_fd int fd = path_open(root_fd, kernels[i], PATH_BENEATH,
					      O_PATH | O_DIRECTORY, 0);
		struct stat kernel;

		if (fd < 0 || fstat(fd, &kernel) < 0)
			return err_set(err, ERR_INTERNAL, fd < 0 ? -fd : errno,
				       "mount at %s: cannot look at /%s: %m", target, kernels[i]);
		if (kernel.st_dev == at.st_dev)
			return err_set(
				err, ERR_START, EXDEV,
				"mount at %s: a symbolic link of the image leads it into /%s, where nothing may be mounted",
				target, kernels[i]);
	}
	return 0;
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
		r = check_target(target_fd, root_fd, mounts[i].target, err);
		if (r < 0)
			return r;
		r = rootfs_attach(fds[i], target_fd, mounts[i].target, err);
		if (r < 0)
			return r;
	}
	return 0;
}
