/*
 * One tree of several: an overlayfs, for reading, of directories that are each seen through a workload's ids.
 * overlayfs itself cannot map ids, but what it is made of can be mapped before, since Linux 5.19.
 */
#pragma once

#include <stddef.h>

#include "proto/err.h"

#define OVERLAY_LAYERS_MAX 128

/*
 * A detached mount of the trees at @fds, detached mounts themselves, the highest first: at least two. Marks in
 * them are those of "userxattr". nosuid, nodev and read-only. The descriptors stay the caller's.
 *
 * As root of the host, with one thread. Before Linux 6.15 it is in another mount namespace for a moment.
 * ERR_UNSUPPORTED where the kernel has no overlayfs, or not of these.
 */
int overlay_mount(const int *fds, size_t count, struct err *err);
