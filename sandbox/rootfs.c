#include "sandbox/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/path.h"

static int clone_failed(struct err *err, int errnum, int userns_fd, const char *what)
{
	if (errnum == EINVAL && userns_fd >= 0)
		return err_set(
			err, ERR_UNSUPPORTED, errnum,
			"%s: its file system cannot map ids on this kernel (mount_setattr(2) lists those that can; ext4, xfs and btrfs do)",
			what);
	return err_set(err, ERR_INTERNAL, errnum, "%s: cannot set the attributes of its mount: %m",
		       what);
}

int rootfs_clone(int source_fd, int userns_fd, unsigned int flags, const char *what,
		 struct err *err)
{
	unsigned int recursive = flags & ROOTFS_RECURSIVE ? AT_RECURSIVE : 0;
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
				   .propagation = MS_PRIVATE };
	cleanup_fd int mount_fd = -1;

	mount_fd = open_tree(source_fd, "",
			     AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
	if (mount_fd < 0)
		return err_set(err, errno == ENOENT ? ERR_START : ERR_INTERNAL, errno,
			       "%s: cannot clone its mount: %m", what);
	if (flags & ROOTFS_READ_ONLY)
		attr.attr_set |= MOUNT_ATTR_RDONLY;
	if (userns_fd >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)userns_fd;
	}
	if (mount_setattr(mount_fd, "", AT_EMPTY_PATH | recursive, &attr, sizeof(attr)) < 0)
		return clone_failed(err, errno, userns_fd, what);
	return take_fd(&mount_fd);
}

static int option_set(int fs_fd, const char *option)
{
	const char *equals = strchr(option, '=');
	char key[32];

	if (!equals)
		return fsconfig(fs_fd, FSCONFIG_SET_FLAG, option, NULL, 0);
	if ((size_t)(equals - option) >= sizeof(key)) {
		errno = EINVAL;
		return -1;
	}
	memcpy(key, option, (size_t)(equals - option));
	key[equals - option] = '\0';
	return fsconfig(fs_fd, FSCONFIG_SET_STRING, key, equals + 1, 0);
}

int rootfs_new_mount(const char *type, const char *const *options, unsigned int attributes,
		     struct err *err)
{
	cleanup_fd int fs_fd = fsopen(type, FSOPEN_CLOEXEC);
	int mount_fd;

	if (fs_fd < 0)
		return err_set(err, ERR_UNSUPPORTED, errno, "cannot make a %s: %m", type);
	for (size_t i = 0; options && options[i]; i++) {
		if (option_set(fs_fd, options[i]) < 0)
			return err_set(err, ERR_INTERNAL, errno, "cannot make a %s with \"%s\": %m",
				       type, options[i]);
	}
	if (fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot make a %s: %m", type);
	mount_fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, attributes);
	if (mount_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot mount a %s: %m", type);
	return mount_fd;
}

/*
 * The copy of the host's mounts is of use only until pivot_root(2); made private first, as in the
 * host's own user namespace it would otherwise share what we do with the host. Attached to "/" the new
 * root lies directly on the old one: rootfs_pivot() counts on it. The masks may go anywhere but there.
 */
int rootfs_enter(int mask_fd, int root_fd, struct err *err)
{
	struct mount_attr attr = { .propagation = MS_PRIVATE };

	if (unshare(CLONE_NEWNS | CLONE_NEWCGROUP) < 0)
		return err_set(err, errno == ENOSPC ? ERR_EXHAUSTED : ERR_INTERNAL, errno,
			       "cannot make a mount and a cgroup namespace: %m");
	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr)) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot make the mounts private: %m");
	if (move_mount(mask_fd, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    move_mount(root_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot mount the root file system: %m");
	return 0;
}

int rootfs_attach(int mount_fd, int target_fd, const char *what, struct err *err)
{
	if (move_mount(mount_fd, "", target_fd, "",
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot mount %s: %m", what);
	return 0;
}

int rootfs_target(int root_fd, const char *path, bool directory, struct err *err)
{
	struct err why = { 0 };
	int fd = directory ? path_make_dir(root_fd, path, &why)
			   : path_make_file(root_fd, path, &why);

	if (fd >= 0)
		return fd;
	if (fd == -EROFS)
		return err_set(
			err, ERR_START, EROFS,
			"the root file system has no %s %s to mount on, and is read-only: add it to the root file system",
			directory ? "directory" : "file", path);
	if (err)
		*err = why;
	return fd;
}

static int mount_id(int dir_fd, const char *path, int flags, uint64_t *ret)
{
	struct statx stx;

	if (statx(dir_fd, path, flags, STATX_MNT_ID, &stx) < 0)
		return -errno;
	if (!(stx.stx_mask & STATX_MNT_ID))
		return -EOPNOTSUPP;
	*ret = stx.stx_mnt_id;
	return 0;
}

/* ".." of the root ends on the topmost of what is mounted there: anything but our own mount would be the host's
 * file system, out of sight, but where setns(2) would lead. */
static int check_nothing_above(int root_fd, struct err *err)
{
	uint64_t ours, topmost;
	int r = mount_id(root_fd, "", AT_EMPTY_PATH, &ours);

	if (r >= 0)
		r = mount_id(AT_FDCWD, "/..", 0, &topmost);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot look at the new root: %m");
	if (ours != topmost)
		return err_set(err, ERR_INTERNAL, EBUSY,
			       "something is still mounted over the new root");
	return 0;
}

int rootfs_pivot(int root_fd, struct err *err)
{
	if (fchdir(root_fd) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot enter the root file system: %m");
	/* The old root is stacked on the new one by this; the second call takes it away. */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot change the root: %m");
	if (umount2(".", MNT_DETACH) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot let go of the host's mounts: %m");
	if (chdir("/") < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot enter the root: %m");
	return check_nothing_above(root_fd, err);
}

/* getcwd(2) says "(unreachable)" for a directory that is not below the root (CVE-2024-21626). */
static int check_directory(const char *path, struct err *err)
{
	char where[PATH_MAX];

	if (syscall(SYS_getcwd, where, sizeof(where)) < 0)
		return err_set(err, ERR_START, errno, "working directory %s: it has no name: %m",
			       path);
	if (where[0] != '/')
		return err_set(err, ERR_DENIED, EXDEV,
			       "working directory %s lies outside the root file system", path);
	return 0;
}

int rootfs_chdir(const char *path, struct err *err)
{
	cleanup_fd int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int fd = -1;

	if (root_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open the root: %m");
	fd = path_open(root_fd, path, PATH_IN_ROOT, O_PATH | O_DIRECTORY, 0);
	if (fd == -ENOENT)
		return err_set(err, ERR_START, ENOENT,
			       "working directory %s does not exist in the root file system", path);
	if (fd == -ELOOP)
		return err_set(err, ERR_START, ELOOP,
			       "working directory %s goes through a link that is not followed",
			       path);
	if (fd < 0)
		return err_set(err, ERR_START, -fd, "working directory %s: %m", path);
	if (fchdir(fd) < 0)
		return err_set(err, ERR_START, errno, "working directory %s: %m", path);
	return check_directory(path, err);
}
