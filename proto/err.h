/*
 * A failure as it reaches a person: doing what, to which object, why, what to do.
 *
 * The number composes and is cheap; the kind says what the caller may do; the text is the sentence of
 * the frame that knew the reason. Nothing here allocates: it works after fork and without memory.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

/* What a caller may do about it. One table in agent/ maps kinds to gRPC status codes; the numbers
 * cross the socket between berthd and berth-sandboxd, so they only grow. */
enum err_kind {
	ERR_NONE = 0,
	ERR_INVALID = 1,      /* the request is wrong; change it */
	ERR_NOT_FOUND = 2,    /* no such object */
	ERR_EXISTS = 3,       /* it is there already, and different */
	ERR_DENIED = 4,       /* policy says no */
	ERR_EXHAUSTED = 5,    /* a limit or a capacity is reached */
	ERR_PRECONDITION = 6, /* the object's state does not permit it */
	ERR_UNSUPPORTED = 7,  /* this host cannot do or enforce it */
	ERR_UNAVAILABLE = 8,  /* try again later or elsewhere */
	ERR_TIMEOUT = 9,      /* a deadline passed */
	ERR_START = 10,       /* the workload's program could not be started: its owner's to mend */
	ERR_INTERNAL = 11,    /* the host or Berth failed */
	ERR_CANCELLED = 12,   /* the asker went away */
};

struct err {
	enum err_kind kind;
	int errnum;     /* why the kernel said no; evidence, never branched on */
	char text[384]; /* one line, UTF-8; cut, never allocated */
};

/*
 * Fill @err (which may be NULL) and return the negative of @errnum, or -EIO where @errnum is 0.
 * "%m" in @fmt is the text of @errnum.
 */
int err_set(struct err *err, enum err_kind kind, int errnum, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
int err_setv(struct err *err, enum err_kind kind, int errnum, const char *fmt, va_list ap)
	__attribute__((format(printf, 4, 0)));

/* Put "<prefix>: " before the text of @err and return @r, so that a frame above can say what it was
 * doing: return err_prefix(err, r, "launch %s", id); */
int err_prefix(struct err *err, int r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ERR_INTERNAL, ENOMEM: "out of memory". */
int err_oom(struct err *err);

/* "INVALID", "NOT_FOUND", ...: for logs. Never NULL. */
const char *err_kind_name(enum err_kind kind);
