/*
 * The file of a container's page, in its run directory, as the daemon uses it: made before the monitor is
 * forked, read where the monitor can no longer tell, and completed where it died before the end.
 */
#pragma once

#include "proto/err.h"
#include "proto/page.h"

#define PAGE_FILE_NAME "page"

/* Make it, in PAGE_STARTING. Returns the descriptor, read-write, or a negative errno with @err. */
int page_file_create(int run_fd, uint32_t attempt, struct err *err);

/* O_RDONLY: fit to be given away, since the file is root's alone. -errno. */
int page_file_open(int run_fd);

/* Read-write, for an exec session's monitor. -errno. */
int page_file_open_writable(int run_fd);

/* A checked copy of what it says. As page_read(), and ERR_NOT_FOUND. */
int page_file_read(int run_fd, struct container_page *ret, struct err *err);

/* Change it by @func, in place of a monitor that has ended. */
int page_file_change(int run_fd, void (*func)(struct container_page *page, const void *data),
		     const void *data, struct err *err);
