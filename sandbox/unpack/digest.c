#include "sandbox/unpack/digest.h"

#include <errno.h>
#include <stdio.h>

static EVP_MD *algorithm;

int digest_prepare(struct err *err)
{
	algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
	return algorithm ? 0 : err_set(err, ERR_INTERNAL, EIO, "libcrypto has no sha256");
}

const EVP_MD *digest_algorithm(void)
{
	return algorithm;
}

int digest_end(EVP_MD_CTX *context, char hex[static DIGEST_HEX_MAX], struct err *err)
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	unsigned int size;

	if (EVP_DigestFinal_ex(context, bytes, &size) != 1 || size * 2 + 1 != DIGEST_HEX_MAX)
		return err_oom(err);
	for (unsigned int i = 0; i < size; i++)
		(void)snprintf(hex + (size_t)2 * i, 3, "%02x", bytes[i]);
	return 0;
}
