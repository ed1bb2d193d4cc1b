/*
 * grpc-timeout: one to eight digits and a unit of H, M, S, m, u, n (grpc/doc/PROTOCOL-HTTP2.md, "Requests").
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TIMEOUT_TEXT_MAX 10 /* eight digits, the unit, NUL */

/* @n bytes at @text into *ret_usec; a part of a microsecond counts as one. Returns 0 or -EINVAL. */
int timeout_parse(const char *text, size_t n, uint64_t *ret_usec);

/* The other way, rounded up to what eight digits can say. @buf holds TIMEOUT_TEXT_MAX. */
void timeout_format(uint64_t usec, char *buf);
