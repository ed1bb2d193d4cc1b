/*
 * grpc-message: text in a header (grpc/doc/PROTOCOL-HTTP2.md, "Responses"). Bytes outside 0x20-0x7e and
 * '%' travel as %XX, so newlines and UTF-8 survive.
 */
#pragma once

#include <stddef.h>

/* The bytes that encoding @n bytes can take at most, its final NUL included. */
#define PERCENT_ENCODED_MAX(n) (3 * (n) + 1)

/* Encode @n bytes at @text into @buf of @size bytes, ended with a NUL. What does not fit is cut between
 * characters of the encoding. Returns the length without the NUL. @size is at least 1. */
size_t percent_encode(const char *text, size_t n, char *buf, size_t size);

/* Decode in place; what is not %XX stays as it is, as the specification asks. A decoded NUL is replaced
 * by '?'. Returns the new length; the text is ended with a NUL where @n was longer. */
size_t percent_decode(char *text, size_t n);
