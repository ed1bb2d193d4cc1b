/*
 * The head of an HTTP/1.x answer, from a server that may be hostile: a status line, headers, an empty
 * line, 8 KiB together at most, taken as the bytes come and each looked at once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"

#define HTTP_HEAD_MAX   8192
#define HTTP_REASON_MAX 64

struct http_head {                    /* all zero: nothing was taken */
	unsigned int status;          /* 100 to 599 */
	char reason[HTTP_REASON_MAX]; /* cut; any bytes but control characters */
	bool has_length;              /* Content-Length was given: */
	uint64_t length;

	/* its own */
	bool done;
	size_t taken; /* of this and of interim answers */
	size_t line;  /* where the current line begins */
	size_t n;
	char bytes[HTTP_HEAD_MAX];
};

/*
 * Take what is left of the head from @bytes. Returns how many bytes were the head's: less than @n, or
 * all with head->done set, once it is whole; or -EBADMSG with @err, after which it takes nothing more:
 * ERR_INVALID, and what is wrong with it. Interim answers (100 to 199 but 101) are skipped.
 */
ssize_t http_head_take(struct http_head *head, const char *bytes, size_t n, struct err *err);
