/*
 * What a container writes over the layers of its image: a file system of its own, with as many bytes and inodes as it
 * may have, so that the kernel says ENOSPC to it, exactly, whatever the host's file system can do.
 *
 * It is an ext4 without a journal, in a sparse file without a name in the store of layers, on a loop device that
 * detaches itself. So it ends with the last process and mount that have it, its space with it: there is nothing
 * to remove, and nothing to find after a crash. Nothing in it outlives the container, so nothing is ever waited for.
 *
 * A new one is a copy of a template, some 100 KiB of metadata: <LayerDirectory>/templates/<version>-<bytes>-<inodes>,
 * which mke2fs(8) makes when the first of its size is wanted.
 */
#pragma once

#include <stdint.h>
#include <sys/stat.h>

#include "proto/cleanup.h"
#include "proto/err.h"

#define WRITABLE_LAYER_TEMPLATES "templates" /* a directory in the store */

#define WRITABLE_LAYER_BYTES_MIN  (1ULL << 20)
#define WRITABLE_LAYER_BYTES_MAX  (8ULL << 40)
#define WRITABLE_LAYER_INODES_MIN 16ULL

struct writable_layer {
	int mount_fd; /* detached, nosuid and nodev */
	/* Directories in it, for overlayfs. */
	int upper_fd;
	int work_fd;
};

#define WRITABLE_LAYER_EMPTY \
	{                    \
		-1, -1, -1   \
	}

void writable_layer_done(struct writable_layer *layer);
#define cleanup_writable_layer cleanup(writable_layer_done)

/*
 * Whether there can be one of so many @bytes, what the file system needs for itself included, and @inodes (0: one
 * for each 16 KiB), which are rounded up by less than 16 for each 128 MiB.
 *   ERR_INVALID  outside the bounds above, or the inodes alone would take more than half of the bytes
 */
int writable_layer_check(uint64_t bytes, uint64_t inodes, struct err *err);

/*
 * Make a new one, in the store @store_fd, whose root looks as @root says. As root of the host; waits for mke2fs
 * where that is needed.
 *   ERR_UNSUPPORTED  no mke2fs, loop devices or ext4 here
 *   ERR_EXHAUSTED    no space on the host, or no loop device
 */
int writable_layer_make(int store_fd, uint64_t bytes, uint64_t inodes, const struct stat *root,
			struct writable_layer *ret, struct err *err);

/* Whether there is what writable_layer_make() needs, with files in @dir_fd; nothing is left. As that. */
int writable_layer_probe(int dir_fd, struct err *err);
