#include "proto/names.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "proto/cleanup.h"
#include "proto/quantity.h"
#include "proto/utf8.h"

/* The C locale's letters, whatever the process's locale is. */
static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_letter(char c)
{
	return is_lower(c) || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

const char *names_quote(const char *text, char buffer[static NAME_QUOTED_MAX])
{
	const size_t text_max = 60;
	size_t length = text ? strlen(text) : 0;
	size_t used = 0, at = 0;

	buffer[used++] = '"';
	while (at < length && at < text_max) {
		size_t bytes = 1;
		int32_t code = utf8_decode(text + at, length - at, &bytes);

		/* The longest here is four bytes as \xNN, of which 60 fit with room to spare. */
		if (code < 0 || utf8_is_control(code) || code == '"' || code == '\\') {
			for (size_t i = 0; i < bytes; i++)
				used += (size_t)snprintf(buffer + used, 5, "\\x%02x",
							 (unsigned char)text[at + i]);
		} else {
			memcpy(buffer + used, text + at, bytes);
			used += bytes;
		}
		at += bytes;
	}
	(void)snprintf(buffer + used, NAME_QUOTED_MAX - used, "\"%s", at < length ? "..." : "");
	return buffer;
}

static int wrong(struct err *err, const char *text, const char *allowed)
{
	char quoted[NAME_QUOTED_MAX];

	return err_set(err, ERR_INVALID, EINVAL, "%s is not %s", names_quote(text, quoted),
		       allowed);
}

/* The byte in @text where something other than plain text starts, or NULL. */
static const char *find_control(const char *text)
{
	size_t length = strlen(text);

	for (size_t at = 0; at < length;) {
		size_t bytes;
		int32_t code = utf8_decode(text + at, length - at, &bytes);

		if (code < 0 || utf8_is_control(code))
			return text + at;
		at += bytes;
	}
	return NULL;
}

/* ^[a-z0-9][a-z0-9-]{0,62}$ */
static bool is_id(const char *text)
{
	size_t length = text ? strnlen(text, NAME_ID_MAX + 1) : 0;

	if (length == 0 || length > NAME_ID_MAX || text[0] == '-')
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!is_lower(text[i]) && !is_digit(text[i]) && text[i] != '-')
			return false;
	}
	return true;
}

#define ID_ALLOWED \
	": 1 to 63 lower-case letters, digits and hyphens, starting with a letter or a digit"

int names_check_workload_id(const char *id, struct err *err)
{
	return is_id(id) ? 0 : wrong(err, id, "a workload id" ID_ALLOWED);
}

int names_check_container(const char *name, struct err *err)
{
	return is_id(name) ? 0 : wrong(err, name, "a container name" ID_ALLOWED);
}

int names_check_volume(const char *name, struct err *err)
{
	return is_id(name) ? 0 : wrong(err, name, "a volume name" ID_ALLOWED);
}

int names_check_digest(const char *digest, struct err *err)
{
	const char *hex = digest && strncmp(digest, "sha256:", 7) == 0 ? digest + 7 : "";

	if (strspn(hex, "0123456789abcdef") != 64 || hex[64])
		return wrong(err, digest, "a digest, which is sha256: and 64 of 0-9a-f");
	return 0;
}

static bool is_env_name(const char *name)
{
	if (!name || !*name || is_digit(*name))
		return false;
	for (; *name; name++) {
		if (!is_letter(*name) && !is_digit(*name) && !strchr("_-.", *name))
			return false;
	}
	return true;
}

int names_check_env(const char *name, const char *value, struct err *err)
{
	char quoted[NAME_QUOTED_MAX];
	size_t length;

	if (!is_env_name(name))
		return wrong(
			err, name,
			"a variable's name: letters, digits, '_', '-' and '.', not starting with a digit");
	length = strlen(name) + 1 + (value ? strlen(value) : 0);
	if (length > NAME_ENV_MAX)
		return err_set(err, ERR_INVALID, EINVAL,
			       "variable %s has %zu bytes with its name: at most %d are allowed",
			       names_quote(name, quoted), length, NAME_ENV_MAX);
	if (value && find_control(value))
		return err_set(
			err, ERR_INVALID, EINVAL,
			"variable %s: control characters, newlines and what is not UTF-8 are not allowed in a value",
			names_quote(name, quoted));
	return 0;
}

/* 1 to @max of letters, digits and what is in @inner, with a letter or digit at both ends. */
static bool is_label_part(const char *text, size_t length, size_t max, const char *inner)
{
	if (length == 0 || length > max)
		return false;
	for (size_t i = 0; i < length; i++) {
		if (is_letter(text[i]) || is_digit(text[i]))
			continue;
		if (!strchr(inner, text[i]) || i == 0 || i == length - 1)
			return false;
	}
	return true;
}

/* Labels of at most 63, joined by dots, @max in all. */
static bool is_dns_name(const char *text, size_t length, size_t max)
{
	size_t start = 0;

	if (length > max)
		return false;
	for (size_t i = 0; i <= length; i++) {
		if (i < length && text[i] != '.')
			continue;
		if (!is_label_part(text + start, i - start, 63, "-"))
			return false;
		start = i + 1;
	}
	return true;
}

static bool is_label_key(const char *key)
{
	const char *name = key;
	const char *slash;

	if (!key)
		return false;
	slash = strchr(key, '/');
	if (slash) {
		if (!is_dns_name(key, (size_t)(slash - key), 253))
			return false;
		name = slash + 1;
	}
	return is_label_part(name, strlen(name), 63, "-_.");
}

int names_check_label(const char *key, const char *value, struct err *err)
{
	char quoted[NAME_QUOTED_MAX];

	if (!is_label_key(key))
		return wrong(
			err, key,
			"a label's key: [prefix/]name, the prefix a DNS name, the name at most 63 letters, digits, '-', '_', '.' with a letter or digit at both ends");
	if (value && (strlen(value) > NAME_LABEL_MAX || find_control(value)))
		return err_set(
			err, ERR_INVALID, EINVAL,
			"label %s: its value may have at most %d bytes of UTF-8 and no control characters",
			names_quote(key, quoted), NAME_LABEL_MAX);
	return 0;
}

int names_check_hostname(const char *hostname, struct err *err)
{
	if (!hostname || !is_dns_name(hostname, strlen(hostname), NAME_HOSTNAME_MAX))
		return wrong(
			err, hostname,
			"a host name: letters, digits, inner hyphens and dots, at most 63 between dots and 64 in all");
	return 0;
}

/* Each component of @path, which starts with '/', in its only spelling. */
static bool is_clean(const char *path)
{
	if (strcmp(path, "/") == 0)
		return true;
	while (*path == '/') {
		size_t length = strcspn(++path, "/");

		if (length == 0 || length > NAME_MAX)
			return false;
		if (path[0] == '.' && (length == 1 || (length == 2 && path[1] == '.')))
			return false;
		path += length;
	}
	return *path == '\0';
}

int names_check_path(const char *path, struct err *err)
{
	if (!path || path[0] != '/')
		return wrong(err, path, "an absolute path: it starts with /");
	if (strlen(path) > NAME_PATH_MAX)
		return wrong(err, path, "a path: at most 4095 bytes are allowed");
	if (find_control(path))
		return wrong(err, path,
			     "a path: control characters are not allowed, nor what is not UTF-8");
	if (!is_clean(path))
		return wrong(
			err, path,
			"a clean path: no //, no . or .. in it, no / at the end, no component of more than 255 bytes");
	return 0;
}

bool names_path_is_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	if (directory[0] != '/')
		return false;
	while (length > 0 && directory[length - 1] == '/')
		length--;
	return strncmp(path, directory, length) == 0 &&
	       (path[length] == '/' || path[length] == '\0');
}

/* Exactly these: what the kernel keeps for each network or IPC namespace, and what cannot be used against
 * the host. None of them is a path or a program. */
static const struct {
	const char *name;
	enum sysctl_namespace owner;
} sysctls[] = {
	{ "fs.mqueue.msg_default", SYSCTL_IPC },
	{ "fs.mqueue.msg_max", SYSCTL_IPC },
	{ "fs.mqueue.msgsize_default", SYSCTL_IPC },
	{ "fs.mqueue.msgsize_max", SYSCTL_IPC },
	{ "fs.mqueue.queues_max", SYSCTL_IPC },
	{ "kernel.msgmax", SYSCTL_IPC },
	{ "kernel.msgmnb", SYSCTL_IPC },
	{ "kernel.msgmni", SYSCTL_IPC },
	{ "kernel.sem", SYSCTL_IPC },
	{ "kernel.shm_rmid_forced", SYSCTL_IPC },
	{ "kernel.shmall", SYSCTL_IPC },
	{ "kernel.shmmax", SYSCTL_IPC },
	{ "kernel.shmmni", SYSCTL_IPC },
	{ "net.core.somaxconn", SYSCTL_NET },
	{ "net.ipv4.conf.all.arp_ignore", SYSCTL_NET },
	{ "net.ipv4.conf.default.arp_ignore", SYSCTL_NET },
	{ "net.ipv4.ip_local_port_range", SYSCTL_NET },
	{ "net.ipv4.ip_local_reserved_ports", SYSCTL_NET },
	{ "net.ipv4.ip_nonlocal_bind", SYSCTL_NET },
	{ "net.ipv4.ip_unprivileged_port_start", SYSCTL_NET },
	{ "net.ipv4.ping_group_range", SYSCTL_NET },
	{ "net.ipv4.tcp_ecn", SYSCTL_NET },
	{ "net.ipv4.tcp_fastopen", SYSCTL_NET },
	{ "net.ipv4.tcp_fin_timeout", SYSCTL_NET },
	{ "net.ipv4.tcp_keepalive_intvl", SYSCTL_NET },
	{ "net.ipv4.tcp_keepalive_probes", SYSCTL_NET },
	{ "net.ipv4.tcp_keepalive_time", SYSCTL_NET },
	{ "net.ipv4.tcp_max_syn_backlog", SYSCTL_NET },
	{ "net.ipv4.tcp_notsent_lowat", SYSCTL_NET },
	{ "net.ipv4.tcp_rmem", SYSCTL_NET },
	{ "net.ipv4.tcp_slow_start_after_idle", SYSCTL_NET },
	{ "net.ipv4.tcp_syncookies", SYSCTL_NET },
	{ "net.ipv4.tcp_tw_reuse", SYSCTL_NET },
	{ "net.ipv4.tcp_wmem", SYSCTL_NET },
	{ "net.ipv6.bindv6only", SYSCTL_NET },
	{ "net.ipv6.conf.all.disable_ipv6", SYSCTL_NET },
	{ "net.ipv6.conf.default.disable_ipv6", SYSCTL_NET },
	{ "net.ipv6.ip_nonlocal_bind", SYSCTL_NET },
	{ "net.unix.max_dgram_qlen", SYSCTL_NET },
};

/* Digits, and what ranges and lists of them need: no known sysctl above takes more. */
static bool is_sysctl_value(const char *value)
{
	size_t length = value ? strlen(value) : 0;

	if (length == 0 || length > 256)
		return false;
	return strspn(value, "0123456789 ,-") == length;
}

int names_check_sysctl(const char *name, const char *value, enum sysctl_namespace *ret_namespace,
		       struct err *err)
{
	char quoted[NAME_QUOTED_MAX];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sysctls); i++) {
		if (name && strcmp(sysctls[i].name, name) == 0)
			break;
	}
	if (i == ARRAY_SIZE(sysctls))
		return wrong(
			err, name,
			"a sysctl that a workload may set: those of its own network or IPC namespace, as in net.ipv4.ip_local_port_range");
	if (!is_sysctl_value(value))
		return err_set(
			err, ERR_INVALID, EINVAL,
			"sysctl %s: %s is not a value: numbers, joined by spaces, ',' or '-'", name,
			names_quote(value, quoted));
	if (ret_namespace)
		*ret_namespace = sysctls[i].owner;
	return 0;
}

int names_check_line(const char *text, size_t max_bytes, struct err *err)
{
	char quoted[NAME_QUOTED_MAX];

	if (text && (strlen(text) > max_bytes || find_control(text)))
		return err_set(
			err, ERR_INVALID, EINVAL,
			"%s is not one line of text: at most %zu bytes of UTF-8 without control characters",
			names_quote(text, quoted), max_bytes);
	return 0;
}

/* A name as useradd(8) takes it: it starts with a letter or '_', and fits 32 bytes. */
static bool is_account_name(const char *text, size_t length)
{
	if (length == 0 || length > 32 || (!is_letter(text[0]) && text[0] != '_'))
		return false;
	for (size_t i = 1; i < length; i++) {
		if (!is_letter(text[i]) && !is_digit(text[i]) && !strchr("_-.", text[i]))
			return false;
	}
	return true;
}

/* One side of "user:group" into @name or, when it is a number, @id. */
static bool parse_account(const char *text, size_t length, char *name, uint32_t *id)
{
	char digits[16];
	uint64_t number;

	if (is_account_name(text, length)) {
		memcpy(name, text, length);
		name[length] = '\0';
		return true;
	}
	if (length >= sizeof(digits))
		return false;
	memcpy(digits, text, length);
	digits[length] = '\0';
	/* "007" and "7" would be two spellings of one user. */
	if ((digits[0] == '0' && length > 1) ||
	    quantity_parse_decimal(digits, 0, NAME_UID_MAX, &number, NULL) < 0)
		return false;
	*id = (uint32_t)number;
	return true;
}

int names_parse_user(const char *text, struct user_name *ret_user, struct err *err)
{
	struct user_name user = { .has_group = false };
	const char *colon = text ? strchr(text, ':') : NULL;
	size_t length = !text ? 0 : colon ? (size_t)(colon - text) : strlen(text);

	if (!text || !parse_account(text, length, user.user, &user.uid))
		goto wrong_user;
	if (colon) {
		if (!parse_account(colon + 1, strlen(colon + 1), user.group, &user.gid))
			goto wrong_user;
		user.has_group = true;
	}
	*ret_user = user;
	return 0;

wrong_user:
	return wrong(
		err, text,
		"a user: a number from 0 to 65535 or a name, then a group likewise after ':' if any, as in 1000:1000");
}

const char *names_bare_capability(const char *name)
{
	return strncasecmp(name, "CAP_", 4) == 0 ? name + 4 : name;
}
