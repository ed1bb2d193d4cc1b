/*
 * A terminal of the container's own devpts: its master goes to the monitor, its slave becomes the first
 * process's controlling terminal.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"

/*
 * Open a pair in the devpts at /dev/pts below @root_fd, of this size, its slave owned by @uid, and make the
 * slave the controlling terminal, standard input, output and error of the calling process, which leads
 * its session and has no terminal yet. Both ends are close-on-exec. @root_fd may be a container's that has
 * run for long: what is there is checked to be a devpts.
 *
 * Returns the master, or a negative errno with @err.
 */
int terminal_open(int root_fd, uint16_t rows, uint16_t columns, uid_t uid, struct err *err);
