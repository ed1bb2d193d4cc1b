#include "sandbox/layer_root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/cleanup.h"
#include "sandbox/layer_store.h"
#include "sandbox/overlay.h"
#include "sandbox/path.h"
#include "sandbox/rootfs.h"

static int clone_one(int store_fd, const char *path, int userns_fd, struct err *err)
{
	cleanup_fd int fd = path_open(store_fd, path, PATH_BENEATH | PATH_NO_XDEV,
				      O_PATH | O_DIRECTORY, 0);

	if (fd < 0)
		return err_set(err, fd == -ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, -fd,
			       "layer %.*s: cannot open it: %m", (int)strcspn(path, "/"), path);
	return rootfs_clone(fd, userns_fd, ROOTFS_READ_ONLY, "layer", err);
}

static int clone_all(int store_fd, const struct layer_root *root, const char *bottom, int userns_fd,
		     int *fds, struct err *err)
{
	for (size_t i = 0; i < root->count; i++) {
		char path[LAYER_NAME_MAX];

		(void)snprintf(path, sizeof(path), "%s/" UNPACK_TREE,
			       root->hexes[root->count - 1 - i]);
		fds[i] = clone_one(store_fd, path, userns_fd, err);
		if (fds[i] < 0)
			return fds[i];
	}
	fds[root->count] = clone_one(store_fd, bottom, userns_fd, err);
	return fds[root->count] < 0 ? fds[root->count] : 0;
}

/* Its root looks as that of the highest layer does. */
static int make_writable(int store_fd, const struct layer_root *root, int top_fd,
			 struct writable_layer *ret, struct err *err)
{
	struct stat look;

	if (fstat(top_fd, &look) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot look at a layer: %m");
	return writable_layer_make(store_fd, root->writable_bytes, root->writable_inodes, &look,
				   ret, err);
}

static int mount_all(int store_fd, const struct layer_root *root, const int *fds,
		     int *ret_writable_fd, struct err *err)
{
	cleanup_writable_layer struct writable_layer writable = WRITABLE_LAYER_EMPTY;
	int r = 0;

	if (root->writable_bytes == 0)
		return overlay_mount(fds, root->count + 1, NULL, err);
	r = make_writable(store_fd, root, fds[0], &writable, err);
	if (r == 0)
		r = overlay_mount(fds, root->count + 1, &writable, err);
	if (r >= 0)
		*ret_writable_fd = take_fd(&writable.mount_fd);
	return r;
}

static int mount_over(int store_fd, const struct layer_root *root, const char *bottom,
		      int userns_fd, int *ret_writable_fd, struct err *err)
{
	int fds[OVERLAY_LAYERS_MAX + 1];
	int r;

	*ret_writable_fd = -1;
	if (root->count == 0 || root->count > OVERLAY_LAYERS_MAX)
		return err_set(err, ERR_INVALID, EINVAL, "layers: %zu, from 1 to %d", root->count,
			       OVERLAY_LAYERS_MAX);
	for (size_t i = 0; i <= root->count; i++)
		fds[i] = -1;
	r = clone_all(store_fd, root, bottom, userns_fd, fds, err);
	if (r == 0)
		r = mount_all(store_fd, root, fds, ret_writable_fd, err);
	for (size_t i = 0; i <= root->count; i++)
		fd_close(&fds[i]);
	return r;
}

int layer_root_mount(int store_fd, const struct layer_root *root, int userns_fd,
		     int *ret_writable_fd, struct err *err)
{
	return mount_over(store_fd, root, LAYER_BASE, userns_fd, ret_writable_fd, err);
}

int layer_volume_mount(int store_fd, const char *const *hexes, size_t count, int userns_fd,
		       struct err *err)
{
	const struct layer_root files = { .hexes = hexes, .count = count };
	int none_fd;

	return mount_over(store_fd, &files, LAYER_EMPTY, userns_fd, &none_fd, err);
}
