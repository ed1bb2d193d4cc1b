/*
 * What gives access to a repository: the value of an Authorization field. Overwritten when it is freed, and
 * never in a sentence.
 */
#pragma once

#include <stddef.h>

#include "agent/image/credentials.h"
#include "proto/err.h"

/* "Bearer ..." of a token server's answer. *ret_field is the caller's, for secret_free(). ERR_INVALID. */
int token_read(const void *bytes, size_t length, char **ret_field, struct err *err);
/* "Basic ..." of a name and a password. */
int token_of_credentials(const struct credentials *credentials, char **ret_field, struct err *err);
