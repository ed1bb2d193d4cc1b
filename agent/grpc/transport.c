#include "agent/grpc/transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/grpc/tls_private.h"
#include "proto/cleanup.h"

void transport_init(struct transport *tr, int fd)
{
	*tr = (struct transport){ .fd = fd };
}

void transport_done(struct transport *tr)
{
	SSL_free(tr->ssl);
	tr->ssl = NULL;
	fd_close(&tr->fd);
}

/*
 * OpenSSL's own socket BIO uses write(2): a peer that hangs up would end the process with SIGPIPE. Ours says
 * MSG_NOSIGNAL.
 */
static int bio_fd(BIO *bio)
{
	return (int)(intptr_t)BIO_get_data(bio);
}

static int bio_write(BIO *bio, const char *buf, int n)
{
	ssize_t put = send(bio_fd(bio), buf, (size_t)n, MSG_NOSIGNAL);

	BIO_clear_retry_flags(bio);
	if (put < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(bio);
	return (int)put;
}

static int bio_read(BIO *bio, char *buf, int n)
{
	ssize_t got = recv(bio_fd(bio), buf, (size_t)n, 0);

	BIO_clear_retry_flags(bio);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(bio);
	return (int)got;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	return command == BIO_CTRL_FLUSH; /* nothing is buffered here */
}

static BIO *bio_new(int fd)
{
	static BIO_METHOD *method; /* one for the process, as OpenSSL has its own */
	BIO *bio;

	if (!method) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
		if (!method)
			return NULL;
		(void)BIO_meth_set_write(method, bio_write);
		(void)BIO_meth_set_read(method, bio_read);
		(void)BIO_meth_set_ctrl(method, bio_ctrl);
	}
	bio = BIO_new(method);
	if (!bio)
		return NULL;
	BIO_set_data(bio, (void *)(intptr_t)fd);
	BIO_set_init(bio, 1);
	return bio;
}

static int start_tls(struct transport *tr, const struct grpc_tls *tls)
{
	BIO *bio;

	ERR_clear_error();
	tr->ssl = SSL_new(grpc_tls_context(tls));
	bio = tr->ssl ? bio_new(tr->fd) : NULL;
	if (!bio)
		return -ENOMEM;
	SSL_set_bio(tr->ssl, bio, bio);
	tr->shaking = true;
	return 0;
}

int transport_accept_tls(struct transport *tr, const struct grpc_tls *tls)
{
	int r = start_tls(tr, tls);

	if (r < 0)
		return r;
	SSL_set_accept_state(tr->ssl);
	return 0;
}

static bool is_address(const char *name)
{
	unsigned char buf[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, name, buf) == 1 || inet_pton(AF_INET6, name, buf) == 1;
}

int transport_connect_tls(struct transport *tr, const struct grpc_tls *tls, const char *server_name)
{
	int r = start_tls(tr, tls);
	int ok;

	if (r < 0)
		return r;
	if (is_address(server_name)) {
		ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tr->ssl), server_name);
	} else {
		SSL_set_hostflags(tr->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		ok = SSL_set1_host(tr->ssl, server_name) == 1 &&
		     SSL_set_tlsext_host_name(tr->ssl, server_name) == 1;
	}
	if (!ok)
		return -ENOMEM;
	SSL_set_connect_state(tr->ssl);
	return 0;
}

static bool speaks_h2(const SSL *ssl)
{
	const unsigned char *protocol;
	unsigned n;

	SSL_get0_alpn_selected(ssl, &protocol, &n);
	return n == 2 && memcmp(protocol, "h2", 2) == 0;
}

static int shake_failed(const struct transport *tr, int ssl_error, int saved_errno, struct err *err)
{
	long verdict = SSL_get_verify_result(tr->ssl);
	char reason[256];

	if (verdict != X509_V_OK) {
		ERR_clear_error();
		return err_set(err, ERR_DENIED, EACCES, "TLS handshake: the peer's certificate: %s",
			       X509_verify_cert_error_string(verdict));
	}
	if (ssl_error == SSL_ERROR_SYSCALL && !ERR_peek_error())
		return err_set(err, ERR_UNAVAILABLE, saved_errno ? saved_errno : ECONNRESET,
			       "TLS handshake: %m");
	return err_set(err, ERR_DENIED, EPROTO, "TLS handshake: %s", tls_reason(reason));
}

int transport_shake(struct transport *tr, bool *ret_wants_out, struct err *err)
{
	int done, ssl_error;

	*ret_wants_out = false;
	if (!tr->shaking)
		return 0;
	ERR_clear_error();
	errno = 0;
	done = SSL_do_handshake(tr->ssl);
	if (done != 1) {
		int saved_errno = errno;

		ssl_error = SSL_get_error(tr->ssl, done);
		*ret_wants_out = ssl_error == SSL_ERROR_WANT_WRITE;
		if (ssl_error == SSL_ERROR_WANT_READ || ssl_error == SSL_ERROR_WANT_WRITE)
			return -EAGAIN;
		return shake_failed(tr, ssl_error, saved_errno, err);
	}
	if (!speaks_h2(tr->ssl))
		return err_set(err, ERR_INVALID, EPROTO,
			       "TLS handshake: the peer does not speak HTTP/2 (no ALPN \"h2\")");
	tr->shaking = false;
	return 0;
}

/* What SSL_read or SSL_write came to, when it was not bytes. */
static ssize_t tls_result(struct transport *tr, int done, int saved_errno, bool *wants_other,
			  bool reading)
{
	int ssl_error = SSL_get_error(tr->ssl, done);

	switch (ssl_error) {
	case SSL_ERROR_WANT_READ:
		*wants_other = !reading;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		*wants_other = reading;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return reading ? 0 : -EPIPE;
	case SSL_ERROR_SYSCALL:
		ERR_clear_error();
		return saved_errno ? -saved_errno : -ECONNRESET;
	default:
		ERR_clear_error();
		return -EPROTO;
	}
}

ssize_t transport_read(struct transport *tr, void *buf, size_t n)
{
	ssize_t got;

	tr->read_wants_out = false;
	if (tr->ssl) {
		int done;

		ERR_clear_error();
		errno = 0;
		done = SSL_read(tr->ssl, buf, n > INT_MAX ? INT_MAX : (int)n);
		return done > 0 ? done : tls_result(tr, done, errno, &tr->read_wants_out, true);
	}
	do
		got = recv(tr->fd, buf, n, 0);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

ssize_t transport_write(struct transport *tr, const void *buf, size_t n)
{
	ssize_t put;

	tr->write_wants_in = false;
	if (tr->ssl) {
		int done;

		ERR_clear_error();
		errno = 0;
		done = SSL_write(tr->ssl, buf, n > INT_MAX ? INT_MAX : (int)n);
		return done > 0 ? done : tls_result(tr, done, errno, &tr->write_wants_in, false);
	}
	do
		put = send(tr->fd, buf, n, MSG_NOSIGNAL);
	while (put < 0 && errno == EINTR);
	return put < 0 ? -errno : put;
}

bool transport_has_more(const struct transport *tr)
{
	return tr->ssl && SSL_pending(tr->ssl) > 0;
}

void transport_shutdown_write(struct transport *tr)
{
	if (tr->ssl && !tr->shaking) {
		ERR_clear_error();
		(void)SSL_shutdown(tr->ssl); /* best effort: the FIN below says the same */
		ERR_clear_error();
	}
	(void)shutdown(tr->fd, SHUT_WR);
}
