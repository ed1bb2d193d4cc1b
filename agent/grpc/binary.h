/*
 * Values of "-bin" metadata: base64 (RFC 4648 section 4), padded or not on the way in, never on the way out.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The text of @n bytes, ended with a NUL, for the caller to free; NULL without memory. */
char *binary_encode(const uint8_t *bytes, size_t n, size_t *ret_length);

/* The reverse. Returns 0, -EBADMSG, -ENOMEM; *ret_bytes is the caller's to free. */
int binary_decode(const char *text, size_t n, uint8_t **ret_bytes, size_t *ret_n);
