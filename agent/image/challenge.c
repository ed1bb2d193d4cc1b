#include "agent/image/challenge.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "proto/names.h"

#define TOKEN_CHARACTERS \
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"

static const char *skip_space(const char *text)
{
	return text + strspn(text, " \t,");
}

/* A token or a quoted string into @buffer; what follows it, or NULL when it does not fit or does not end. */
static const char *take_value(const char *text, char *buffer, size_t size)
{
	size_t used = 0;

	if (*text != '"') {
		size_t length = strspn(text, TOKEN_CHARACTERS "/:=");

		if (length >= size)
			return NULL;
		memcpy(buffer, text, length);
		buffer[length] = '\0';
		return text + length;
	}
	for (text++; *text && *text != '"'; text++) {
		if (*text == '\\' && text[1])
			text++;
		if (used + 1 >= size)
			return NULL;
		buffer[used++] = *text;
	}
	buffer[used] = '\0';
	return *text == '"' ? text + 1 : NULL;
}

/* Parameters that are not asked for go through a buffer of their own, so that they may not be long either. */
static const char *take_parameter(const char *text, struct challenge *challenge)
{
	char other[1024];
	size_t length = strspn(text, TOKEN_CHARACTERS);
	const struct {
		const char *name;
		char *buffer;
		size_t size;
	} known[] = {
		{ "realm", challenge->realm, sizeof(challenge->realm) },
		{ "service", challenge->service, sizeof(challenge->service) },
		{ "scope", challenge->scope, sizeof(challenge->scope) },
	};

	if (length == 0 || text[length] != '=')
		return NULL;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strlen(known[i].name) == length &&
		    strncasecmp(text, known[i].name, length) == 0)
			return take_value(text + length + 1, known[i].buffer, known[i].size);
	return take_value(text + length + 1, other, sizeof(other));
}

int challenge_parse(const char *text, struct challenge *ret_challenge, struct err *err)
{
	struct challenge challenge = { 0 };
	char quoted[NAME_QUOTED_MAX];
	size_t length;

	text = skip_space(text);
	length = strspn(text, TOKEN_CHARACTERS);
	if (length == 0)
		return err_set(err, ERR_INVALID, EINVAL,
			       "it does not say how to authenticate (no WWW-Authenticate)");
	if (length == 5 && strncasecmp(text, "Basic", 5) == 0)
		challenge.scheme = CHALLENGE_BASIC;
	else if (length == 6 && strncasecmp(text, "Bearer", 6) == 0)
		challenge.scheme = CHALLENGE_BEARER;
	else
		return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP,
			       "it asks for authentication by %s; basic and bearer are supported",
			       names_quote(text, quoted));
	text = skip_space(text + length);
	while (*text && challenge.scheme == CHALLENGE_BEARER) {
		text = take_parameter(text, &challenge);
		if (!text)
			return err_set(
				err, ERR_INVALID, EINVAL,
				"what it asks for (WWW-Authenticate) is malformed or too long");
		text = skip_space(text);
	}
	if (challenge.scheme == CHALLENGE_BEARER && !challenge.realm[0])
		return err_set(err, ERR_INVALID, EINVAL,
			       "it asks for a token and does not say from where (realm)");
	*ret_challenge = challenge;
	return 0;
}
