#include "proto/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/cleanup.h"

int err_setv(struct err *err, enum err_kind kind, int errnum, const char *fmt, va_list ap)
{
	if (err) {
		err->kind = kind;
		err->errnum = errnum;
		errno = errnum; /* for %m */
		(void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
	}
	return errnum > 0 ? -errnum : -EIO;
}

int err_set(struct err *err, enum err_kind kind, int errnum, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = err_setv(err, kind, errnum, fmt, ap);
	va_end(ap);
	return r;
}

int err_prefix(struct err *err, int r, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list ap;
	int n;

	if (!err)
		return r;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(text)) {
		int room = (int)sizeof(text) - n;

		(void)snprintf(text + n, (size_t)room, ": %.*s", room, err->text);
	}
	memcpy(err->text, text, sizeof(text));
	return r;
}

int err_oom(struct err *err)
{
	return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
}

const char *err_kind_name(enum err_kind kind)
{
	static const char *const names[] = {
		[ERR_NONE] = "NONE",
		[ERR_INVALID] = "INVALID",
		[ERR_NOT_FOUND] = "NOT_FOUND",
		[ERR_EXISTS] = "EXISTS",
		[ERR_DENIED] = "DENIED",
		[ERR_EXHAUSTED] = "EXHAUSTED",
		[ERR_PRECONDITION] = "PRECONDITION",
		[ERR_UNSUPPORTED] = "UNSUPPORTED",
		[ERR_UNAVAILABLE] = "UNAVAILABLE",
		[ERR_TIMEOUT] = "TIMEOUT",
		[ERR_START] = "START",
		[ERR_INTERNAL] = "INTERNAL",
		[ERR_CANCELLED] = "CANCELLED",
	};

	if ((size_t)kind >= ARRAY_SIZE(names))
		return "UNKNOWN";
	return names[kind];
}
