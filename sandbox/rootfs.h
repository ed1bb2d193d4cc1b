/*
 * The root file system of a container: a detached clone of a directory of the host, its ids mapped to the
 * workload's, that becomes the root of a mount namespace of its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/err.h"

/* How a directory of the host is cloned. */
enum rootfs_flags {
	ROOTFS_READ_ONLY = 1 << 0,
	ROOTFS_RECURSIVE = 1 << 1, /* with what is mounted below it */
};

/*
 * A detached mount of the directory or file @source_fd (O_PATH), private, nosuid and nodev, and seen
 * through the ids of @userns_fd (-1: as they are). As root of the host. @what names it in sentences.
 *
 * Returns the descriptor, or a negative errno with @err:
 *   ERR_UNSUPPORTED  its file system cannot be id-mapped (mount_setattr(2) has the list)
 *   ERR_START        it is gone
 */
int rootfs_clone(int source_fd, int userns_fd, unsigned int flags, const char *what,
		 struct err *err);

/* A detached mount of a new file system of @type with these "key=value" options ("key" for a flag),
 * ended by NULL. @attributes are MOUNT_ATTR_*. Returns the descriptor or a negative errno with @err. */
int rootfs_new_mount(const char *type, const char *const *options, unsigned int attributes,
		     struct err *err);

/*
 * A mount namespace and a cgroup namespace of our own, with nothing that comes in or goes out; in it the
 * detached @mask_fd, and over that and everything else the detached @root_fd. The first is of use until
 * rootfs_pivot(): clones are made of it, which a detached mount does not permit.
 */
int rootfs_enter(int mask_fd, int root_fd, struct err *err);

/* Mount the detached @mount_fd on @target_fd. @what for sentences. */
int rootfs_attach(int mount_fd, int target_fd, const char *what, struct err *err);

/* The directory @path of the container, where something of ours belongs: ERR_START says which one the
 * root file system lacks, where it is read-only and cannot be given it. */
int rootfs_target(int root_fd, const char *path, bool directory, struct err *err);

/* Make @root_fd, attached by rootfs_enter(), the root, and let go of everything else. */
int rootfs_pivot(int root_fd, struct err *err);

/* Into @path (absolute, in the container), which may go through the container's own symlinks but not
 * out of its root. ERR_START where it is missing, not a directory or not reachable. */
int rootfs_chdir(const char *path, struct err *err);
