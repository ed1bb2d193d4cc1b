/* sha256, by libcrypto. */
#pragma once

#include <openssl/evp.h>

#include "proto/err.h"

#define DIGEST_HEX_MAX 65

/* Before the process is confined. */
int digest_prepare(struct err *err);
const EVP_MD *digest_algorithm(void);

/* What @context has come to, in hexadecimal. */
int digest_end(EVP_MD_CTX *context, char hex[static DIGEST_HEX_MAX], struct err *err);
