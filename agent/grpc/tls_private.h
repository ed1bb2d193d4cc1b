/* What transport.c and peer.c need of a struct grpc_tls. */
#pragma once

#include <openssl/ssl.h>

#include "agent/grpc/tls.h"

/* Lives as long as @tls. */
SSL_CTX *grpc_tls_context(const struct grpc_tls *tls);

/* The reason on top of OpenSSL's queue, which is emptied; "unknown reason" if there is none. @buf holds 256. */
const char *tls_reason(char *buf);
