/*
 * One pull: from an image's name to all its pieces in the content store and its name in the catalogue. The
 * index or manifest, of an index the manifest for this host, its configuration, its layers; each verified
 * against the digest that the one before it names.
 *
 * In the thread of images.c, like all that it uses.
 */
#pragma once

#include "agent/image/catalogue.h"
#include "agent/image/registry.h"

enum pull_phase {
	PULL_RESOLVING = 1, /* the name, to a manifest and its configuration */
	PULL_LAYERS,
	PULL_STORING, /* the catalogue */
};

struct pull_progress {
	enum pull_phase phase;
	uint32_t layers, layers_done;
	uint64_t bytes, bytes_done; /* of the layers */
	uint64_t bytes_fetched;     /* of those, by this pull: not there before */
};

/* Where pulls live: one for all of them. */
struct pull_yard {
	sd_event *event;
	struct transfers *transfers;
	const struct registry_rules *rules;
	struct content *content;
	struct catalogue *catalogue;
	unsigned int layers_max; /* at once, of all pulls */
	unsigned int layers_now;
	LIST_HEAD(, pull) pulls;
};

struct pull;

struct pull_events {
	void (*progress)(struct pull *pull, void *user); /* something of it has changed */
	/* Once, unless cancelled: @image is what the catalogue has now. The pull is gone after it. */
	void (*end)(struct pull *pull, int r, const struct image *image, const struct err *err,
		    void *user);
	void *user;
};

/* @credentials are copied. */
int pull_begin(struct pull_yard *yard, const struct reference *reference,
	       const struct credentials *credentials, const struct pull_events *events,
	       struct pull **ret_pull, struct err *err);
/* What came so far stays for the next one. NULL is fine. */
void pull_cancel(struct pull *pull);

const struct pull_progress *pull_progress(const struct pull *pull);
/* Whether a pull of @yard needs the piece, or has it already and is not in the catalogue yet. */
bool pull_needs(const struct pull_yard *yard, const struct digest *digest);
