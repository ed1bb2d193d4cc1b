/*
 * One record of a container's log file, in the CRI log format:
 *	2026-01-02T03:04:05.123456789Z stdout F text of the line\n
 * F: the line ends here; P: it goes on in the next record.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_line {
	uint64_t time_unix_ns;
	bool is_stderr;
	bool partial;
	const char *text; /* points into what was parsed; any bytes, no newline */
	size_t length;
};

/*
 * Parse one record, without its newline. Returns 0, or -EBADMSG for bytes that are no record (a torn
 * write after a full disk); @ret is written only on success.
 */
int log_line_parse(const char *record, size_t length, struct log_line *ret);
