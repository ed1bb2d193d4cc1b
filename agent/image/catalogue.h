/*
 * The images of this host: what they are called, which manifest stands behind each name, when it was used.
 * Each is a file of its own beside the content store, replaced as a whole:
 *
 *	<directory>/names/<sha256 of the name>.json
 *
 * An image counts when its manifest, its configuration and all its layers are in the content store.
 *
 * Of one thread, which waits for the disk.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "agent/image/content.h"
#include "agent/image/image_config.h"
#include "agent/image/manifest.h"
#include "agent/image/reference.h"

#define CATALOGUE_IMAGES_MAX 4096U

struct image {
	TAILQ_ENTRY(image) link;
	char name[REFERENCE_TEXT_MAX]; /* whole, as reference_text() writes it */
	struct digest digest;   /* of what the registry has by that name: an index or a manifest */
	struct digest manifest; /* of this host's platform */
	uint64_t size_bytes;    /* of all its pieces, as they were sent */
	uint32_t n_layers;
	uint64_t pulled_unix_ms;
	uint64_t used_unix_ms;
	uint64_t used_kept_ms; /* of that, what is on the disk */
	bool pinned;           /* never collected */
};
TAILQ_HEAD(image_list, image);

struct catalogue;

/* Read what is there. Files that are damaged, and images whose pieces are gone, are left out, removed, and
 * told to the log. */
int catalogue_open(const char *directory, struct content *content, struct catalogue **ret_catalogue,
		   struct err *err);
void catalogue_free(struct catalogue *catalogue);
DEFINE_CLEANUP(struct catalogue *, catalogue_free)

const struct image_list *catalogue_images(const struct catalogue *catalogue);
/* By its whole name, or NULL. */
const struct image *catalogue_find(const struct catalogue *catalogue, const char *name);

/* Add @image, or put it in the place of the one of its name, on the disk. Its link is not used. ERR_EXHAUSTED:
 * CATALOGUE_IMAGES_MAX, or the disk. */
int catalogue_put(struct catalogue *catalogue, const struct image *image, struct err *err);
/* It is in use at that time; on the disk that is an hour late at most. One that is not there is no failure. */
int catalogue_mark_used(struct catalogue *catalogue, const char *name, uint64_t unix_ms,
			struct err *err);
/* ERR_NOT_FOUND. Its pieces stay, for catalogue_collect(). */
int catalogue_remove(struct catalogue *catalogue, const char *name, struct err *err);

/* The manifest of @image, and its configuration in @arena (either may be NULL). */
int catalogue_read(const struct catalogue *catalogue, const struct image *image,
		   struct manifest *ret_manifest, struct arena *arena,
		   struct image_config *ret_config, struct err *err);

/* Pieces of no image: how many bytes, and (with @remove) take them away. @kept, which may be NULL, tells of
 * pieces that somebody is about to need. What cannot be read of an image keeps all pieces. */
int catalogue_collect(struct catalogue *catalogue, bool remove,
		      bool (*kept)(const struct digest *digest, void *user), void *user,
		      uint64_t *ret_bytes, struct err *err);
