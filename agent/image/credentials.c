#include "agent/image/credentials.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/image/document.h"

#define FILE_BYTES_MAX (1U << 20)

void secret_free(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void credentials_done(struct credentials *credentials)
{
	secret_free(credentials->user);
	secret_free(credentials->password);
	*credentials = (struct credentials){ 0 };
}

static bool is_plain(const char *text)
{
	if (strlen(text) > CREDENTIALS_BYTES_MAX)
		return false;
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 127)
			return false;
	return true;
}

int credentials_set(const char *user, const char *password, struct credentials *ret_credentials,
		    struct err *err)
{
	struct credentials credentials;

	if (!user[0] || strchr(user, ':') || !is_plain(user) || !is_plain(password))
		return err_set(
			err, ERR_INVALID, EINVAL,
			"a name without ':' and a password are needed, both of one line and at most %u bytes",
			CREDENTIALS_BYTES_MAX);
	credentials = (struct credentials){ strdup(user), strdup(password) };
	if (!credentials.user || !credentials.password) {
		credentials_done(&credentials);
		return err_oom(err);
	}
	*ret_credentials = credentials;
	return 0;
}

/* "auth": base64 of name:password. */
static int decode(const char *text, struct credentials *ret, struct err *err)
{
	size_t length = strlen(text);
	char *plain = calloc(1, length + 4), *colon;
	int r;

	if (!plain)
		return err_oom(err);
	r = EVP_DecodeBlock((unsigned char *)plain, (const unsigned char *)text, (int)length);
	colon = r < 0 ? NULL : strchr(plain, ':');
	if (!colon) {
		r = err_set(err, ERR_INVALID, EINVAL,
			    "auth is not base64 of a name, ':' and a password");
	} else {
		*colon = '\0';
		r = credentials_set(plain, colon + 1, ret, err);
		colon[0] = ':';
	}
	secret_free(plain);
	return r;
}

/* docker's own name for its registry, too. */
static const json_t *entry_of(const json_t *auths, const char *host)
{
	const json_t *entry = json_object_get(auths, host);

	if (!entry && strcmp(host, "docker.io") == 0)
		entry = json_object_get(auths, "https://index.docker.io/v1/");
	return entry;
}

static int find(const json_t *root, const char *host, struct credentials *ret, struct err *err)
{
	const char *auth = "", *user = "", *password = "";
	const json_t *auths, *entry;
	int r = document_object(root, "auths", &auths, err);

	entry = r == 0 ? entry_of(auths, host) : NULL;
	if (!entry)
		return r;
	r = document_string(entry, "auth", &auth, err);
	if (r == 0)
		r = document_string(entry, "username", &user, err);
	if (r == 0)
		r = document_string(entry, "password", &password, err);
	if (r == 0 && auth[0])
		r = decode(auth, ret, err);
	else if (r == 0 && user[0])
		r = credentials_set(user, password, ret, err);
	return err_prefix(err, r, "auths of %s", host);
}

static int check_file(int fd, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_BYTES_MAX)
		return err_set(err, ERR_INVALID, EINVAL, "it is no file of at most %u bytes",
			       FILE_BYTES_MAX);
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 027))
		return err_set(
			err, ERR_DENIED, EPERM,
			"it must belong to root, and be for nobody but root and berthd's group to read (chmod 0640, chgrp berth)");
	return 0;
}

static int load(int fd, const char *host, struct credentials *ret, struct err *err)
{
	cleanup_document json_t *root = NULL;
	char *text = calloc(1, FILE_BYTES_MAX + 1);
	ssize_t n = text ? read(fd, text, FILE_BYTES_MAX) : -1;
	int r;

	if (n < 0)
		r = text ? err_set(err, ERR_INTERNAL, errno, "cannot read it: %m") : err_oom(err);
	else
		r = document_load(text, (size_t)n, &root, err);
	if (r == 0)
		r = find(root, host, ret, err);
	secret_free(text);
	return r;
}

int credentials_load(const char *path, const char *host, struct credentials *ret_credentials,
		     struct err *err)
{
	struct credentials found = { 0 };
	cleanup_fd int fd = -1;
	int r;

	*ret_credentials = found;
	if (!path[0])
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0)
		return err_set(err, ERR_DENIED, errno, "%s: cannot open the credentials: %m", path);
	r = check_file(fd, err);
	if (r == 0)
		r = load(fd, host, &found, err);
	if (r < 0)
		return err_prefix(err, r, "%s", path);
	*ret_credentials = found;
	return 0;
}
