#include "sandbox/layer_probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/log.h"
#include "sandbox/errand.h"
#include "sandbox/features.h"
#include "sandbox/namespace_pool.h"
#include "sandbox/overlay.h"
#include "sandbox/rootfs.h"
#include "sandbox/sandboxd.h"
#include "sandbox/writable_layer.h"

struct trial {
	const struct sandboxd *host;
	struct namespace_set set; /* whose ids layers are seen through */
};

/* @path, or what is nearest above it: LayerDirectory is made when the first layer comes. */
static int open_nearest(const char *path, struct err *err)
{
	char nearest[PATH_MAX];
	int fd;

	(void)snprintf(nearest, sizeof(nearest), "%s", path);
	while ((fd = open(nearest, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 && errno == ENOENT) {
		char *slash = strrchr(nearest, '/');

		if (!slash || nearest[1] == '\0')
			break;
		slash[slash == nearest] = '\0';
	}
	if (fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "LayerDirectory: cannot open %s: %m",
			       nearest);
	return fd;
}

/* A directory of the store's file system over an empty one, as layer_root_mount() puts layers together. */
static int mount_trial(const struct trial *trial, int dir_fd, struct err *err)
{
	cleanup_fd int top_fd = rootfs_clone(dir_fd, trial->set.user_fd, ROOTFS_READ_ONLY,
					     "LayerDirectory", err);
	cleanup_fd int bottom_fd = -1;
	int fds[2];

	if (top_fd < 0)
		return top_fd;
	bottom_fd = rootfs_new_mount("tmpfs", NULL, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
	if (bottom_fd < 0)
		return bottom_fd;
	fds[0] = top_fd;
	fds[1] = bottom_fd;
	return overlay_mount(&(struct overlay){ fds, 2, fds, 2, NULL }, err);
}

/* In a child: on an older kernel it goes into a mount namespace of its own. */
static int try_images(void *context, struct err *err)
{
	const struct trial *trial = context;
	cleanup_fd int dir_fd = open_nearest(trial->host->policy.layer_directory, err);
	cleanup_fd int overlay_fd = -1, root_fd = -1;
	struct stat on_disk, seen;
	char entries[4096];

	if (dir_fd < 0)
		return dir_fd;
	overlay_fd = mount_trial(trial, dir_fd, err);
	if (overlay_fd < 0)
		return overlay_fd;
	root_fd = openat(overlay_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0 || getdents64(root_fd, entries, sizeof(entries)) < 0 ||
	    fstat(dir_fd, &on_disk) < 0 || fstat(root_fd, &seen) < 0)
		return err_set(
			err, ERR_UNSUPPORTED, errno,
			"LayerDirectory: cannot read an overlayfs of it with mapped ids: %m");
	if (seen.st_uid != trial->set.id_first + on_disk.st_uid)
		return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP,
			       "this kernel does not map the ids of layers of an overlayfs");
	return 0;
}

static int try_writable(void *context, struct err *err)
{
	const struct trial *trial = context;
	cleanup_fd int dir_fd = open_nearest(trial->host->policy.layer_directory, err);

	return dir_fd < 0 ? dir_fd : writable_layer_probe(dir_fd, err);
}

static int check_programs(const struct sandboxd *host, struct err *err)
{
	if (host->unpack_program_fd < 0)
		return err_set(err, ERR_UNSUPPORTED, ENOENT,
			       "berth-unpack is not installed (--unpack=)");
	return 0;
}

void layer_probe(const struct sandboxd *host)
{
	struct trial trial = { .host = host, .set = NAMESPACE_SET_EMPTY };
	struct err why = { 0 };

	if (namespace_pool_take(host->pool, true, false, &trial.set, &why) < 0) {
		(void)err_prefix(&why, -1, "it is not tried whether layers can be used here");
		log_failure(LOG_WARNING, NULL, &why);
		return;
	}
	if (check_programs(host, &why) == 0)
		(void)errand_run(host->departures, try_images, &trial, &why);
	features_found("images", &why);
	if (why.kind == ERR_NONE)
		(void)errand_run(host->departures, try_writable, &trial, &why);
	features_found("writable-layers", &why);
	namespace_set_done(&trial.set);
	idranges_give_back(host->ranges, trial.set.id_first);
}
