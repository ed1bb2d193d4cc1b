/*
 * One SSL_CTX from three files. A context never changes: renewed certificates make another one, and
 * connections keep the one they began with.
 */
#include "agent/grpc/tls_private.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "proto/cleanup.h"

struct grpc_tls {
	unsigned refs;
	SSL_CTX *context;
	long long expires_wall_sec;
};

#define MIN_TLS12_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"

static const unsigned char alpn_h2[] = { 2, 'h', '2' };

SSL_CTX *grpc_tls_context(const struct grpc_tls *tls)
{
	return tls->context;
}

long long grpc_tls_expires_wall_sec(const struct grpc_tls *tls)
{
	return tls->expires_wall_sec;
}

struct grpc_tls *grpc_tls_ref(struct grpc_tls *tls)
{
	tls->refs++;
	return tls;
}

void grpc_tls_unref(struct grpc_tls *tls)
{
	if (!tls || --tls->refs)
		return;
	SSL_CTX_free(tls->context);
	free(tls);
}
DEFINE_CLEANUP(struct grpc_tls *, grpc_tls_unref)

const char *tls_reason(char *buf)
{
	unsigned long code = ERR_peek_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	(void)snprintf(buf, 256, "%s", reason ? reason : "unknown reason");
	ERR_clear_error();
	return buf;
}

/* h2 or no connection: a client that cannot say what it speaks is not a gRPC client. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *n_out,
		       const unsigned char *in, unsigned n_in, void *arg)
{
	unsigned char *chosen;

	if (SSL_select_next_proto(&chosen, n_out, alpn_h2, sizeof(alpn_h2), in, n_in) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int file_failed(struct err *err, const char *what, const char *path)
{
	char reason[256];

	return err_set(err, ERR_INVALID, EINVAL, "cannot use %s %s: %s", what, path,
		       tls_reason(reason));
}

static int check_readable(const char *what, const char *path, struct err *err)
{
	if (access(path, R_OK) == 0)
		return 0;
	return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_DENIED, errno,
		       "cannot read %s %s: %m", what, path);
}

static int check_key_mode(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_set(err, ERR_NOT_FOUND, errno, "cannot read TLS key %s: %m", path);
	if (st.st_mode & (S_IROTH | S_IWOTH))
		return err_set(err, ERR_DENIED, EACCES,
			       "TLS key %s is open to everyone (mode %04o): chmod o-rwx it", path,
			       st.st_mode & 07777);
	return 0;
}

static int check_dates(struct grpc_tls *tls, const char *path, struct err *err)
{
	X509 *cert = SSL_CTX_get0_certificate(tls->context);
	struct tm tm;

	if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
		return err_set(err, ERR_INVALID, EINVAL,
			       "TLS certificate %s is not valid yet: see this host's clock", path);
	if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
		return err_set(err, ERR_INVALID, EINVAL, "TLS certificate %s has expired: renew it",
			       path);
	if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) == 1)
		tls->expires_wall_sec = timegm(&tm);
	return 0;
}

static int load_own(struct grpc_tls *tls, const struct grpc_tls_files *files, struct err *err)
{
	int r;

	r = check_readable("TLS certificate", files->cert_path, err);
	if (r == 0)
		r = check_readable("TLS key", files->key_path, err);
	if (r == 0)
		r = check_key_mode(files->key_path, err);
	if (r < 0)
		return r;
	if (SSL_CTX_use_certificate_chain_file(tls->context, files->cert_path) != 1)
		return file_failed(err, "TLS certificate", files->cert_path);
	if (SSL_CTX_use_PrivateKey_file(tls->context, files->key_path, SSL_FILETYPE_PEM) != 1)
		return file_failed(err, "TLS key", files->key_path);
	if (SSL_CTX_check_private_key(tls->context) != 1)
		return file_failed(err, "TLS key", files->key_path);
	return check_dates(tls, files->cert_path, err);
}

/* An encrypted key must fail, not ask the terminal. */
static int no_password(char *buf, int size, int rwflag, void *user)
{
	return -1;
}

static int context_new(const SSL_METHOD *method, const struct grpc_tls_files *files,
		       struct grpc_tls **ret_tls, struct err *err)
{
	cleanup(grpc_tls_unref_p) struct grpc_tls *tls = calloc(1, sizeof(*tls));
	int r;

	if (!tls)
		return err_oom(err);
	tls->refs = 1;
	ERR_clear_error();
	tls->context = SSL_CTX_new(method);
	if (!tls->context)
		return err_oom(err);
	SSL_CTX_set_default_passwd_cb(tls->context, no_password);
	(void)SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
	(void)SSL_CTX_set_cipher_list(tls->context, MIN_TLS12_CIPHERS);
	/* No resumption: every connection shows and verifies its certificates anew. */
	(void)SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_num_tickets(tls->context, 0);
	SSL_CTX_set_options(tls->context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
						  SSL_OP_NO_COMPRESSION |
						  SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE |
					       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					       SSL_MODE_RELEASE_BUFFERS);
	r = check_readable("TLS authorities", files->ca_path, err);
	if (r < 0)
		return r;
	if (SSL_CTX_load_verify_locations(tls->context, files->ca_path, NULL) != 1)
		return file_failed(err, "TLS authorities", files->ca_path);
	if (files->cert_path || files->key_path) {
		r = load_own(tls, files, err);
		if (r < 0)
			return r;
	}
	*ret_tls = take_ptr(&tls);
	return 0;
}

static int files_missing(struct err *err)
{
	return err_set(err, ERR_INVALID, EINVAL,
		       "TLS needs a certificate, a key and the authorities of the other end");
}

int grpc_tls_new_server(const struct grpc_tls_files *files, struct grpc_tls **ret_tls,
			struct err *err)
{
	struct grpc_tls *tls;
	int r;

	if (!files->cert_path || !files->key_path || !files->ca_path)
		return files_missing(err);
	r = context_new(TLS_server_method(), files, &tls, err);
	if (r < 0)
		return r;
	SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	/* The names of the authorities let a client with several certificates choose. */
	SSL_CTX_set_client_CA_list(tls->context, SSL_load_client_CA_file(files->ca_path));
	SSL_CTX_set_alpn_select_cb(tls->context, select_alpn, NULL);
	*ret_tls = tls;
	return 0;
}

int grpc_tls_new_client(const struct grpc_tls_files *files, struct grpc_tls **ret_tls,
			struct err *err)
{
	struct grpc_tls *tls;
	int r;

	if (!files->ca_path || !files->cert_path != !files->key_path)
		return files_missing(err);
	r = context_new(TLS_client_method(), files, &tls, err);
	if (r < 0)
		return r;
	SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
	/* Unlike nearly everything in OpenSSL, 0 is success here. */
	if (SSL_CTX_set_alpn_protos(tls->context, alpn_h2, sizeof(alpn_h2)) != 0) {
		grpc_tls_unref(tls);
		return err_oom(err);
	}
	*ret_tls = tls;
	return 0;
}
