/*
 * The JSON documents of an image, as somebody else wrote them: bounded before they are parsed, and read
 * field by field with sentences for what is wrong.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/image/digest.h"
#include "agent/image/media.h"
#include "proto/err.h"

/* The specification has registries take manifests of 4 MiB. The parser takes up to some 150 bytes of memory
 * for each value, so that a document holds at most about 16 MiB. */
#define DOCUMENT_BYTES_MAX  (4U << 20)
#define DOCUMENT_VALUES_MAX 65536U
#define DOCUMENT_DEPTH_MAX  32U

/* A piece that a document names. */
struct descriptor {
	enum media media;
	struct digest digest;
	uint64_t size_bytes;
};

/* Parse an object; *ret_root is the caller's, to end with json_decref(). Fails with ERR_INVALID. */
int document_load(const void *bytes, size_t length, json_t **ret_root, struct err *err);

/* The string @key of @object, or "" where it is missing or null. ERR_INVALID if it is something else. */
int document_string(const json_t *object, const char *key, const char **ret_text, struct err *err);
/* An array, or NULL where it is missing or null, of at most @max values. */
int document_array(const json_t *object, const char *key, size_t max, const json_t **ret_array,
		   struct err *err);
/* An object, or NULL where it is missing or null. */
int document_object(const json_t *object, const char *key, const json_t **ret_object,
		    struct err *err);
/* mediaType, digest and size of a descriptor. */
int document_descriptor(const json_t *object, struct descriptor *ret_descriptor, struct err *err);

static inline void document_release(json_t **root)
{
	json_decref(*root);
}
#define cleanup_document cleanup(document_release)
