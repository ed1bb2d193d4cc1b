/*
 * What people call an image by: "nginx", "registry.example:5000/team/app:1.2", "app@sha256:...". Short
 * names mean what docker means by them: "nginx" is docker.io/library/nginx:latest.
 */
#pragma once

#include <stdbool.h>

#include "agent/image/digest.h"
#include "proto/err.h"

#define REFERENCE_HOST_MAX 255
#define REFERENCE_PATH_MAX 255
#define REFERENCE_TAG_MAX  128
/* host/path:tag@sha256:digest */
#define REFERENCE_TEXT_MAX \
	(REFERENCE_HOST_MAX + REFERENCE_PATH_MAX + REFERENCE_TAG_MAX + DIGEST_TEXT_MAX + 4)

struct reference {
	char host[REFERENCE_HOST_MAX + 1]; /* "docker.io", "localhost:5000", "[::1]:5000" */
	char path[REFERENCE_PATH_MAX + 1]; /* "library/nginx" */
	char tag[REFERENCE_TAG_MAX + 1];   /* "" only where there is a digest */
	bool has_digest;
	struct digest digest; /* where it is given it decides, and the tag is a remark */
};

/* ERR_INVALID: what part of it is wrong, and what is allowed there. ERR_UNSUPPORTED: the digest's kind. */
int reference_parse(const char *text, struct reference *ret_reference, struct err *err);

/* The same for lists in a configuration. */
int reference_check(const char *item, struct err *err);

/* The whole name, nothing left out: reference_parse() of it is the same. Writes into @buffer, returns it. */
const char *reference_text(const struct reference *reference,
			   char buffer[static REFERENCE_TEXT_MAX]);

/* "localhost:5000", "[::1]:5000", "registry.example": whether @host is the name of a registry. */
bool reference_is_host(const char *host);
