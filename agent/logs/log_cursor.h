/*
 * A place in the log of one container: a directory of files 000000001.log, 000000002.log, ... that the
 * monitor appends to, and of which rotation removes the oldest.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/logs/log_line.h"
#include "proto/cleanup.h"
#include "proto/err.h"

struct log_cursor;

/*
 * Open the log of a container at its oldest record, in the directory @dir_fd (which the cursor takes
 * over, also on failure). Returns 0, or a negative errno with @err filled in.
 */
int log_cursor_new(int dir_fd, struct log_cursor **ret, struct err *err);
void log_cursor_free(struct log_cursor *cursor);
DEFINE_CLEANUP(struct log_cursor *, log_cursor_free)

/*
 * Move to where at most @lines whole lines are left to read. *ret_lines is how many there are. Reads
 * backwards, only as much as it needs.
 */
int log_cursor_seek_tail(struct log_cursor *cursor, uint64_t lines, uint64_t *ret_lines,
			 struct err *err);

/*
 * The record at the cursor, without moving; *@ret points into the cursor until the next call. Bytes
 * that are no record are passed over.
 *
 * Returns 1; 0 at the end of what is written so far; or a negative errno: -EAGAIN when it read its
 * budget of bytes without coming to a record (call again), else with @err filled in.
 */
int log_cursor_peek(struct log_cursor *cursor, struct log_line *ret, struct err *err);

/*
 * Move to after the record that log_cursor_place() once named. Where rotation has removed its file since, to
 * the oldest one that is left, and what lies between counts as missed.
 */
void log_cursor_seek_place(struct log_cursor *cursor, uint64_t place);

/* Where the record ends that peek returned: its file's number and the offset in it. */
uint64_t log_cursor_place(const struct log_cursor *cursor);

/* Past the record that peek returned. */
void log_cursor_advance(struct log_cursor *cursor);

/* Files that rotation removed before the cursor came to them, since the last call. */
uint32_t log_cursor_take_missed(struct log_cursor *cursor);
