/*
 * What a function owns ends with its scope: cleanup_fd, cleanup_free, and a cleanup_<type> that each
 * module defines for its own types. take_fd and take_ptr hand ownership on.
 */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Close *@fd if it is one, keeping errno. Never retried: on Linux the descriptor is gone even when
 * close(2) fails with EINTR. */
static inline void fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
	errno = saved;
}

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static inline void free_ptr(void *p)
{
	free(*(void **)p);
}

static inline void close_file(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

#define cleanup(func) __attribute__((__cleanup__(func)))
#define cleanup_fd    cleanup(fd_close)
#define cleanup_free  cleanup(free_ptr)
#define cleanup_file  cleanup(close_file)

/* The pointer in *@p, which the caller now owns; *@p becomes NULL. */
#define take_ptr(p)                                    \
	({                                             \
		__typeof__(*(p)) *take_from_ = (p);    \
		__typeof__(*(p)) taken_ = *take_from_; \
		*take_from_ = NULL;                    \
		taken_;                                \
	})

/* Define cleanup_<name> in terms of a destructor that takes the pointer and accepts NULL:
 *	DEFINE_CLEANUP(struct err_list *, err_list_free)
 * then: cleanup(err_list_free_p) struct err_list *list = NULL; */
#define DEFINE_CLEANUP(type, destroy)           \
	static inline void destroy##_p(type *p) \
	{                                       \
		if (*p)                         \
			destroy(*p);            \
	}

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
