/*
 * Who pulls: a name and a password for one registry, given with a pull or kept in a file of the host's.
 */
#pragma once

#include <stdbool.h>

#include "proto/cleanup.h"
#include "proto/err.h"

#define CREDENTIALS_BYTES_MAX 16384U /* of the name and the password, each */

struct credentials {
	char *user; /* NULL: none are known */
	char *password;
};

/* @user without ':' and both without control characters. ERR_INVALID. Copies both. */
int credentials_set(const char *user, const char *password, struct credentials *ret_credentials,
		    struct err *err);
void credentials_done(struct credentials *credentials);

/*
 * What the file @path, in the form of docker's config.json ("auths"), has for the registry @host; nothing
 * where it has none or there is no file. It must be root's or this user's own, and nobody's else to read.
 * ERR_DENIED, ERR_INVALID.
 */
int credentials_load(const char *path, const char *host, struct credentials *ret_credentials,
		     struct err *err);

/* Overwrite and free a string that somebody could do something with; NULL is fine. */
void secret_free(char *secret);
