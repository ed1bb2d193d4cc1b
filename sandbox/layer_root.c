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

static int open_one(int clone_fd, const char *path, struct err *err)
{
	int fd = path_open(clone_fd, path, PATH_BENEATH | PATH_NO_XDEV, O_PATH | O_DIRECTORY, 0);

	if (fd < 0)
		return err_set(err, fd == -ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, -fd,
			       "layer %.*s: cannot open it: %m", (int)strcspn(path, "/"), path);
	return fd;
}

static int open_all(int clone_fd, const struct layer_root *root, const char *bottom, int *fds,
		    struct err *err)
{
	for (size_t i = 0; i < root->count; i++) {
		char path[LAYER_NAME_MAX];

		(void)snprintf(path, sizeof(path), "%s/" UNPACK_TREE,
			       root->hexes[root->count - 1 - i]);
		fds[i] = open_one(clone_fd, path, err);
		if (fds[i] < 0)
			return fds[i];
	}
	fds[root->count] = open_one(clone_fd, bottom, err);
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

static int mount_all(int store_fd, const struct layer_root *root, struct overlay *overlay,
		     int *ret_writable_fd, struct err *err)
{
	cleanup_writable_layer struct writable_layer writable = WRITABLE_LAYER_EMPTY;
	int r = 0;

	if (root->writable_bytes == 0)
		return overlay_mount(overlay, err);
	overlay->writable = &writable;
	r = make_writable(store_fd, root, overlay->layers[0], &writable, err);
	if (r == 0)
		r = overlay_mount(overlay, err);
	if (r >= 0)
		*ret_writable_fd = take_fd(&writable.mount_fd);
	return r;
}

/* One mount of the store, with mapped ids, has them all. It is left open, to go with the process: whoever closes a
 * detached mount waits until no processor looks at it any more, and here a container waits to begin. */
static int mount_over(int store_fd, const struct layer_root *root, const char *bottom,
		      int userns_fd, int *ret_writable_fd, struct err *err)
{
	int clone_fd = rootfs_clone(store_fd, userns_fd, ROOTFS_READ_ONLY, "LayerDirectory", err);
	int fds[OVERLAY_LAYERS_MAX + 1];
	struct overlay overlay = { fds, root->count + 1, &clone_fd, 1, NULL };
	int r;

	*ret_writable_fd = -1;
	if (clone_fd < 0)
		return clone_fd;
	if (root->count == 0 || root->count > OVERLAY_LAYERS_MAX)
		return err_set(err, ERR_INVALID, EINVAL, "layers: %zu, from 1 to %d", root->count,
			       OVERLAY_LAYERS_MAX);
	for (size_t i = 0; i <= root->count; i++)
		fds[i] = -1;
	r = open_all(clone_fd, root, bottom, fds, err);
	if (r == 0)
		r = mount_all(store_fd, root, &overlay, ret_writable_fd, err);
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
