/*
 * What berth-sandboxd says to berth-unpack, and its answer: one packet each, over the socket that the program
 * finds as UNPACK_SOCKET_FD. Both are of one build. The descriptors are there from the start.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/err.h"

#define UNPACK_SOCKET_FD    3
#define UNPACK_DIRECTORY_FD 4 /* of the layer: the only place it may touch */
#define UNPACK_BLOB_FD      5 /* not where a layer is verified */

#define UNPACK_HEX_MAX 65

/* Below the directory. */
#define UNPACK_TREE     "tree"     /* the layer's root */
#define UNPACK_MANIFEST "manifest" /* sandbox/unpack/manifest.h */

/* The numbers are those of UnpackLayer.compression. */
enum unpack_compression { UNPACK_PLAIN, UNPACK_GZIP, UNPACK_ZSTD, UNPACK_COMPRESSION_COUNT };

enum unpack_task { UNPACK_LAYER = 1, UNPACK_VERIFY = 2 };

struct unpack_order {
	uint32_t task;
	uint32_t compression;
	uint64_t blob_bytes;
	uint64_t max_bytes; /* of the uncompressed archive, and of what its files hold */
	uint64_t max_entries;
	char digest[UNPACK_HEX_MAX]; /* of the uncompressed archive; to verify: of the manifest */
};

struct unpack_answer {
	int32_t r;    /* 0, or a negative errno with err */
	bool cut;     /* nothing of the layers below it is to be seen */
	bool damaged; /* of a layer that was verified: err says what is not as it was */
	uint64_t bytes;
	uint64_t entries;
	char manifest[UNPACK_HEX_MAX]; /* its digest */
	struct err err;
};
