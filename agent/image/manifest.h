/*
 * An image's manifest: its configuration and its layers, lowest first. And the index, which has one
 * manifest for each platform.
 */
#pragma once

#include "agent/image/document.h"
#include "agent/image/platform.h"

#define MANIFEST_LAYERS_MAX    128U /* docker makes none with more than 127 */
#define MANIFEST_PLATFORMS_MAX 1024U

struct manifest {
	struct descriptor config;
	struct descriptor layers[MANIFEST_LAYERS_MAX];
	size_t n_layers;
	uint64_t layer_bytes; /* of all layers, as they are sent */
};

/*
 * What the document is, of those that media_of() knows: @content_type, what the server calls it ("" if
 * nothing), and the document's own mediaType must not contradict each other, nor what it holds: a document
 * that can be read as both a manifest and an index is neither (CVE-2021-41190).
 *
 * Returns 0 with *ret_media MEDIA_INDEX or MEDIA_MANIFEST, or
 *   ERR_INVALID      it is no such document
 *   ERR_UNSUPPORTED  docker's schema 1, or an artifact that is no image
 */
int manifest_media(const void *bytes, size_t length, const char *content_type,
		   enum media *ret_media, struct err *err);

/* ERR_INVALID, or ERR_UNSUPPORTED for a layer or a configuration of another kind. */
int manifest_read(const void *bytes, size_t length, struct manifest *ret_manifest, struct err *err);

/* The manifest in an index that fits @host best, the first of those that fit alike. ERR_NOT_FOUND: there is
 * none, and for which platforms there are some. */
int manifest_choose(const void *bytes, size_t length, const struct platform *host,
		    struct descriptor *ret_manifest, struct err *err);
