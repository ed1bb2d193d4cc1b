#include "agent/image/digest.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "proto/names.h"

#define PREFIX "sha256:"

bool digest_parse_hex(const char *hex, struct digest *ret_digest)
{
	if (strlen(hex) != DIGEST_HEX || strspn(hex, "0123456789abcdef") != DIGEST_HEX)
		return false;
	memcpy(ret_digest->hex, hex, DIGEST_HEX + 1);
	return true;
}

int digest_parse(const char *text, struct digest *ret_digest, struct err *err)
{
	char quoted[NAME_QUOTED_MAX];

	if (strncmp(text, PREFIX, strlen(PREFIX)) == 0 &&
	    digest_parse_hex(text + strlen(PREFIX), ret_digest))
		return 0;
	if (strncmp(text, "sha512:", 7) == 0 || strncmp(text, "sha384:", 7) == 0 ||
	    strncmp(text, "blake3:", 7) == 0)
		return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP,
			       "digest %s: only sha256 is supported", names_quote(text, quoted));
	return err_set(err, ERR_INVALID, EINVAL,
		       "%s is no digest: sha256: and 64 lower-case hexadecimal digits",
		       names_quote(text, quoted));
}

const char *digest_text(const struct digest *digest, char buffer[static DIGEST_TEXT_MAX])
{
	(void)snprintf(buffer, DIGEST_TEXT_MAX, PREFIX "%s", digest->hex);
	return buffer;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return strcmp(a->hex, b->hex) == 0;
}

static void to_hex(const unsigned char bytes[static DIGEST_BYTES], struct digest *ret_digest)
{
	for (size_t i = 0; i < DIGEST_BYTES; i++)
		(void)snprintf(ret_digest->hex + 2 * i, 3, "%02x", bytes[i]);
}

int digest_of(const void *bytes, size_t length, struct digest *ret_digest)
{
	unsigned char value[EVP_MAX_MD_SIZE];

	if (EVP_Digest(bytes, length, value, NULL, EVP_sha256(), NULL) != 1)
		return -ENOMEM;
	to_hex(value, ret_digest);
	return 0;
}

/* The context of libcrypto is one allocation of its own; a struct around it would be a second. */
struct digester *digester_new(void)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();

	if (context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1)
		return (struct digester *)context;
	EVP_MD_CTX_free(context);
	return NULL;
}

void digester_free(struct digester *digester)
{
	EVP_MD_CTX_free((EVP_MD_CTX *)digester);
}

int digester_add(struct digester *digester, const void *bytes, size_t length)
{
	return EVP_DigestUpdate((EVP_MD_CTX *)digester, bytes, length) == 1 ? 0 : -ENOMEM;
}

int digester_end(struct digester *digester, struct digest *ret_digest)
{
	unsigned char value[EVP_MAX_MD_SIZE];

	if (EVP_DigestFinal_ex((EVP_MD_CTX *)digester, value, NULL) != 1)
		return -ENOMEM;
	to_hex(value, ret_digest);
	return 0;
}
