#include "sandbox/confine.h"

#include <errno.h>
#include <seccomp.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include "proto/cleanup.h"

/* What the steps of a launch need of the host. What a workload may be granted is added: it holds in its
 * user namespace only, but a workload with the host's ids gets it from here. */
static const struct {
	int capability;
	const char *why;
} needed[] = {
	{ CAP_SYS_ADMIN, "mounts, namespaces, id maps, BPF device programs before CAP_BPF" },
	{ CAP_NET_ADMIN, "loopback up, device programs (BPF_PROG_TYPE_CGROUP_DEVICE)" },
	{ CAP_BPF, "device programs" },
	{ CAP_SETUID, "uid maps; becoming the workload's root" },
	{ CAP_SETGID, "gid maps; supplementary groups" },
	{ CAP_SETPCAP, "dropping the bounding set of workloads" },
	{ CAP_CHOWN, "device nodes, terminals and log files for others" },
	{ CAP_FOWNER, "modes of what was given away" },
	{ CAP_DAC_OVERRIDE, "root directories and cgroups of other owners" },
	{ CAP_DAC_READ_SEARCH, "the same, for reading" },
	{ CAP_MKNOD, "the six nodes of a container's /dev" },
	{ CAP_KILL, "signals by pidfd to ids that are not ours" },
	{ CAP_SYS_PTRACE, "/proc/<pid>/ns, exe and wchan of workloads" },
	{ CAP_SYS_RESOURCE, "hard limits and oom scores of workloads" },
	{ CAP_SYS_CHROOT, "setns(2) of a mount namespace; pivot_root(2)" },
	{ CAP_FSETID, "the set-group-id bit of log directories" },
};

static uint64_t needed_set(const struct policy *policy)
{
	uint64_t set = policy->capabilities;

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		set |= 1ULL << needed[i].capability;
	return set;
}

static int bound_capabilities(uint64_t set, struct err *err)
{
	for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
		if (set & (1ULL << capability))
			continue;
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
			return err_set(err, ERR_INTERNAL, errno, "cannot give up capability %d: %m",
				       capability);
	}
	return 0;
}

static int keep_capabilities(uint64_t set, struct err *err)
{
	cap_t caps = cap_get_proc();
	int r = 0;

	for (cap_value_t capability = 0; caps && capability <= CAP_LAST_CAP; capability++) {
		if (set & (1ULL << capability))
			continue;
		(void)cap_set_flag(caps, CAP_PERMITTED, 1, &capability, CAP_CLEAR);
		(void)cap_set_flag(caps, CAP_EFFECTIVE, 1, &capability, CAP_CLEAR);
	}
	if (!caps || cap_clear_flag(caps, CAP_INHERITABLE) < 0 || cap_set_proc(caps) < 0)
		r = err_set(err, ERR_INTERNAL, errno, "cannot give up capabilities: %m");
	(void)cap_free(caps);
	return r;
}

/* Everything native is allowed; libseccomp kills what comes through the entries of other ABIs. */
static int allow_native_calls_only(struct err *err)
{
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);
	int r = context ? seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)
			: -ENOMEM;

	/* CAP_SYS_ADMIN stands in for no_new_privs, which would be inherited by everyone. */
	if (r == 0)
		r = seccomp_attr_set(context, SCMP_FLTATR_CTL_NNP, 0);
	if (r == 0)
		r = seccomp_load(context);
	seccomp_release(context);
	if (r < 0)
		return err_set(err, ERR_UNSUPPORTED, -r, "cannot load the daemon's filter: %m");
	return 0;
}

int confine_apply(const struct policy *policy, struct err *err)
{
	uint64_t set = needed_set(policy);
	int r = bound_capabilities(set, err);

	if (r == 0)
		r = keep_capabilities(set, err);
	return r < 0 ? r : allow_native_calls_only(err);
}
