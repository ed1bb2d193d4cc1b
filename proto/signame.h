/*
 * Signals by name, as signal(7) lists them, and by number.
 */
#pragma once

#include "proto/err.h"

#define SIGNAME_MAX 24

/*
 * "SIGTERM", "TERM", "term", "15", "RTMIN+3", "SIGRTMAX-1" → 15 and so on: 1 to 64. Real-time names count
 * from 34, where the C library's SIGRTMIN is. Returns 0, or -EINVAL with @err (ERR_INVALID).
 */
int signame_parse(const char *text, int *ret_signal, struct err *err);

/* "SIGTERM", "SIGRTMIN+3"; a number without a name is "signal 32". Writes into @buffer, returns it. */
const char *signame_format(int signal, char buffer[static SIGNAME_MAX]);
