/*
 * The log files of a container: <9 digits>.log in one directory, numbers ascending, each record one line
 * as the Kubernetes runtime interface has them:
 *
 *	2026-11-23T06:05:18.123456789Z stdout F content
 *
 * F: the line is whole; P: it goes on in the next record of the same stream. Content longer than
 * LOG_RECORD_MAX is split. A file that would grow beyond its limit is ended and the next begun; then the
 * oldest beyond the count is removed. Nothing waits: what cannot be written is dropped and counted, and
 * the next flush tries again. No allocation, no stdio.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define LOG_RECORD_MAX (16 * 1024)
#define LOG_BUFFER     (64 * 1024)
#define LOG_OWN_FILES  64

struct log_counters {
	uint64_t bytes;         /* written, of content */
	uint64_t dropped_bytes; /* of content, that could not be written */
	uint64_t rotated_bytes; /* written and since removed */
};

/* What must be known to go on after a crash: all of it at one instant. */
struct log_books {
	struct log_counters counters;
	uint64_t file_bytes;       /* length of the open file, whole records */
	uint64_t file_content;     /* and content in it */
	uint64_t buffered_content; /* in the buffer */
	uint32_t sequence;         /* of the open file */
	uint32_t oldest;           /* that exists; 0: none */
	uint32_t length;           /* of what is in the buffer */
	uint32_t begun;            /* that file is one of ours */
};

/* Shared with a successor, and valid as far as the books say. */
struct log_memory {
	uint64_t content[LOG_OWN_FILES]; /* bytes in ended file number n, at n modulo */
	char buffer[LOG_BUFFER];
};

struct log {
	int dir_fd; /* -1: no log is kept */
	int file_fd;
	uint64_t max_file_bytes;
	uint32_t max_files;
	struct log_books books;
	struct log_memory *memory;
	time_t second; /* that second_text says */
	char second_text[20];
	/* Keeps the books, with what else belongs to this instant; NULL: nobody succeeds. Called before
	 * anything is done that a successor could not tell from its books. */
	void (*keep)(void *keeper);
	void *keeper;
};

/* Look at what earlier launches left in @dir_fd and go on after it. Never fails: a directory that cannot
 * be used makes every record a dropped one. @memory is the caller's. */
void log_init(struct log *log, int dir_fd, uint64_t max_file_bytes, uint32_t max_files,
	      struct log_memory *memory);

/* After log_init(), with log->books and its memory as another process kept them last: what that one had
 * buffered is written once, however much of it was written already. */
void log_resume(struct log *log);

void log_done(struct log *log);

/* One record, at most LOG_RECORD_MAX bytes of content, without its newline. */
void log_record(struct log *log, const char *stream, bool whole, const struct timespec *now,
		const char *content, size_t length);

/* Write what is buffered. */
void log_flush(struct log *log);
