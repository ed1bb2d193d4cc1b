/* How a connection finds out who its peer is. */
#pragma once

#include <openssl/ssl.h>

#include "agent/grpc/peer.h"
#include "proto/err.h"

/* Fill kind, address and, for a unix socket, the credentials, from the accepted socket @fd. */
int peer_init(struct grpc_peer *peer, int fd, struct err *err);
/* Fill the names of the verified certificate. Fails with ERR_DENIED for names that could fool a reader. */
int peer_learn_certificate(struct grpc_peer *peer, SSL *ssl, struct err *err);
void peer_done(struct grpc_peer *peer);
/* Two peers that share a limit: the same uid, the same IPv4 address, the same IPv6 /64. */
bool peer_same_origin(const struct grpc_peer *a, const struct grpc_peer *b);
