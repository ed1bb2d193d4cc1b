/*
 * The slow control path, through libcgroup: the groups that last (<base> and what is right below it),
 * changes of limits, removal. Only lcg.c calls the library.
 *
 * Paths here are below the mount, without a leading slash: "berth/workloads/batch". A controller's
 * mount is that of @hierarchy; lcg_init() makes sure that the library has the same one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"
#include "sandbox/hierarchy.h"

/* One file of a group and what goes into it. */
struct setting {
	enum hierarchy_controller controller;
	const char *file; /* "memory.max"; static */
	char value[256];
};

/* Once a process, single-threaded. ERR_INTERNAL if the library found other mounts than we did. */
int lcg_init(const struct hierarchy *hierarchy, struct err *err);

/* Make @path, or keep it if it is there, for every controller in the bits of @controllers, and write
 * the settings. On v2 it also enables the controllers in every group above. */
int lcg_create(const struct hierarchy *hierarchy, const char *path, uint32_t controllers,
	       const struct setting *settings, size_t count, struct err *err);

/* Write one value. -EBUSY is ERR_PRECONDITION, a missing file ERR_UNSUPPORTED. */
int lcg_set(const struct hierarchy *hierarchy, const char *path, const struct setting *setting,
	    struct err *err);

/* Remove @path in the mount of index @mount unless something is in it, without moving it. -EBUSY. */
int lcg_remove(const struct hierarchy *hierarchy, const char *path, size_t mount, struct err *err);

/* The controller's name in the version that is mounted: "blkio" or "io". */
const char *lcg_controller_name(const struct hierarchy *hierarchy,
				enum hierarchy_controller controller);
