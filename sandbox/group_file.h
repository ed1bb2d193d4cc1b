/* The files of a control group: small, whole, read and written in one call each. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define GROUP_FILE_MAX 16384 /* what a read takes; the longest that matter have a line per device */

/* Write @value into @file of the directory. 0 or -errno; never creates. */
int group_file_write(int dir_fd, const char *file, const char *value);

/* Read @file into @text, NUL-terminated, without the last newline, cut at a line's end where it does
 * not fit. The length, or -errno. */
ssize_t group_file_read(int dir_fd, const char *file, char *text, size_t size);

/* The number that @file holds; "max" is UINT64_MAX - 1. */
int group_file_read_u64(int dir_fd, const char *file, uint64_t *ret_value);

/* The number after "@key " at the start of a line of @text. */
bool group_file_find_u64(const char *text, const char *key, uint64_t *ret_value);

/* Whether the directory has @file. */
bool group_file_exists(int dir_fd, const char *file);
