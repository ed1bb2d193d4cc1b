/*
 * Which capabilities a workload may ask for, and why not the others. What is granted holds in the
 * workload's own user namespace only; "no" is for what reaches beyond it, or has been the first
 * step of escapes.
 */
#include <errno.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <string.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "sandbox/identity.h"

struct capability {
	const char *name;
	const char *denied; /* why nobody gets it; NULL: granted on request */
};

static const char no_effect[] = "it has no effect in a user namespace";
static const char whole_host[] = "it acts on the whole host";

static const struct capability capabilities[] = {
	[CAP_CHOWN] = { "CAP_CHOWN", NULL },
	[CAP_DAC_OVERRIDE] = { "CAP_DAC_OVERRIDE", NULL },
	[CAP_DAC_READ_SEARCH] = { "CAP_DAC_READ_SEARCH",
				  "it opens files by handle, past the mount namespace" },
	[CAP_FOWNER] = { "CAP_FOWNER", NULL },
	[CAP_FSETID] = { "CAP_FSETID", NULL },
	[CAP_KILL] = { "CAP_KILL", NULL },
	[CAP_SETGID] = { "CAP_SETGID", NULL },
	[CAP_SETUID] = { "CAP_SETUID", NULL },
	[CAP_SETPCAP] = { "CAP_SETPCAP", NULL }, /* the bounding set is fixed before */
	[CAP_LINUX_IMMUTABLE] = { "CAP_LINUX_IMMUTABLE", no_effect },
	[CAP_NET_BIND_SERVICE] = { "CAP_NET_BIND_SERVICE", NULL },
	[CAP_NET_BROADCAST] = { "CAP_NET_BROADCAST", no_effect },
	[CAP_NET_ADMIN] = { "CAP_NET_ADMIN",
			    "it reaches rarely used network code of the kernel, and undoes what "
			    "keeps a workload from spoofing others" },
	[CAP_NET_RAW] = { "CAP_NET_RAW", "raw packets spoof neighbours and routers" },
	[CAP_IPC_LOCK] = { "CAP_IPC_LOCK", no_effect },
	[CAP_IPC_OWNER] = { "CAP_IPC_OWNER",
			    "containers of a workload share their IPC objects by mode" },
	[CAP_SYS_MODULE] = { "CAP_SYS_MODULE", whole_host },
	[CAP_SYS_RAWIO] = { "CAP_SYS_RAWIO", whole_host },
	[CAP_SYS_CHROOT] = { "CAP_SYS_CHROOT", NULL },
	[CAP_SYS_PTRACE] = { "CAP_SYS_PTRACE", "a workload debugs its own processes without it" },
	[CAP_SYS_PACCT] = { "CAP_SYS_PACCT", whole_host },
	[CAP_SYS_ADMIN] = { "CAP_SYS_ADMIN", "it is mounts, namespaces and most known escapes" },
	[CAP_SYS_BOOT] = { "CAP_SYS_BOOT", whole_host },
	[CAP_SYS_NICE] = { "CAP_SYS_NICE", "cgroup weights decide who runs" },
	[CAP_SYS_RESOURCE] = { "CAP_SYS_RESOURCE", "limits are the host's to set" },
	[CAP_SYS_TIME] = { "CAP_SYS_TIME", whole_host },
	[CAP_SYS_TTY_CONFIG] = { "CAP_SYS_TTY_CONFIG", whole_host },
	[CAP_MKNOD] = { "CAP_MKNOD",
			"devices are made by Berth; a user namespace cannot have others" },
	[CAP_LEASE] = { "CAP_LEASE", no_effect },
	[CAP_AUDIT_WRITE] = { "CAP_AUDIT_WRITE", no_effect },
	[CAP_AUDIT_CONTROL] = { "CAP_AUDIT_CONTROL", whole_host },
	[CAP_SETFCAP] = { "CAP_SETFCAP", "file capabilities are ignored here (no_new_privs)" },
	[CAP_MAC_OVERRIDE] = { "CAP_MAC_OVERRIDE", whole_host },
	[CAP_MAC_ADMIN] = { "CAP_MAC_ADMIN", whole_host },
	[CAP_SYSLOG] = { "CAP_SYSLOG", whole_host },
	[CAP_WAKE_ALARM] = { "CAP_WAKE_ALARM", whole_host },
	[CAP_BLOCK_SUSPEND] = { "CAP_BLOCK_SUSPEND", whole_host },
	[CAP_AUDIT_READ] = { "CAP_AUDIT_READ", whole_host },
	[CAP_PERFMON] = { "CAP_PERFMON", whole_host },
	[CAP_BPF] = { "CAP_BPF", whole_host },
	[CAP_CHECKPOINT_RESTORE] = { "CAP_CHECKPOINT_RESTORE",
				     "it sets pids and reads others' files" },
};

/* The number of "CAP_KILL", "KILL" or "kill"; -1 for no name of one. */
static int find_capability(const char *name)
{
	bool bare = strncasecmp(name, "CAP_", 4) != 0;

	for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++)
		if (strcasecmp(name, capabilities[i].name + (bare ? 4 : 0)) == 0)
			return (int)i;
	return -1;
}

int identity_add_capability(const char *name, uint64_t *set, struct err *err)
{
	int number = find_capability(name);

	if (number < 0)
		return err_set(
			err, ERR_INVALID, EINVAL,
			"no such capability; name one as in capabilities(7), like NET_BIND_SERVICE");
	if (capabilities[number].denied)
		return err_set(err, ERR_DENIED, EPERM, "no workload gets %s: %s",
			       capabilities[number].name, capabilities[number].denied);
	*set |= UINT64_C(1) << number;
	return 0;
}

const char *identity_capability_name(unsigned int capability)
{
	return capability < ARRAY_SIZE(capabilities) ? capabilities[capability].name : NULL;
}

uint64_t identity_grantable(void)
{
	uint64_t set = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(capabilities); i++)
		if (!capabilities[i].denied)
			set |= UINT64_C(1) << i;
	return set;
}
