/*
 * Names and other short texts that cross the contracts: what is allowed in each, said in one place for
 * both sides. proto/quantity.h has numbers, sizes and durations; proto/signame.h has signals.
 *
 * Every check returns 0, or -EINVAL with @err: ERR_INVALID and a sentence that shows the value
 * (escaped and cut) and says what is allowed. The caller puts the field's name before it with
 * err_prefix(). NULL counts as the empty text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"

#define NAME_ID_MAX        63
#define NAME_HOSTNAME_MAX  64     /* HOST_NAME_MAX, which is the kernel's */
#define NAME_PATH_MAX      4095   /* PATH_MAX without the NUL */
#define NAME_ENV_MAX       131071 /* "NAME=value" without the NUL: MAX_ARG_STRLEN, execve(2) */
#define NAME_LABEL_MAX     256    /* bytes in a label's value */
#define NAME_LABEL_KEY_MAX 317    /* prefix of 253, '/', name of 63 */

/* A workload's id, a container's name, a volume's: ^[a-z0-9][a-z0-9-]{0,62}$ */
int names_check_workload_id(const char *id, struct err *err);
int names_check_container(const char *name, struct err *err);
int names_check_volume(const char *name, struct err *err);

/* What a layer or any other content is called by: "sha256:" and 64 of 0-9a-f. */
int names_check_digest(const char *digest, struct err *err);

/* One variable: @name of letters, digits, '_', '-' and '.', not starting with a digit; @value UTF-8
 * without control characters; together no longer than execve(2) takes. */
int names_check_env(const char *name, const char *value, struct err *err);

/* A label as in Kubernetes: a key [dns.prefix/]name, where name is at most 63 letters, digits, '-',
 * '_' and '.', with a letter or digit at both ends; a value of at most 256 bytes of UTF-8 without
 * control characters. */
int names_check_label(const char *key, const char *value, struct err *err);

/* Labels of letters, digits and inner hyphens, joined by dots: at most 63 each, 64 in all. */
int names_check_hostname(const char *hostname, struct err *err);

/* An absolute path in its only spelling: no empty, "." or ".." component, no '/' at the end ("/" itself
 * is allowed), no control character, UTF-8, at most 4095 bytes, components of at most 255. */
int names_check_path(const char *path, struct err *err);
/* Whether the absolute @path is @directory, which may end in '/', or lies below it, on a component boundary. */
bool names_path_is_below(const char *path, const char *directory);

/*
 * A sysctl that a workload may set: its name, exactly as written here, is on the list of those that the
 * kernel keeps per network or IPC namespace, and its value is printable ASCII of at most 256 bytes.
 * *@ret_namespace, which may be NULL, tells whose: a sysctl of the network namespace means the host
 * where a workload shares the host's.
 */
enum sysctl_namespace { SYSCTL_NET, SYSCTL_IPC };
int names_check_sysctl(const char *name, const char *value, enum sysctl_namespace *ret_namespace,
		       struct err *err);

/* One line for people (a reason, a description): UTF-8 without control characters, at most
 * @max_bytes. */
int names_check_line(const char *text, size_t max_bytes, struct err *err);

/*
 * Who a container's program runs as: "1000", "1000:1000", or a name of the container's own passwd
 * file, with or without a group: "www-data", "www-data:adm", "1000:adm". Numbers are decimal without
 * sign, at most NAME_UID_MAX: the ids that a user namespace of 65,536 has.
 */
#define NAME_UID_MAX 65535

struct user_name {
	char user[33];  /* "" where @uid has it */
	char group[33]; /* "" where @gid has it, or no group was given */
	uint32_t uid;
	uint32_t gid;
	bool has_group;
};

int names_parse_user(const char *text, struct user_name *ret_user, struct err *err);

/* "KILL" of "CAP_KILL" and of "KILL": policies are written with the prefix, specs without. */
const char *names_bare_capability(const char *name);

/* @text for a sentence: in double quotes, control characters and what is not UTF-8 as \xNN, cut after
 * about 60 bytes. Writes into @buffer and returns it. */
#define NAME_QUOTED_MAX 256
const char *names_quote(const char *text, char buffer[static NAME_QUOTED_MAX]);
