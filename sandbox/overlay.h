/*
 * One tree of several: an overlayfs of directories that are each seen through a workload's ids, and of one above them
 * that is written to, if any. overlayfs itself cannot map ids, but what it is made of can be mapped before, since
 * Linux 5.19.
 */
#pragma once

#include <stddef.h>

#include "proto/err.h"
#include "sandbox/writable_layer.h"

#define OVERLAY_LAYERS_MAX 128

/*
 * A detached mount of the trees at @fds, detached mounts themselves, the highest first: at least two. Marks in
 * them are those of "userxattr", which nothing that writes to the overlay can set or read. nosuid, nodev; read-only
 * where @writable is NULL; else what is written goes there, whose ids are the host's, and is never waited for
 * ("volatile"). The descriptors stay the caller's.
 *
 * As root of the host, with one thread. Before Linux 6.15 it is in another mount namespace for a moment.
 * ERR_UNSUPPORTED where the kernel has no overlayfs, or not of these.
 */
int overlay_mount(const int *fds, size_t count, const struct writable_layer *writable,
		  struct err *err);
