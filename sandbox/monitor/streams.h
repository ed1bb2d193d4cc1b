/*
 * The output of the first process, from its pipes or its terminal to the log and to an attached client. What
 * cannot go to the client yet holds the reading back, for a while; the log never does.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/monitor/log.h"

#define STREAM_BYTES (2 * LOG_RECORD_MAX)

/* What must be known to go on after a crash. */
struct stream_books {
	uint64_t taken_bytes;
	uint32_t start; /* of a line that has no end yet, in the stream's memory */
	uint32_t end;
	/* A read that is under way: so many bytes, of so many there are, which begin with the mark if it was
	 * not done. 0: none is. */
	uint32_t wanted;
	uint32_t available;
};

struct stream {
	int fd; /* read end, non-blocking; -1: none, or ended */
	const char *name;
	uint8_t attach_kind;
	uint64_t mark; /* that nobody outside knows */
	struct stream_books books;
	char *memory; /* STREAM_BYTES, shared with a successor */
	/* Keeps the books, as in struct log. */
	void (*keep)(void *keeper);
	void *keeper;
};

/* How long an unfinished line is held before it is logged as a part. */
#define STREAM_PART_MS 200

struct attachment;

/* Read once. Returns 1 when something came, 0 when nothing was there, -1 when the stream has ended. */
int stream_read(struct stream *stream, struct log *log, struct attachment *attachment);

/* With stream->books and its memory as another process kept them last: a read that was under way was done, or
 * was not, and what is there is logged. Nobody else reads by now. */
void stream_resume(struct stream *stream, struct log *log);

/* Log what is held as a part; @ended: as the last line. */
void stream_let_go(struct stream *stream, struct log *log, bool ended);

/* Whether an unfinished line is held. */
bool stream_holds(const struct stream *stream);
