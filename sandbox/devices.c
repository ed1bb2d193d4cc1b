#include "sandbox/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/rootfs.h"

static const struct {
	const char *name;
	unsigned int minor;
	unsigned int major;
} nodes[] = {
	{ "null", 3, 1 },   { "zero", 5, 1 },    { "full", 7, 1 },
	{ "random", 8, 1 }, { "urandom", 9, 1 }, { "tty", 0, 5 },
};

static const struct {
	const char *name;
	const char *target;
} links[] = {
	{ "fd", "/proc/self/fd" },       { "stdin", "/proc/self/fd/0" },
	{ "stdout", "/proc/self/fd/1" }, { "stderr", "/proc/self/fd/2" },
	{ "ptmx", "pts/ptmx" },
};

static const char *const directories[] = { "pts", "shm", "mqueue" };

static int make_entries(int dev_fd, uint32_t host_root)
{
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		if (mknodat(dev_fd, nodes[i].name, S_IFCHR | 0666,
			    makedev(nodes[i].major, nodes[i].minor)) < 0)
			return -errno;
		if (host_root &&
		    fchownat(dev_fd, nodes[i].name, host_root, host_root, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
	}
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		if (symlinkat(links[i].target, dev_fd, links[i].name) < 0)
			return -errno;
	}
	for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
		if (mkdirat(dev_fd, directories[i], 0755) < 0)
			return -errno;
	}
	return 0;
}

int devices_prepare(uint32_t host_root, struct err *err)
{
	char uid[32], gid[32];
	const char *const options[] = {
		"size=65536", "nr_inodes=128", "mode=0755", uid, gid, NULL
	};
	cleanup_fd int dev_fd = -1;
	int r;

	(void)snprintf(uid, sizeof(uid), "uid=%u", host_root);
	(void)snprintf(gid, sizeof(gid), "gid=%u", host_root);
	dev_fd = rootfs_new_mount("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
	if (dev_fd < 0)
		return err_prefix(err, dev_fd, "/dev");
	r = make_entries(dev_fd, host_root);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "/dev: cannot make the device nodes: %m");
	return take_fd(&dev_fd);
}

static int attach_new(int dev_fd, const char *name, const char *type, const char *const *options,
		      unsigned int attributes, struct err *err)
{
	cleanup_fd int mount_fd = rootfs_new_mount(type, options, attributes, err);
	cleanup_fd int target_fd = -1;

	if (mount_fd < 0)
		return err_prefix(err, mount_fd, "/dev/%s", name);
	target_fd = openat(dev_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (target_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "/dev/%s: %m", name);
	return rootfs_attach(mount_fd, target_fd, name, err);
}

int devices_attach_kernel(int dev_fd, uint64_t shm_bytes, struct err *err)
{
	static const char *const pts_options[] = { "newinstance", "ptmxmode=0666", "mode=0620",
						   "gid=5", NULL };
	char size[40], inodes[40];
	const char *const shm_options[] = { "mode=1777", size, inodes, NULL };
	int r;

	(void)snprintf(size, sizeof(size), "size=%llu", (unsigned long long)shm_bytes);
	/* One for each page; an inode is kernel memory that the size does not bound. */
	(void)snprintf(inodes, sizeof(inodes), "nr_inodes=%llu",
		       (unsigned long long)(shm_bytes / 4096 + 16));
	r = attach_new(dev_fd, "pts", "devpts", pts_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
		       err);
	if (r < 0)
		return r;
	r = attach_new(dev_fd, "shm", "tmpfs", shm_options,
		       MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, err);
	if (r < 0)
		return r;
	return attach_new(dev_fd, "mqueue", "mqueue", NULL,
			  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, err);
}

int devices_open_null(int dev_fd, int flags)
{
	int fd = openat(dev_fd, "null", flags | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}
