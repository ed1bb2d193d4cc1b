/*
 * The root of a container, or what is mounted in it, made of layers of the store: sandbox/layer_store.h.
 */
#pragma once

#include <stddef.h>

#include "proto/err.h"

/*
 * A detached mount, for reading, of the layers @hexes (the lowest first) with what lies below every image,
 * through the ids of @userns_fd (-1: as they are). Returns the descriptor, or a negative errno with @err: as
 * rootfs_clone() and overlay_mount(), and ERR_NOT_FOUND where a layer is gone.
 */
int layer_root_mount(int store_fd, const char *const *hexes, size_t count, int userns_fd,
		     struct err *err);
