#include "agent/image/token.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "agent/image/document.h"

#define TOKEN_BYTES_MAX 32768U

/* It goes into a line of a request's head. */
static bool is_plain(const char *token)
{
	size_t length = strlen(token);

	if (length == 0 || length > TOKEN_BYTES_MAX)
		return false;
	for (; *token; token++)
		if (*token <= ' ' || *token >= 127)
			return false;
	return true;
}

int token_read(const void *bytes, size_t length, char **ret_field, struct err *err)
{
	cleanup_document json_t *root = NULL;
	const char *token = "", *access_token = "";
	int r = document_load(bytes, length, &root, err);

	if (r == 0)
		r = document_string(root, "token", &token, err);
	if (r == 0)
		r = document_string(root, "access_token", &access_token, err);
	if (r < 0)
		return r;
	if (!token[0])
		token = access_token;
	if (!is_plain(token))
		return err_set(err, ERR_INVALID, EINVAL, "its answer holds no token");
	if (asprintf(ret_field, "Bearer %s", token) < 0)
		return err_oom(err);
	return 0;
}

int token_of_credentials(const struct credentials *credentials, char **ret_field, struct err *err)
{
	char *plain = NULL, *field = NULL;
	int r = -ENOMEM, n = asprintf(&plain, "%s:%s", credentials->user, credentials->password);

	if (n >= 0)
		field = malloc(sizeof("Basic ") + 4 * ((size_t)n + 2) / 3 + 4);
	if (field) {
		(void)strcpy(field, "Basic ");
		(void)EVP_EncodeBlock((unsigned char *)field + strlen(field),
				      (const unsigned char *)plain, n);
		*ret_field = field;
		r = 0;
	}
	if (n >= 0)
		secret_free(plain);
	return r < 0 ? err_oom(err) : 0;
}
