/*
 * The media types of an image's documents and layers: those of OCI, and docker's of before.
 */
#pragma once

enum media {
	MEDIA_UNKNOWN = 0,
	MEDIA_INDEX,
	MEDIA_MANIFEST,
	MEDIA_MANIFEST_OLD, /* docker's schema 1, of before 2017: known to be refused by name */
	MEDIA_CONFIG,
	MEDIA_LAYER_TAR,
	MEDIA_LAYER_GZIP,
	MEDIA_LAYER_ZSTD,
	MEDIA_LAYER_FOREIGN, /* not to be had from registries: known to be refused by name */
};

/* Of a Content-Type or mediaType, whatever parameters (";charset=...") follow; NULL is unknown. */
enum media media_of(const char *text);

/* What a request for a manifest accepts: the value of its Accept field. */
extern const char media_accept[];
