/*
 * Between fork and exec. The order is the kernel's: the bounding set can be lowered only with
 * CAP_SETPCAP, groups set only with CAP_SETGID, and the change of uid takes capabilities away. What
 * counts in the end is not that each call returned 0 but what the kernel then says the process is.
 */
#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "sandbox/identity.h"

/* The header's newest is not the kernel's newest: a capability that only the kernel knows is
 * dropped too. prctl(2) answers EINVAL for the first number that there is not. */
#define CAPABILITY_NUMBERS 64

static int failed(struct err *err, const char *doing)
{
	return err_set(err, ERR_INTERNAL, errno, "cannot %s: %m", doing);
}

static bool asked_for(const struct identity *identity, unsigned int capability)
{
	return identity->capabilities >> capability & 1;
}

/* What must survive execve(2) without uid 0: in the permitted set alone it would not. */
static uint64_t kept_by_exec(const struct identity *identity)
{
	return identity->uid == 0 ? 0 : identity->capabilities;
}

/* Without asking first: in a user namespace that was joined the set is full, and what is not there may be
 * dropped again. EINVAL is the number after the last; verify_bounds() asks the kernel what is left. */
static int drop_bounding(const struct identity *identity, struct err *err)
{
	for (unsigned int i = 0; i < CAPABILITY_NUMBERS; i++) {
		if (asked_for(identity, i) || prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0)
			continue;
		return errno == EINVAL ? 0 : failed(err, "drop a capability from the bounding set");
	}
	return 0;
}

/* By system call: the library's functions would try to change all threads through signals. */
static int change_ids(const struct identity *identity, struct err *err)
{
	if (syscall(__NR_setgroups, identity->group_count, identity->groups) < 0)
		return failed(err, "set supplementary groups");
	if (syscall(__NR_setresgid, identity->gid, identity->gid, identity->gid) < 0)
		return failed(err, "set group id");
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return failed(err, "keep capabilities over the change of user");
	if (syscall(__NR_setresuid, identity->uid, identity->uid, identity->uid) < 0)
		return failed(err, "set user id");
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return failed(err, "stop keeping capabilities");
	return 0;
}

static int set_capabilities(const struct identity *identity, struct err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	uint64_t set = identity->capabilities;
	uint64_t kept = kept_by_exec(identity);

	for (unsigned int i = 0; i < ARRAY_SIZE(data); i++) {
		data[i].effective = (uint32_t)(set >> (32 * i));
		data[i].permitted = (uint32_t)(set >> (32 * i));
		data[i].inheritable = (uint32_t)(kept >> (32 * i));
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return failed(err, "clear ambient capabilities");
	if (syscall(__NR_capset, &header, data) < 0)
		return failed(err, "set capabilities");
	for (unsigned int i = 0; i < CAPABILITY_NUMBERS; i++)
		if ((kept >> i & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			return failed(err, "raise an ambient capability");
	return 0;
}

static int mismatch(struct err *err, const char *what)
{
	return err_set(err, ERR_INTERNAL, EPROTO,
		       "%s of the workload differ from what was set: not starting it", what);
}

static int verify_ids(const struct identity *identity, struct err *err)
{
	gid_t groups[IDENTITY_GROUPS_MAX + 1];
	uid_t uids[3];
	gid_t gids[3];
	long count;

	if (syscall(__NR_getresuid, &uids[0], &uids[1], &uids[2]) < 0 ||
	    syscall(__NR_getresgid, &gids[0], &gids[1], &gids[2]) < 0)
		return failed(err, "read ids back");
	for (size_t i = 0; i < ARRAY_SIZE(uids); i++)
		if (uids[i] != identity->uid || gids[i] != identity->gid)
			return mismatch(err, "ids");
	count = syscall(__NR_getgroups, ARRAY_SIZE(groups), groups);
	if (count < 0 || (size_t)count != identity->group_count)
		return mismatch(err, "groups");
	if (memcmp(groups, identity->groups, identity->group_count * sizeof(groups[0])) != 0)
		return mismatch(err, "groups");
	return 0;
}

static int verify_sets(const struct identity *identity, struct err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };
	uint64_t kept = kept_by_exec(identity);

	if (syscall(__NR_capget, &header, data) < 0)
		return failed(err, "read capabilities back");
	for (unsigned int i = 0; i < ARRAY_SIZE(data); i++)
		if (data[i].effective != (uint32_t)(identity->capabilities >> (32 * i)) ||
		    data[i].permitted != (uint32_t)(identity->capabilities >> (32 * i)) ||
		    data[i].inheritable != (uint32_t)(kept >> (32 * i)))
			return mismatch(err, "capabilities");
	return 0;
}

/* The kernel lets nothing be ambient that is not permitted and inheritable too, and verify_sets() has seen
 * that inheritable is @kept and no more: only those need to be asked for. */
static int verify_bounds(const struct identity *identity, struct err *err)
{
	uint64_t kept = kept_by_exec(identity);

	for (unsigned int i = 0; i < CAPABILITY_NUMBERS; i++) {
		int bounding = prctl(PR_CAPBSET_READ, i, 0, 0, 0);

		if (bounding < 0)
			break;
		if (bounding && !asked_for(identity, i))
			return mismatch(err, "bounding capabilities");
		if ((kept >> i & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) != 1)
			return mismatch(err, "ambient capabilities");
	}
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return mismatch(err, "privileges (no_new_privs)");
	return 0;
}

int identity_verify(const struct identity *identity, struct err *err)
{
	int r = verify_ids(identity, err);

	if (r < 0)
		return r;
	r = verify_sets(identity, err);
	if (r < 0)
		return r;
	return verify_bounds(identity, err);
}

int identity_apply(const struct identity *identity, struct err *err)
{
	int r;

	if (identity->capabilities & ~identity_grantable())
		return err_set(err, ERR_DENIED, EPERM,
			       "capabilities %#llx are more than any workload gets",
			       (unsigned long long)identity->capabilities);
	r = drop_bounding(identity, err);
	if (r < 0)
		return r;
	r = change_ids(identity, err);
	if (r < 0)
		return r;
	r = set_capabilities(identity, err);
	if (r < 0)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return failed(err, "set no_new_privs");
	return identity_verify(identity, err);
}

static const struct {
	const char *name;
	int resource;
} limit_names[] = {
	{ "AS", RLIMIT_AS },
	{ "CORE", RLIMIT_CORE },
	{ "CPU", RLIMIT_CPU },
	{ "DATA", RLIMIT_DATA },
	{ "FSIZE", RLIMIT_FSIZE },
	{ "LOCKS", RLIMIT_LOCKS },
	{ "MEMLOCK", RLIMIT_MEMLOCK },
	{ "MSGQUEUE", RLIMIT_MSGQUEUE },
	{ "NICE", RLIMIT_NICE },
	{ "NOFILE", RLIMIT_NOFILE },
	{ "NPROC", RLIMIT_NPROC },
	{ "RSS", RLIMIT_RSS },
	{ "RTPRIO", RLIMIT_RTPRIO },
	{ "RTTIME", RLIMIT_RTTIME },
	{ "SIGPENDING", RLIMIT_SIGPENDING },
	{ "STACK", RLIMIT_STACK },
};

int identity_limit_resource(const char *name)
{
	if (strncasecmp(name, "RLIMIT_", 7) == 0)
		name += 7;
	for (size_t i = 0; i < ARRAY_SIZE(limit_names); i++)
		if (strcasecmp(name, limit_names[i].name) == 0)
			return limit_names[i].resource;
	return -1;
}

static const char *limit_name(int resource)
{
	for (size_t i = 0; i < ARRAY_SIZE(limit_names); i++)
		if (limit_names[i].resource == resource)
			return limit_names[i].name;
	return "?";
}

int identity_apply_limits(const struct identity_limit *limits, size_t count, struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		if (setrlimit((__rlimit_resource_t)limits[i].resource, &limits[i].value) == 0)
			continue;
		return err_set(err, errno == EPERM ? ERR_UNSUPPORTED : ERR_INTERNAL, errno,
			       "cannot set limit %s to %llu:%llu: %m%s",
			       limit_name(limits[i].resource),
			       (unsigned long long)limits[i].value.rlim_cur,
			       (unsigned long long)limits[i].value.rlim_max,
			       errno == EPERM ? " (above this host's own hard limit)" : "");
	}
	return 0;
}
