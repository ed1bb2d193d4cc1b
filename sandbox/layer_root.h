/*
 * The root of a container, or what is mounted in it, made of layers of the store: sandbox/layer_store.h.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"

/* What is put together. */
struct layer_root {
	const char *const *hexes; /* in hexadecimal, the lowest first */
	size_t count;             /* 0: nothing */
	uint64_t writable_bytes;  /* of a new layer above them, that is written to; 0: none */
	uint64_t writable_inodes;
};

/*
 * A detached mount of the layers @root of the store @store_fd with what lies below every image, through the ids of @userns_fd (-1: as they
 * are); for reading, where no other layer is wanted above them. *ret_writable_fd, -1 if there is none, is of that
 * layer's file system and the caller's: whoever has that last waits while its pages are written, which shall not be the
 * container's last process.
 *
 * In a process that launches and ends soon: a descriptor is left open to go with it.
 *
 * Returns the descriptor, or a negative errno with @err: as rootfs_clone(), overlay_mount() and
 * writable_layer_make(), and ERR_NOT_FOUND where a layer is gone.
 */
int layer_root_mount(int store_fd, const struct layer_root *root, int userns_fd,
		     int *ret_writable_fd, struct err *err);

/* The same of these alone, as what is mounted somewhere in a root: for reading, and with nothing below them. */
int layer_volume_mount(int store_fd, const char *const *hexes, size_t count, int userns_fd,
		       struct err *err);
