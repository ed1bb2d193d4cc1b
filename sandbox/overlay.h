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

struct overlay {
	/* Directories, the highest first: at least two. Marks in them are those of "userxattr", which nothing that
	 * writes to the overlay can set or read. */
	const int *layers;
	size_t layer_count;
	/* The detached mounts that they are in: many may be in one, which is cheaper than one for each. */
	const int *mounts;
	size_t mount_count;
	/* NULL: read-only. What is written goes there, whose ids are the host's, and is never waited for ("volatile"). */
	const struct writable_layer *writable;
};

/*
 * A detached mount of them, nosuid and nodev. The descriptors stay the caller's.
 *
 * As root of the host, with one thread. Before Linux 6.15 it is in another mount namespace for a moment.
 * ERR_UNSUPPORTED where the kernel has no overlayfs, or not of these.
 */
int overlay_mount(const struct overlay *overlay, struct err *err);
