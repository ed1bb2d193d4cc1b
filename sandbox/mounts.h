/*
 * Volumes in a container: cloned as root of the host from descriptors that the daemon opened, mounted by
 * descriptor in the container's own mount namespace. No path of a volume is resolved twice.
 */
#pragma once

#include <stddef.h>

#include "proto/err.h"
#include "sandbox/launch.h"

/*
 * As root of the host: a detached mount for each of @mounts, in their order, into @ret_fds, which holds
 * -1 for each at first and is the caller's also on failure. Layers are those of @store_fd.
 *
 *   ERR_START        the sub_path is not there
 *   ERR_UNSUPPORTED  a file system of the volume cannot be id-mapped
 *   as layer_volume_mount(), for layers
 */
int mounts_prepare(const struct launch_mount *mounts, size_t count, int store_fd, int userns_fd,
		   int *ret_fds, struct err *err);

/* As root of the workload, in its mount namespace: mount each at its target below @root_fd. */
int mounts_attach(const struct launch_mount *mounts, size_t count, const int *fds, int root_fd,
		  struct err *err);
