#include "sandbox/userns_owner.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* By the system call: the C library's would tell other threads, and in the child there are none. */
static int set_effective_uid(uid_t uid)
{
	return syscall(SYS_setresuid, (uid_t)-1, uid, (uid_t)-1) < 0 ? -errno : 0;
}

pid_t userns_owner_clone(struct clone_args *args, uid_t owner)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	long pid;
	int r;

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	r = set_effective_uid(owner);
	if (r < 0)
		return r;
	/* The effective set went with uid 0. Without it a host that forbids unprivileged user namespaces
	 * would forbid this one. */
	if (syscall(SYS_capset, &header, data) < 0)
		pid = -errno;
	else if ((pid = syscall(SYS_clone3, args, sizeof(*args))) < 0)
		pid = -errno;
	/* In the child the number is the new namespace's, where it has no meaning before there is a map. */
	if (pid != 0 && set_effective_uid(0) < 0)
		abort(); /* a daemon that is half somebody else must not go on */
	return (pid_t)pid;
}
