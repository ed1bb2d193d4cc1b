/*
 * A connected socket that never blocks, with TLS on it or without: the bytes below HTTP/2.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/grpc/tls.h"
#include "proto/err.h"

struct transport {
	int fd;       /* owned; -1 when closed */
	SSL *ssl;     /* NULL without TLS, or before transport_start_tls() */
	bool shaking; /* the TLS handshake is not over */
	/* TLS may have to read in order to write and the other way round: which events the last -EAGAIN waits
	 * for. Without TLS they say what one expects. */
	bool read_wants_out;
	bool write_wants_in;
};

/* Take @fd, which is non-blocking. */
void transport_init(struct transport *tr, int fd);
/* At once: no farewell. */
void transport_done(struct transport *tr);

/* Begin TLS as the server, or as the client of a server that must be @server_name (a DNS name, sent as SNI,
 * or an address). transport_shake() follows. Returns 0 or -ENOMEM. */
int transport_accept_tls(struct transport *tr, const struct grpc_tls *tls);
int transport_connect_tls(struct transport *tr, const struct grpc_tls *tls,
			  const char *server_name);

/* Go on with the handshake. Returns 0 when it is over, ALPN h2 included; -EAGAIN (see @ret_wants_out); or a
 * negative errno with @err: the end of the connection. */
int transport_shake(struct transport *tr, bool *ret_wants_out, struct err *err);

/* Read up to @n bytes. Returns how many, 0 at the end, -EAGAIN, or the negative errno that ends it. */
ssize_t transport_read(struct transport *tr, void *buf, size_t n);
/* Write up to @n bytes. Returns how many (one or more), -EAGAIN, or the negative errno that ends it. */
ssize_t transport_write(struct transport *tr, const void *buf, size_t n);
/* Bytes that are decrypted but not read: no event will come for them. */
bool transport_has_more(const struct transport *tr);

/* No more writing; what was written still arrives. */
void transport_shutdown_write(struct transport *tr);
