/*
 * The grammar is that of the distribution project's reference package:
 *
 *	reference := [host "/"] path [":" tag] ["@" digest]
 *	path      := component ("/" component)*
 *	component := [a-z0-9]+ (separator [a-z0-9]+)*      separator := "." | "_" | "__" | "-"+
 *	tag       := [A-Za-z0-9_] [A-Za-z0-9_.-]{0,127}
 *
 * What stands before the first "/" is a host if it has a "." or ":" or a capital, or is "localhost".
 */
#include "agent/image/reference.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "proto/names.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

#define DEFAULT_HOST "docker.io"
#define OLDER_HOST   "index.docker.io"

static int invalid(struct err *err, const char *text, const char *why)
{
	char quoted[NAME_QUOTED_MAX];

	return err_set(err, ERR_INVALID, EINVAL, "%s is no image name: %s",
		       names_quote(text, quoted), why);
}

static bool is_port(const char *text)
{
	unsigned int port = 0;

	if (!*text || strlen(text) > 5 || strspn(text, DIGIT) != strlen(text))
		return false;
	for (; *text; text++)
		port = port * 10 + (unsigned int)(*text - '0');
	return port >= 1 && port <= 65535;
}

/* "[::1]" and what may follow; NULL if it is no address in brackets. */
static const char *skip_ipv6(const char *host)
{
	size_t length = strspn(host + 1, DIGIT "abcdefABCDEF:.");

	return length >= 2 && host[1 + length] == ']' ? host + length + 2 : NULL;
}

/* Letters, digits and inner hyphens, joined by dots; what follows it. */
static const char *skip_domain(const char *host)
{
	for (;;) {
		size_t length = strspn(host, LOWER UPPER DIGIT "-");

		if (length == 0 || length > 63 || host[0] == '-' || host[length - 1] == '-')
			return NULL;
		host += length;
		if (*host != '.')
			return host;
		host++;
	}
}

bool reference_is_host(const char *host)
{
	const char *rest;

	if (!*host || strlen(host) > REFERENCE_HOST_MAX)
		return false;
	rest = *host == '[' ? skip_ipv6(host) : skip_domain(host);
	return rest && (!*rest || (*rest == ':' && is_port(rest + 1)));
}

/* One component of a path, which ends at '/' or the end; what follows it, or NULL. */
static const char *skip_component(const char *path)
{
	for (;;) {
		size_t length = strspn(path, LOWER DIGIT);

		if (length == 0)
			return NULL;
		path += length;
		if (!*path || *path == '/')
			return path;
		if (*path == '.')
			path++;
		else if (*path == '_')
			path += path[1] == '_' ? 2 : 1;
		else
			path += strspn(path, "-");
		/* Anything else moved nothing, and ends at the next turn: no letter or digit. */
	}
}

static bool is_path(const char *path)
{
	for (;;) {
		path = skip_component(path);
		if (!path || !*path)
			return path;
		path++;
	}
}

static bool is_tag(const char *tag)
{
	size_t length = strlen(tag);

	return length >= 1 && length <= REFERENCE_TAG_MAX && tag[0] != '.' && tag[0] != '-' &&
	       strspn(tag, LOWER UPPER DIGIT "_.-") == length;
}

static bool looks_like_host(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (strchr(".:[" UPPER, text[i]))
			return true;
	return length == strlen("localhost") && strncmp(text, "localhost", length) == 0;
}

/* Take "@sha256:..." off the end of @name. */
static int take_digest(char *name, struct reference *ret, struct err *err)
{
	char *at = strchr(name, '@');

	if (!at)
		return 0;
	*at = '\0';
	ret->has_digest = true;
	return digest_parse(at + 1, &ret->digest, err);
}

/* Take ":tag" off the end: a ':' behind the last '/'. */
static int take_tag(const char *text, char *name, struct reference *ret, struct err *err)
{
	char *slash = strrchr(name, '/');
	char *colon = strchr(slash ? slash : name, ':');

	if (!colon) {
		if (!ret->has_digest)
			(void)strcpy(ret->tag, "latest");
		return 0;
	}
	*colon = '\0';
	if (!is_tag(colon + 1))
		return invalid(
			err, text,
			"a tag has 1 to 128 of letters, digits, '_', '.' and '-', and begins with none of the last two");
	(void)strcpy(ret->tag, colon + 1);
	return 0;
}

static int take_host(const char *text, const char *name, struct reference *ret,
		     const char **ret_rest, struct err *err)
{
	const char *slash = strchr(name, '/');
	size_t length = slash ? (size_t)(slash - name) : 0;

	*ret_rest = name;
	(void)strcpy(ret->host, DEFAULT_HOST);
	if (!slash || !looks_like_host(name, length))
		return 0;
	if (length > REFERENCE_HOST_MAX)
		return invalid(err, text, "the registry's name has more than 255 bytes");
	memcpy(ret->host, name, length);
	ret->host[length] = '\0';
	if (!reference_is_host(ret->host))
		return invalid(
			err, text,
			"what stands before the first '/' is no host name with or without a port");
	if (strcmp(ret->host, OLDER_HOST) == 0)
		(void)strcpy(ret->host, DEFAULT_HOST);
	*ret_rest = slash + 1;
	return 0;
}

int reference_parse(const char *text, struct reference *ret_reference, struct err *err)
{
	struct reference reference = { 0 };
	char name[REFERENCE_TEXT_MAX];
	const char *path, *space = "";
	int n, r;

	if (strlen(text) >= sizeof(name))
		return invalid(err, text, "it is too long");
	(void)strcpy(name, text);
	r = take_digest(name, &reference, err);
	if (r == 0)
		r = take_tag(text, name, &reference, err);
	if (r == 0)
		r = take_host(text, name, &reference, &path, err);
	if (r < 0)
		return r;
	if (strcmp(reference.host, DEFAULT_HOST) == 0 && !strchr(path, '/'))
		space = "library/";
	n = snprintf(reference.path, sizeof(reference.path), "%s%s", space, path);
	if (n < 0 || (size_t)n >= sizeof(reference.path))
		return invalid(err, text, "its path has more than 255 bytes");
	if (!is_path(path))
		return invalid(
			err, text,
			"a path has lower-case letters and digits, single '.', '_', '__' or '-' between them, and '/'");
	*ret_reference = reference;
	return 0;
}

const char *reference_text(const struct reference *reference,
			   char buffer[static REFERENCE_TEXT_MAX])
{
	char digest[DIGEST_TEXT_MAX];

	(void)snprintf(buffer, REFERENCE_TEXT_MAX, "%s/%s%s%s%s%s", reference->host,
		       reference->path, reference->tag[0] ? ":" : "", reference->tag,
		       reference->has_digest ? "@" : "",
		       reference->has_digest ? digest_text(&reference->digest, digest) : "");
	return buffer;
}

int reference_check(const char *item, struct err *err)
{
	struct reference reference;

	return reference_parse(item, &reference, err);
}
