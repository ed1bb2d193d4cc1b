/*
 * Who the workload is: user, groups, capabilities and limits; found in the container's root before
 * the fork, put on between fork and exec, then read back from the kernel.
 *
 * All ids are the container's own, 0 to 65535: the user namespace maps them to the workload's
 * range.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

struct err;

#define IDENTITY_ID_MAX     65535
#define IDENTITY_GROUPS_MAX 64
#define IDENTITY_FILE_LIMIT (1u << 20) /* of the image's /etc/passwd and /etc/group, in bytes */

struct identity {
	uid_t uid;
	gid_t gid;
	size_t group_count;                /* supplementary, without gid */
	gid_t groups[IDENTITY_GROUPS_MAX]; /* ascending, each once */
	uint64_t capabilities;             /* bit CAP_x: what the first program may hold */
	char home[256];                    /* from the image's passwd; "" if it names none */
};

struct identity_limit {
	int resource; /* RLIMIT_NOFILE, ... */
	struct rlimit value;
};

/*
 * Resolve @user, one of "", "uid", "uid:gid", "name", "name:group", "uid:group" ("" is 0:0), and
 * the supplementary @groups, numbers or names. Names are looked up in /etc/passwd and /etc/group of
 * the container whose root is @root_fd, never in the host's; a number is looked up only to find its
 * primary group, home and supplementary groups, and need not be there (then gid 0, as other
 * runtimes have it). The groups that list the user in the image are added unless @user names a
 * group. The two files are the image's: hostile, capped, and lines that do not parse are skipped.
 * *ret has no capabilities.
 *
 *   ERR_INVALID    @user or a group is malformed, or a number is above IDENTITY_ID_MAX
 *   ERR_EXHAUSTED  more than IDENTITY_GROUPS_MAX groups were asked for; what the image adds beyond
 *                  them is left out silently, as the kernel has no use for their order
 *   ERR_START      the image does not know a name, or one of its two files is above the limit
 */
int identity_resolve(int root_fd, const char *user, const char *const *groups, size_t group_count,
		     struct identity *ret, struct err *err);

/* Decimal digits only, no sign, no leading zero but "0", at most IDENTITY_ID_MAX.
 * Returns 0 or -EINVAL / -ERANGE. */
int identity_parse_id(const char *text, size_t length, uint32_t *ret_id);

/*
 * Or the bit of the capability @name ("CAP_KILL" or "KILL", any case) into *set.
 *   ERR_INVALID  there is none of this name
 *   ERR_DENIED   no workload gets it; the sentence has the reason
 */
int identity_add_capability(const char *name, uint64_t *set, struct err *err);

/* "CAP_CHOWN", or NULL for a number that the table does not know. */
const char *identity_capability_name(unsigned int capability);

/* All that identity_add_capability() can grant. */
uint64_t identity_grantable(void);

/*
 * Between fork and exec, as (mapped) root with all capabilities of its user namespace and still
 * single-threaded; system calls only. identity_apply(): session keyring apart, in this order the
 * bounding set down to @identity's capabilities, groups, gid, uid, the capability sets,
 * no_new_privs; then everything is read back, and a difference is an error. Ambient and inheritable
 * sets are empty for uid 0 and hold the requested capabilities for others, since execve(2) would
 * take them away otherwise.
 *
 * Any failure (ERR_INTERNAL) leaves a half-changed process, which must exit.
 */
int identity_apply(const struct identity *identity, struct err *err);

/* Just the reading back, for a last look before execve(2). */
int identity_verify(const struct identity *identity, struct err *err);

/* RLIMIT_NOFILE for "NOFILE" or "RLIMIT_NOFILE", any case; -1 for no name of a limit. */
int identity_limit_resource(const char *name);

/* setrlimit(2) for each, before identity_apply() since raising a hard limit needs the host's
 * CAP_SYS_RESOURCE. ERR_UNSUPPORTED when the host does not let us. System calls only. */
int identity_apply_limits(const struct identity_limit *limits, size_t count, struct err *err);
