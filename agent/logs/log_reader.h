/*
 * Reads the logs of a workload: the files of one container or of all, their lines in the order of time,
 * the last n, from a time on, and on as they are written (inotify).
 *
 * It is pulled: log_reader_next() until it says there is no more now, then again when `ready` calls. A
 * reader that nobody pulls costs its buffers and nothing else.
 */
#pragma once

#include <systemd/sd-event.h>

#include "agent/logs/log_line.h"
#include "proto/cleanup.h"
#include "proto/err.h"

#define LOG_READER_CONTAINERS_MAX 16

/* Go on after the line of that place. */
struct log_reader_after {
	const char *container;
	uint64_t place;
};

struct log_reader_options {
	bool follow;
	bool has_tail;
	uint64_t tail;
	uint64_t since_unix_ns;               /* 0: from the oldest */
	const struct log_reader_after *after; /* only read during log_reader_new() */
	size_t after_count;
};

struct log_reader;

/* There may be more to pull. Called from the event loop. */
typedef void (*log_reader_ready)(void *userdata);

/*
 * Read the logs of the @container_count containers named @containers (1 to LOG_READER_CONTAINERS_MAX)
 * below the directory @path of a workload. A container whose directory is not there yet has no
 * lines; log_reader_refresh() looks again. The names and the path stay the caller's.
 *
 * Returns 0, or a negative errno with @err filled in.
 */
int log_reader_new(sd_event *event, const char *path, const char *const *containers,
		   size_t container_count, const struct log_reader_options *options,
		   log_reader_ready ready, void *userdata, struct log_reader **ret,
		   struct err *err);
void log_reader_free(struct log_reader *reader);
DEFINE_CLEANUP(struct log_reader *, log_reader_free)

/* Containers may have started: look for directories that were not there. */
void log_reader_refresh(struct log_reader *reader);

/* Nothing more will be written: with `follow`, the end of the files is the end. */
void log_reader_finish(struct log_reader *reader);

/*
 * The next line, and the index in @containers of whose it is; @ret_line points into the reader until
 * the next call.
 *
 * Returns 1; 0 when there is none now and `ready` will call; -ENODATA at the end; or another negative
 * errno with @err filled in.
 */
int log_reader_next(struct log_reader *reader, struct log_line *ret_line, size_t *ret_container,
		    struct err *err);

/* Where the line ends that log_reader_next() returned last, of the container @container. */
uint64_t log_reader_place(const struct log_reader *reader, size_t container);

/* Log files that rotation removed before the reader came to them, since the last call. */
uint32_t log_reader_take_missed(struct log_reader *reader);
