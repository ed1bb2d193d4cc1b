/*
 * A compressed archive as it is read: bytes of the blob, through libarchive's decompression, counted and
 * hashed, to libarchive's reader of tar. No more is ever held than a window of either.
 */
#pragma once

#include <stdint.h>

#include "proto/err.h"
#include "sandbox/unpack/tree.h"
#include "sandbox/unpack/wire.h"

struct stream;

/* Before the process is confined: what the libraries load lazily is loaded. ERR_INTERNAL. */
int stream_prepare(struct err *err);

/*
 * Put all of the archive in @blob_fd into @tree, as @order says.
 *   ERR_INVALID    it is no such archive, or its digest is another
 *   ERR_EXHAUSTED  a limit of @order's, or the most that an archive may grow by decompression
 */
int stream_unpack(int blob_fd, const struct unpack_order *order, struct tree *tree,
		  struct err *err);
