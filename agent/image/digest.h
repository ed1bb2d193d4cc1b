/*
 * What a piece of an image is called by: the SHA-256 of its bytes. Other algorithms that the OCI
 * specification knows are not in use by any registry, and are refused by name.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/cleanup.h"
#include "proto/err.h"

#define DIGEST_BYTES    32
#define DIGEST_HEX      64
#define DIGEST_TEXT_MAX (sizeof("sha256:") + DIGEST_HEX)

struct digest {
	char hex[DIGEST_HEX + 1]; /* lower case */
};

/* "sha256:<64 lower-case hex digits>". ERR_INVALID, or ERR_UNSUPPORTED for another algorithm. */
int digest_parse(const char *text, struct digest *ret_digest, struct err *err);
/* The hex digits alone, as the content store's files are named. */
bool digest_parse_hex(const char *hex, struct digest *ret_digest);
/* "sha256:...": writes into @buffer and returns it. */
const char *digest_text(const struct digest *digest, char buffer[static DIGEST_TEXT_MAX]);
bool digest_equal(const struct digest *a, const struct digest *b);
/* Of all @length bytes at once. Returns 0 or -ENOMEM. */
int digest_of(const void *bytes, size_t length, struct digest *ret_digest);

/* The same of bytes that come one after the other. */
struct digester;
struct digester *digester_new(void); /* NULL without memory */
void digester_free(struct digester *digester);
int digester_add(struct digester *digester, const void *bytes, size_t length);
/* Of all that was added; nothing can be added after that. */
int digester_end(struct digester *digester, struct digest *ret_digest);
DEFINE_CLEANUP(struct digester *, digester_free)
