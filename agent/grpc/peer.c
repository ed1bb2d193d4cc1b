#include "agent/grpc/peer_private.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/cleanup.h"

/* IPv4 as IPv4-mapped IPv6, so that one comparison serves both. */
static void set_origin(struct grpc_peer *peer, const struct sockaddr_storage *addr)
{
	const struct sockaddr_in6 *in6 = (const void *)addr;
	const struct sockaddr_in *in = (const void *)addr;

	if (addr->ss_family == AF_INET6) {
		memcpy(peer->origin, &in6->sin6_addr, 16);
		return;
	}
	peer->origin[10] = peer->origin[11] = 0xff;
	memcpy(peer->origin + 12, &in->sin_addr, 4);
}

static bool is_mapped_v4(const uint8_t *origin)
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	return memcmp(origin, prefix, sizeof(prefix)) == 0;
}

static void format_address(struct grpc_peer *peer, const struct sockaddr_storage *addr)
{
	char text[INET6_ADDRSTRLEN] = "?";

	if (is_mapped_v4(peer->origin))
		(void)inet_ntop(AF_INET, peer->origin + 12, text, sizeof(text));
	else
		(void)inet_ntop(AF_INET6, peer->origin, text, sizeof(text));
	/* The port is at the same place in both. */
	(void)snprintf(peer->address, sizeof(peer->address),
		       is_mapped_v4(peer->origin) ? "%s:%u" : "[%s]:%u", text,
		       ntohs(((const struct sockaddr_in *)addr)->sin_port));
}

static int learn_credentials(struct grpc_peer *peer, int fd, struct err *err)
{
	struct ucred cred;
	socklen_t n = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot learn who connected: %m");
	peer->kind = GRPC_PEER_UNIX;
	peer->pid = cred.pid;
	peer->uid = cred.uid;
	peer->gid = cred.gid;
	(void)snprintf(peer->address, sizeof(peer->address), "unix:pid=%d,uid=%u", (int)cred.pid,
		       (unsigned)cred.uid);
	return 0;
}

int peer_init(struct grpc_peer *peer, int fd, struct err *err)
{
	struct sockaddr_storage addr = { 0 };
	socklen_t n = sizeof(addr);

	*peer = (struct grpc_peer){ .uid = (uid_t)-1, .gid = (gid_t)-1 };
	if (getpeername(fd, (struct sockaddr *)&addr, &n) < 0)
		return err_set(err, ERR_UNAVAILABLE, errno, "cannot learn who connected: %m");
	if (addr.ss_family == AF_UNIX)
		return learn_credentials(peer, fd, err);
	if (addr.ss_family != AF_INET && addr.ss_family != AF_INET6)
		return err_set(err, ERR_UNSUPPORTED, EAFNOSUPPORT, "socket family %d is not served",
			       addr.ss_family);
	peer->kind = GRPC_PEER_TLS;
	set_origin(peer, &addr);
	format_address(peer, &addr);
	return 0;
}

static void free_names(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

void peer_done(struct grpc_peer *peer)
{
	free(peer->common_name);
	free_names(peer->dns_names, peer->n_dns_names);
	free_names(peer->uri_names, peer->n_uri_names);
	peer->common_name = NULL;
	peer->dns_names = peer->uri_names = NULL;
	peer->n_dns_names = peer->n_uri_names = 0;
}

/* A copy of an ASN.1 string; -EBADMSG for what would read differently than it compares. */
static int copy_name(const unsigned char *bytes, int n, char **ret_name)
{
	char *name;

	if (n < 0)
		return -EBADMSG;
	for (int i = 0; i < n; i++) {
		if (bytes[i] < 0x20 || bytes[i] > 0x7e)
			return -EBADMSG;
	}
	name = strndup((const char *)bytes, (size_t)n);
	if (!name)
		return -ENOMEM;
	*ret_name = name;
	return 0;
}

static int append_name(char ***names, size_t *n, const ASN1_STRING *value)
{
	char **grown = realloc(*names, (*n + 1) * sizeof(**names));
	int r;

	if (!grown)
		return -ENOMEM;
	*names = grown;
	r = copy_name(ASN1_STRING_get0_data(value), ASN1_STRING_length(value), &grown[*n]);
	if (r == 0)
		(*n)++;
	return r;
}

static int learn_alternatives(struct grpc_peer *peer, const GENERAL_NAMES *names)
{
	int r = 0;

	for (int i = 0; r == 0 && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS)
			r = append_name(&peer->dns_names, &peer->n_dns_names, name->d.dNSName);
		else if (name->type == GEN_URI)
			r = append_name(&peer->uri_names, &peer->n_uri_names,
					name->d.uniformResourceIdentifier);
	}
	return r;
}

static int learn_common_name(struct grpc_peer *peer, const X509 *cert)
{
	X509_NAME *subject = X509_get_subject_name(cert);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	unsigned char *utf8 = NULL;
	int n, r;

	if (at < 0)
		return 0;
	/* Two of them: which one a reader sees depends on the reader. */
	if (X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
		return -EBADMSG;
	n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	if (n < 0)
		return -EBADMSG;
	r = copy_name(utf8, n, &peer->common_name);
	OPENSSL_free(utf8);
	return r;
}

static int learn_fingerprint(struct grpc_peer *peer, const X509 *cert)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (X509_digest(cert, EVP_sha256(), digest, &n) != 1 || n != 32)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		(void)snprintf(peer->fingerprint + 2 * i, 3, "%02x", digest[i]);
	return 0;
}

int peer_learn_certificate(struct grpc_peer *peer, SSL *ssl, struct err *err)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);
	GENERAL_NAMES *names;
	int critical, r;

	if (!cert) /* cannot be: the handshake fails without one */
		return err_set(err, ERR_DENIED, EACCES, "%s shows no certificate", peer->address);
	names = X509_get_ext_d2i(cert, NID_subject_alt_name, &critical, NULL);
	/* -1 is "has none"; otherwise NULL is an extension that cannot be read. */
	r = !names && critical != -1 ? -EBADMSG : learn_alternatives(peer, names);
	GENERAL_NAMES_free(names);
	if (r == 0)
		r = learn_common_name(peer, cert);
	if (r == 0)
		r = learn_fingerprint(peer, cert);
	if (r == -ENOMEM)
		return err_oom(err);
	if (r < 0)
		return err_set(
			err, ERR_DENIED, EACCES,
			"the certificate of %s has a name that is not printable ASCII, or two common names",
			peer->address);
	if (!peer->common_name)
		peer->common_name = strdup("");
	return peer->common_name ? 0 : err_oom(err);
}

bool peer_same_origin(const struct grpc_peer *a, const struct grpc_peer *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == GRPC_PEER_UNIX)
		return a->uid == b->uid;
	/* Whoever has an IPv6 address usually has its /64. */
	return memcmp(a->origin, b->origin, is_mapped_v4(a->origin) ? 16 : 8) == 0;
}

const char *grpc_peer_text(const struct grpc_peer *peer, char *buf, size_t n)
{
	const char *name = peer->common_name;

	/* The common name is asserted by nobody where there are others: see grpc_peer_has_name(). */
	if (peer->n_uri_names)
		name = peer->uri_names[0];
	else if (peer->n_dns_names)
		name = peer->dns_names[0];
	if (name && *name)
		(void)snprintf(buf, n, "%s (%s)", peer->address, name);
	else
		(void)snprintf(buf, n, "%s", peer->address);
	return buf;
}

bool grpc_peer_has_name(const struct grpc_peer *peer, const char *name)
{
	for (size_t i = 0; i < peer->n_dns_names; i++) {
		if (strcmp(peer->dns_names[i], name) == 0)
			return true;
	}
	for (size_t i = 0; i < peer->n_uri_names; i++) {
		if (strcmp(peer->uri_names[i], name) == 0)
			return true;
	}
	return !peer->n_dns_names && !peer->n_uri_names && peer->common_name &&
	       *peer->common_name && strcmp(peer->common_name, name) == 0;
}
