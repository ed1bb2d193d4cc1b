/*
 * Who is at the other end of a connection, as the kernel or the certificate says: nothing in here is
 * the peer's own word, except what a certificate authority signed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum grpc_peer_kind {
	GRPC_PEER_UNIX = 1, /* uid, gid, pid by SO_PEERCRED (unix(7)): those of connect(2) time */
	GRPC_PEER_TLS = 2,  /* a verified client certificate */
};

struct grpc_peer {
	enum grpc_peer_kind kind;
	uint64_t connection_id; /* never reused within a process */
	uint8_t origin[16];     /* TLS: the IPv4-mapped or IPv6 address */
	char address[128]; /* "unix:pid=42,uid=0" or "192.0.2.7:51034", "[2001:db8::1]:51034" */

	/* GRPC_PEER_UNIX. Supplementary groups are for the caller to look up. */
	uid_t uid;
	gid_t gid;
	pid_t pid;

	/* GRPC_PEER_TLS. Names with an embedded NUL or of other than printable ASCII never get here: the
	 * handshake is refused. "" and 0 where the certificate has none. */
	char *common_name;
	char **dns_names;
	size_t n_dns_names;
	char **uri_names; /* SPIFFE ids live here */
	size_t n_uri_names;
	char fingerprint[65]; /* SHA-256 of the certificate, lower-case hex */
};

/* For logs: the address and, for TLS, the first URI, or DNS name, or the common name. Returns @buf. */
const char *grpc_peer_text(const struct grpc_peer *peer, char *buf, size_t n);

/* True if the certificate carries @name as a DNS or URI subject alternative name, or, where it has no
 * such names at all, as its common name. */
bool grpc_peer_has_name(const struct grpc_peer *peer, const char *name);
