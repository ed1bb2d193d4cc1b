/*
 * Descriptors out of reach for a while: in flight in a socket, where no path leads to them.
 *
 * Whatever a process has open it can walk through by name, by the links in /proc/self/fd, and what its table shares
 * with another's is open for both. unix(7), SCM_RIGHTS.
 */
#pragma once

#include <stddef.h>

#include "proto/err.h"

#define ASIDE_MAX 64

struct aside {
	int socket_fds[2]; /* -1 where nothing is set aside */
	size_t count;
	int numbers[ASIDE_MAX]; /* that they had, and get again */
};

#define ASIDE_NONE ((struct aside){ .socket_fds = { -1, -1 } })

/*
 * Set the @count descriptors of @fds aside, and close them; -1 and one that stands there twice are passed over.
 *
 *   ERR_EXHAUSTED  no socket could be made, or too many descriptors are in flight: all stay where they are
 */
int aside_put(struct aside *aside, const int *fds, size_t count, struct err *err);

/*
 * All of them again, with the numbers that they had. Where *@in_the_way has one of these numbers by now it gets
 * another. Nothing where nothing is set aside.
 *
 *   ERR_EXHAUSTED  some are lost
 */
int aside_take(struct aside *aside, int *in_the_way, struct err *err);
