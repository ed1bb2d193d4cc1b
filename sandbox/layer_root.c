#include "sandbox/layer_root.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

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

static int clone_all(int store_fd, const char *const *hexes, size_t count, int userns_fd, int *fds,
		     struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		char path[LAYER_NAME_MAX];

		(void)snprintf(path, sizeof(path), "%s/" UNPACK_TREE, hexes[count - 1 - i]);
		fds[i] = clone_one(store_fd, path, userns_fd, err);
		if (fds[i] < 0)
			return fds[i];
	}
	fds[count] = clone_one(store_fd, LAYER_BASE, userns_fd, err);
	return fds[count] < 0 ? fds[count] : 0;
}

int layer_root_mount(int store_fd, const char *const *hexes, size_t count, int userns_fd,
		     struct err *err)
{
	int fds[OVERLAY_LAYERS_MAX + 1];
	int r;

	if (count == 0 || count > OVERLAY_LAYERS_MAX)
		return err_set(err, ERR_INVALID, EINVAL, "layers: %zu, from 1 to %d", count,
			       OVERLAY_LAYERS_MAX);
	for (size_t i = 0; i <= count; i++)
		fds[i] = -1;
	r = clone_all(store_fd, hexes, count, userns_fd, fds, err);
	if (r == 0)
		r = overlay_mount(fds, count + 1, err);
	for (size_t i = 0; i <= count; i++)
		fd_close(&fds[i]);
	return r;
}
