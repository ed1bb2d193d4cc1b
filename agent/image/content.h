/*
 * The bytes of images on this host, each piece in a file that is called by its digest:
 *
 *	<directory>/blobs/<64 hex>         whole: its bytes were hashed while they were written
 *	<directory>/blobs/<64 hex>.part    on its way; what is there of it is used by the next try
 *
 * A piece gets its name when all its bytes are on the disk and their digest is right, so whatever happens
 * in between, only whole pieces count. Both are in one directory: Landlock moves no file to another one.
 *
 * Everything here waits for the disk: not for the thread of berthd's loop. Of one thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/image/document.h"
#include "proto/err.h"

struct content;
struct content_writer;

/* Makes what is missing of the directories; @keep_free_bytes of the disk are left to others. */
int content_open(const char *directory, uint64_t keep_free_bytes, struct content **ret_content,
		 struct err *err);
void content_free(struct content *content);
DEFINE_CLEANUP(struct content *, content_free)

/* Whether the piece is there, whole, and how large it is (@ret_size_bytes may be NULL). */
bool content_has(const struct content *content, const struct digest *digest,
		 uint64_t *ret_size_bytes);
/* How much more may be written. */
int content_room(const struct content *content, uint64_t *ret_bytes, struct err *err);
/* How full the disk is, as df(1) has it. */
int content_fill(const struct content *content, unsigned int *ret_percent, struct err *err);
/* ERR_EXHAUSTED when @bytes more would not leave what is to be left free. */
int content_check_room(const struct content *content, uint64_t bytes, struct err *err);

/*
 * Begin to write @piece, or go on where the last try ended: content_writer_bytes() are there, and hashed.
 * The writer is the caller's, to end with one of the three below. One writer at a time for each piece.
 */
int content_write(struct content *content, const struct descriptor *piece,
		  struct content_writer **ret_writer, struct err *err);
uint64_t content_writer_bytes(const struct content_writer *writer);
/*
 * ERR_INVALID    more bytes than the piece has; what was written is gone
 * ERR_EXHAUSTED  the disk is full, or as full as it may be
 */
int content_writer_add(struct content_writer *writer, const void *bytes, size_t length,
		       struct err *err);
/* Forget what was written, to begin at the first byte again. */
int content_writer_restart(struct content_writer *writer, struct err *err);
/* All bytes were added: put the piece in its place, on the disk. ERR_INVALID: they are not the piece; nothing
 * of it stays. Frees @writer in any case. */
int content_writer_end(struct content_writer *writer, struct err *err);
/* Leave what is there to the next try. NULL is fine. */
void content_writer_stop(struct content_writer *writer);

/* A document, whole and verified: *ret_bytes is the caller's to free(). ERR_NOT_FOUND, or ERR_INVALID when
 * it is damaged. */
int content_read(const struct content *content, const struct digest *digest, void **ret_bytes,
		 size_t *ret_length, struct err *err);
/* The piece, read-only; nothing is verified. ERR_NOT_FOUND. */
int content_open_piece(const struct content *content, const struct digest *digest, int *ret_fd,
		       struct err *err);
/* Remove it, whole or not; what is not there is no failure. */
int content_remove(struct content *content, const struct digest *digest, struct err *err);

/* All that is there; @visit returns false to end early. Pieces may be removed meanwhile. */
int content_each(const struct content *content,
		 bool (*visit)(const struct digest *digest, uint64_t size_bytes, bool whole,
			       void *user),
		 void *user, struct err *err);
