/*
 * TLS for gRPC: HTTP/2 by ALPN or nothing, both ends with certificates, TLS 1.2 (forward secret AEAD
 * suites only) or 1.3, no resumption. OpenSSL stays in this component.
 */
#pragma once

#include "proto/err.h"

struct grpc_tls; /* reference counted, immutable: reloading makes another */

struct grpc_tls_files {
	const char *cert_path; /* PEM: our certificate, then its intermediates */
	const char *
		key_path; /* PEM, unencrypted; refused if others than its owner and group can read it */
	const char *
		ca_path; /* PEM: the authorities that may have signed the other end's certificate */
};

/*
 * Read the files into *ret_tls, the caller's to unref.
 *
 * Returns 0, or a negative errno with @err naming the file:
 *   ERR_NOT_FOUND  a file is missing     ERR_DENIED   a key that everyone can read
 *   ERR_INVALID    not PEM, key and certificate do not belong together, certificate out of date
 */
int grpc_tls_new_server(const struct grpc_tls_files *files, struct grpc_tls **ret_tls,
			struct err *err);
/* The same for a client. cert_path and key_path may both be NULL: no certificate is shown. */
int grpc_tls_new_client(const struct grpc_tls_files *files, struct grpc_tls **ret_tls,
			struct err *err);

struct grpc_tls *grpc_tls_ref(struct grpc_tls *tls);
void grpc_tls_unref(struct grpc_tls *tls); /* NULL is fine */

/* Wall clock, seconds since 1970: when our own certificate ends, for telemetry. */
long long grpc_tls_expires_wall_sec(const struct grpc_tls *tls);
