/*
 * What a layer's tree was when it was unpacked, so that it can be told later whether it still is: one line for
 * each file, in the order of a walk that sorts names by their bytes:
 *
 *	<type and mode, octal> <uid> <gid> <size> <mtime> <digest> <path>
 *
 * The digest is of a regular file's content, of a link's target, else "-"; extended attributes follow their
 * file, each a line of "x". Bytes of a path that are no plain text are written as \ooo.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/err.h"
#include "sandbox/unpack/digest.h"

/* Walk the tree @root_fd and write to @out_fd; @hex is the digest of what was written. */
int manifest_write(int root_fd, int out_fd, char hex[static DIGEST_HEX_MAX], struct err *err);

/*
 * Walk the tree again and compare with @in_fd, whose own digest must be @hex. *ret_damaged, and then a
 * sentence in @err with 0 returned: the first difference. Negative: it could not be told.
 */
int manifest_compare(int root_fd, int in_fd, const char *hex, bool *ret_damaged, struct err *err);
