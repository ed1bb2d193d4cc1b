/*
 * The output of the first process, from its pipes or its terminal to the log and to an attached client. What
 * cannot go to the client yet holds the reading back, for a while; the log never does.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sandbox/monitor/log.h"

struct stream {
	int fd; /* read end, non-blocking; -1: none, or ended */
	const char *name;
	uint8_t attach_kind;
	uint64_t taken_bytes;
	size_t length; /* of a line that has no end yet */
	char line[LOG_RECORD_MAX];
};

/* How long an unfinished line is held before it is logged as a part. */
#define STREAM_PART_MS 200

struct attachment;

/* Read once. Returns 1 when something came, 0 when nothing was there, -1 when the stream has ended. */
int stream_read(struct stream *stream, struct log *log, struct attachment *attachment);

/* Log what is held as a part; @ended: as the last line. */
void stream_let_go(struct stream *stream, struct log *log, bool ended);
