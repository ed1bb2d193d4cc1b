/*
 * What a registry asks for before it answers: the WWW-Authenticate field of a 401.
 */
#pragma once

#include "proto/err.h"

enum challenge_scheme { CHALLENGE_BASIC = 1, CHALLENGE_BEARER = 2 };

struct challenge {
	enum challenge_scheme scheme;
	char realm[1024];  /* of a bearer: the URL that gives tokens */
	char service[256]; /* "" if it names none */
	char scope[1024];
};

/* ERR_INVALID: no challenge at all; ERR_UNSUPPORTED: of another scheme, or too long. */
int challenge_parse(const char *text, struct challenge *ret_challenge, struct err *err);
