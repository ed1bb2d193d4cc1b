/*
 * The layers of images that this host has, each unpacked once and shared by all who run from it:
 *
 *	<LayerDirectory>/base/                      what lies below every image: dev, proc, sys
 *	<LayerDirectory>/empty/                     what lies below those that are mounted in a root
 *	<LayerDirectory>/<hex>/tree/                the files, with the ids of the image
 *	<LayerDirectory>/<hex>/manifest, layer      what they were; how many; see layer_store_keep()
 *	<LayerDirectory>/templates/                 of what is written: sandbox/writable_layer.h
 *	<LayerDirectory>/new-*, old-*               not there yet; not there any more
 *
 * A layer counts when its directory has its name, which it gets last, when all of it is on the disk.
 * Everything else that is found at the start was cut off by a crash, and goes. The directory is root's alone
 * and one daemon's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "sandbox/registry.h"
#include "sandbox/unpack/wire.h"

#define LAYER_NAME_MAX 128 /* of a directory in the store */
#define LAYER_BASE     "base"
#define LAYER_EMPTY    "empty"

struct layer {
	char hex[UNPACK_HEX_MAX]; /* of its diff id */
	char manifest[UNPACK_HEX_MAX];
	bool cut; /* hides all layers below it */
	uint64_t bytes;
	uint64_t entries;
};

struct layer_store {
	int fd; /* -1: not there yet */
	int lock_fd;
	struct layer *list; /* in the order of their names */
	size_t n;
	size_t room;
	char **strangers; /* names found at the start that go: layer_jobs.h */
	size_t n_strangers;
};

/* An empty store. */
void layer_store_init(struct layer_store *store);
void layer_store_done(struct layer_store *store);

/*
 * Open the directory @path and read what is in it; made where it is not there and @make. Without it, and
 * without @make, the store is empty and fd -1.
 *   ERR_PRECONDITION  another daemon has it
 *   ERR_DENIED        it is not root's alone
 */
int layer_store_open(struct layer_store *store, const char *path, bool make, struct err *err);

/* By the hexadecimal digits of the diff id; NULL: none. */
const struct layer *layer_store_find(const struct layer_store *store, const char *hex);

int layer_store_add(struct layer_store *store, const struct layer *layer, struct err *err);
void layer_store_forget(struct layer_store *store, const char *hex);

/* Whether a container that has not ended uses it, as its root or a volume. */
bool layer_store_is_used(const struct registry *registry, const char *hex);

/* A name of a new directory in the store, as "new-<hex>-<number>", never used before. */
void layer_store_fresh_name(const char *prefix, const char *hex, char name[static LAYER_NAME_MAX]);

/* Of a child, with the directory @name complete: write its record and give it its own name. Where that is there
 * already, by a child that died or outlived its daemon, @layer becomes what it is, and @name stays. */
int layer_store_keep(int store_fd, const char *name, struct layer *layer, struct err *err);

/* Remove the directory @name with all that is below. As far as it goes: -errno of the first that failed. */
int layer_store_remove_tree(int store_fd, const char *name);
