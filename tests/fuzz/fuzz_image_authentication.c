/* What a registry and its token server say about authentication. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "agent/image/challenge.h"
#include "agent/image/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[4096];
	struct challenge challenge = { 0 };
	struct err err = { 0 };
	char *field = NULL;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (challenge_parse(text, &challenge, &err) == 0) {
		assert(challenge.scheme == CHALLENGE_BASIC || challenge.realm[0]);
		assert(memchr(challenge.realm, '\0', sizeof(challenge.realm)));
		assert(memchr(challenge.scope, '\0', sizeof(challenge.scope)));
	}
	if (token_read(data, size, &field, &err) == 0) {
		assert(strncmp(field, "Bearer ", 7) == 0);
		assert(!strpbrk(field + 7, " \r\n\t"));
	}
	secret_free(field);
	return 0;
}
