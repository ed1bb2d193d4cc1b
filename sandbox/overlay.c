#include "sandbox/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/cleanup.h"

#define OPTIONS_MAX 4096 /* mount(2) takes a page */

/* By descriptor (Linux 6.13), of detached mounts (6.15). */
static int set_directories(int fs_fd, const struct overlay *overlay)
{
	const struct writable_layer *writable = overlay->writable;

	for (size_t i = 0; i < overlay->layer_count; i++)
		if (fsconfig(fs_fd, FSCONFIG_SET_FD, "lowerdir+", NULL, overlay->layers[i]) < 0)
			return -1;
	if (!writable)
		return fsconfig(fs_fd, FSCONFIG_SET_FLAG, "ro", NULL, 0);
	if (fsconfig(fs_fd, FSCONFIG_SET_FD, "upperdir", NULL, writable->upper_fd) < 0 ||
	    fsconfig(fs_fd, FSCONFIG_SET_FD, "workdir", NULL, writable->work_fd) < 0 ||
	    fsconfig(fs_fd, FSCONFIG_SET_STRING, "index", "off", 0) < 0)
		return -1;
	return fsconfig(fs_fd, FSCONFIG_SET_FLAG, "volatile", NULL, 0);
}

static int mount_by_descriptors(const struct overlay *overlay)
{
	cleanup_fd int fs_fd = fsopen("overlay", FSOPEN_CLOEXEC);

	if (fs_fd < 0 || fsconfig(fs_fd, FSCONFIG_SET_FLAG, "userxattr", NULL, 0) < 0 ||
	    set_directories(fs_fd, overlay) < 0 ||
	    fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -1;
	return fsmount(fs_fd, FSMOUNT_CLOEXEC,
		       MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			       (overlay->writable ? 0 : MOUNT_ATTR_RDONLY));
}

/* Names of descriptors have no character that the option would have to escape. */
static int list_names(const struct overlay *overlay, char options[static OPTIONS_MAX])
{
	const struct writable_layer *writable = overlay->writable;
	size_t length = 0;

	if (writable)
		length = (size_t)snprintf(
			options, OPTIONS_MAX,
			"volatile,index=off,upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d,",
			writable->upper_fd, writable->work_fd);
	length += (size_t)snprintf(options + length, OPTIONS_MAX - length, "userxattr,lowerdir=");
	for (size_t i = 0; i < overlay->layer_count && length < OPTIONS_MAX; i++)
		length += (size_t)snprintf(options + length, OPTIONS_MAX - length,
					   "%s/proc/self/fd/%d", i ? ":" : "", overlay->layers[i]);
	if (length >= OPTIONS_MAX) {
		errno = E2BIG;
		return -1;
	}
	return 0;
}

/* In a mount namespace of our own, where everything lies on "/", which "/" itself does not see. The overlay is
 * taken out of it as a clone; its layers stay with it. */
static int mount_in_namespace(const struct overlay *overlay)
{
	const struct writable_layer *writable = overlay->writable;
	unsigned long flags = MS_NOSUID | MS_NODEV | (writable ? 0 : MS_RDONLY);
	struct mount_attr attr = { .propagation = MS_PRIVATE };
	char options[OPTIONS_MAX];

	if (mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &attr, sizeof(attr)) < 0 ||
	    list_names(overlay, options) < 0)
		return -1;
	for (size_t i = 0; i < overlay->mount_count; i++)
		if (move_mount(overlay->mounts[i], "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
			return -1;
	if (writable &&
	    move_mount(writable->mount_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -1;
	if (mount("overlay", "/proc", "overlay", flags, options) < 0)
		return -1;
	return open_tree(AT_FDCWD, "/proc", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

static int mount_by_names(const struct overlay *overlay)
{
	cleanup_fd int home_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	cleanup_fd int fd = -1;
	int why;

	if (home_fd < 0 || unshare(CLONE_NEWNS) < 0)
		return -1;
	fd = mount_in_namespace(overlay);
	why = errno;
	if (setns(home_fd, CLONE_NEWNS) < 0)
		return -1;
	errno = why;
	return take_fd(&fd);
}

int overlay_mount(const struct overlay *overlay, struct err *err)
{
	int fd = mount_by_descriptors(overlay);

	if (fd < 0)
		fd = mount_by_names(overlay);
	if (fd < 0)
		return err_set(
			err, errno == ENODEV || errno == EINVAL ? ERR_UNSUPPORTED : ERR_INTERNAL,
			errno,
			"cannot put %zu layers together as an overlayfs with mapped ids (Linux 5.19): %m",
			overlay->layer_count);
	return fd;
}
