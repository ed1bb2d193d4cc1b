/*
 * The profile "berth-2026": which system calls a workload needs, and why it does not get the
 * others.
 *
 * Every number up to SYSCALL_NUMBER_NEWEST stands in exactly one group (a test compares this table
 * with the kernel's), so a new kernel's call is a decision made here and not an accident. The three
 * answers:
 *   allowed         what programs need, and where the kernel's own checks (permissions,
 *                   capabilities of the workload's user namespace, limits) decide
 *   EPERM, counted  known calls that a workload has no business with; its status names them
 *   ENOSYS          optional calls that libraries try first and do without, and unknown numbers
 */
#include <errno.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "proto/err.h"
#include "proto/syscall_names.h"
#include "sandbox/filter_profile.h"

#define CAP(name) (UINT64_C(1) << CAP_##name)

struct call_group {
	enum filter_verdict verdict;
	uint16_t errnum;
	uint64_t capabilities; /* with one of these the group is allowed */
	const char *reason;
	const char *names; /* separated by spaces */
};

static const struct call_group groups[] = {
	{ FILTER_ALLOW, 0, 0, "bytes in and out of descriptors that the workload holds",
	  "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek sendfile "
	  "splice tee vmsplice copy_file_range close close_range dup dup2 dup3 pipe pipe2 fcntl "
	  "flock fsync fdatasync sync syncfs sync_file_range ftruncate fallocate fadvise64 readahead "
	  "io_setup io_destroy io_getevents io_pgetevents io_submit io_cancel" },
	{ FILTER_ALLOW, 0, 0, "files by name: mount namespace, permissions and quota decide",
	  "open openat openat2 creat access faccessat faccessat2 stat fstat lstat newfstatat statx "
	  "statfs fstatfs getdents getdents64 getcwd chdir fchdir rename renameat renameat2 mkdir "
	  "mkdirat rmdir link linkat unlink unlinkat symlink symlinkat readlink readlinkat chmod "
	  "fchmod fchmodat fchmodat2 chown fchown lchown fchownat umask truncate utime utimes "
	  "futimesat utimensat name_to_handle_at" },
	{ FILTER_ALLOW, 0, 0,
	  "fifos and sockets by name; the user namespace has no devices to make", "mknod mknodat" },
	{ FILTER_ALLOW, 0, 0, "extended attributes and file flags, as the file's owner may",
	  "setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr "
	  "flistxattr removexattr lremovexattr fremovexattr setxattrat getxattrat listxattrat "
	  "removexattrat file_getattr" },
	{ FILTER_ALLOW, 0, 0, "what /proc/self/mountinfo tells too", "statmount listmount" },
	{ FILTER_ALLOW, 0, 0, "waiting",
	  "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait "
	  "epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime "
	  "timerfd_gettime inotify_init inotify_init1 inotify_add_watch inotify_rm_watch pause" },
	{ FILTER_ALLOW, 0, 0, "memory of the process itself, within memory.max and RLIMIT_MEMLOCK",
	  "mmap mprotect munmap brk mremap msync mincore madvise mlock mlock2 munlock mlockall "
	  "munlockall remap_file_pages pkey_mprotect pkey_alloc pkey_free memfd_create mseal "
	  "map_shadow_stack membarrier" },
	{ FILTER_ALLOW, 0, 0, "processes and threads inside the pid namespace and pids.max",
	  "fork vfork execve execveat exit exit_group wait4 waitid set_tid_address gettid getpid "
	  "getppid getpgid getpgrp setpgid getsid setsid pidfd_open process_mrelease "
	  "set_robust_list get_robust_list rseq arch_prctl prctl getcpu" },
	{ FILTER_ALLOW, 0, 0, "debuggers: ptrace rules keep them to the workload's own processes",
	  "ptrace process_vm_readv process_vm_writev" },
	{ FILTER_ALLOW, 0, 0, "the trampoline of host-side uprobes: without it tracing kills us",
	  "uretprobe uprobe" },
	{ FILTER_ALLOW, 0, 0, "signals inside the pid namespace",
	  "kill tkill tgkill pidfd_send_signal rt_sigaction rt_sigprocmask rt_sigreturn "
	  "rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo rt_sigsuspend sigaltstack "
	  "restart_syscall" },
	{ FILTER_ALLOW, 0, 0, "locks", "futex futex_waitv futex_wake futex_wait futex_requeue" },
	{ FILTER_ALLOW, 0, 0, "clocks and timers; setting a clock needs a capability nobody has",
	  "nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time times getitimer "
	  "setitimer alarm timer_create timer_settime timer_gettime timer_getoverrun timer_delete "
	  "adjtimex clock_adjtime" },
	{ FILTER_ALLOW, 0, 0, "ids and capabilities, inside the user namespace",
	  "getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid "
	  "setregid setresuid setresgid setgroups setfsuid setfsgid capget capset" },
	{ FILTER_ALLOW, 0, 0, "limits, priorities, scheduling: cgroup and rlimits are the bounds",
	  "getrlimit setrlimit prlimit64 getrusage getpriority setpriority ioprio_get ioprio_set "
	  "sched_yield sched_getparam sched_setparam sched_getscheduler sched_setscheduler "
	  "sched_getattr sched_setattr sched_getaffinity sched_setaffinity sched_get_priority_max "
	  "sched_get_priority_min sched_rr_get_interval" },
	{ FILTER_ALLOW, 0, 0,
	  "sockets that are open; socket and socketpair have rules of their own",
	  "bind listen accept accept4 connect shutdown getsockname getpeername setsockopt getsockopt "
	  "sendto sendmsg sendmmsg recvfrom recvmsg recvmmsg" },
	{ FILTER_ALLOW, 0, 0, "System V and POSIX IPC, in the workload's ipc namespace",
	  "shmget shmat shmctl shmdt semget semop semtimedop semctl msgget msgsnd msgrcv msgctl "
	  "mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr" },
	{ FILTER_ALLOW, 0, 0, "about the system", "uname sysinfo getrandom" },
	{ FILTER_ALLOW, 0, 0, "programs that confine themselves further",
	  "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self" },

	{ FILTER_NOTIFY, EPERM, CAP(SYS_CHROOT), "leaving and changing the root", "chroot" },
	{ FILTER_NOTIFY, EPERM, 0, "mounts and namespaces: surface of most container escapes",
	  "mount umount2 pivot_root unshare setns listns" },
	{ FILTER_NOTIFY, EPERM, 0, "keyrings are not namespaced", "add_key request_key keyctl" },
	{ FILTER_NOTIFY, EPERM, 0, "kernel programs and side doors with a long record of bugs",
	  "bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register" },
	{ FILTER_NOTIFY, EPERM, 0, "into other processes beyond what ptrace rules cover",
	  "kcmp pidfd_getfd process_madvise" },
	{ FILTER_NOTIFY, EPERM, 0, "memory that the host cannot see or save", "memfd_secret" },
	{ FILTER_NOTIFY, EPERM, 0, "files without a path: out of the mount namespace (shocker)",
	  "open_by_handle_at" },
	{ FILTER_NOTIFY, EPERM, 0, "whole filesystems are watched by the host",
	  "fanotify_init fanotify_mark quotactl quotactl_fd" },
	{ FILTER_NOTIFY, EPERM, 0, "memory placement on nodes is the host's and cpuset's",
	  "mbind set_mempolicy get_mempolicy set_mempolicy_home_node migrate_pages move_pages" },
	{ FILTER_NOTIFY, EPERM, 0, "the machine: its kernel, clock, swap, ports, names and log",
	  "kexec_load kexec_file_load init_module finit_module delete_module iopl ioperm swapon "
	  "swapoff reboot acct settimeofday clock_settime syslog vhangup sethostname setdomainname" },

	{ FILTER_ERRNO, ENOSYS, 0, "flags in memory cannot be checked; libc falls back to clone",
	  "clone3" },
	{ FILTER_ERRNO, ENOSYS, 0, "the newer mount calls, as a whole",
	  "fsopen fsconfig fsmount fspick open_tree open_tree_attr move_mount mount_setattr" },
	{ FILTER_ERRNO, ENOSYS, 0, "16-bit segments: only old emulators, and exploits, want them",
	  "modify_ldt" },
	{ FILTER_ERRNO, ENOSYS, 0, "what others cached of a shared image is theirs", "cachestat" },
	{ FILTER_ERRNO, ENOSYS, 0,
	  "flags and project ids, which are quotas; ioctl has the safe part", "file_setattr" },
	{ FILTER_ERRNO, ENOSYS, 0, "asked only by label tools, which fall back to /proc",
	  "lsm_get_self_attr lsm_set_self_attr lsm_list_modules" },
	{ FILTER_ERRNO, ENOSYS, 0, "gone from the kernel, or going",
	  "lookup_dcookie uselib ustat sysfs _sysctl create_module get_kernel_syms query_module "
	  "nfsservctl getpmsg putpmsg afs_syscall tuxcall security set_thread_area get_thread_area "
	  "epoll_ctl_old epoll_wait_old vserver" },
};

/* The low 32 bits: what the kernel looks at in an int argument, whatever the other half holds. */
#define LOW UINT64_C(0xffffffff)
#define LOW_IS(index, value)                                        \
	{                                                           \
		(index), SCMP_CMP_MASKED_EQ, LOW, (uint32_t)(value) \
	}
#define BITS(index, mask, on)                             \
	{                                                 \
		(index), SCMP_CMP_MASKED_EQ, (mask), (on) \
	}
/* Holds always. With no comparison at all libseccomp would drop the rules before it. */
#define OTHERWISE(index)                   \
	{                                  \
		(index), SCMP_CMP_GE, 0, 0 \
	}

#define NEW_NAMESPACES                                                                            \
	((uint64_t)(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
		    CLONE_NEWPID | CLONE_NEWNET))

/* Calls of which the arguments decide: the first rule that fits. What the messages of these
 * families and the requests of these ioctls reach has been the way in, not the calls themselves. */
static const struct filter_rule argument_rules[] = {
	/* AF_ALG, AF_RXRPC, xfrm over netlink and others were the kernel holes of 2026. */
	{ __NR_socket, FILTER_ALLOW, 0, 1, { LOW_IS(0, AF_UNIX) } },
	{ __NR_socket, FILTER_ALLOW, 0, 1, { LOW_IS(0, AF_INET) } },
	{ __NR_socket, FILTER_ALLOW, 0, 1, { LOW_IS(0, AF_INET6) } },
	{ __NR_socket, FILTER_ALLOW, 0, 2, { LOW_IS(0, AF_NETLINK), LOW_IS(2, NETLINK_ROUTE) } },
	{ __NR_socket, FILTER_NOTIFY, EPROTONOSUPPORT, 2, { LOW_IS(0, AF_NETLINK), OTHERWISE(2) } },
	{ __NR_socket, FILTER_NOTIFY, EAFNOSUPPORT, 1, { OTHERWISE(0) } },
	{ __NR_socketpair, FILTER_ALLOW, 0, 1, { LOW_IS(0, AF_UNIX) } },
	{ __NR_socketpair, FILTER_NOTIFY, EAFNOSUPPORT, 1, { OTHERWISE(0) } },
	/* A namespace of its own is the first step of most kernel exploits. CLONE_NEWTIME lies in
	 * the exit signal's byte and is for clone3 and unshare only. */
	{ __NR_clone, FILTER_ALLOW, 0, 1, { BITS(0, NEW_NAMESPACES, 0) } },
	{ __NR_clone, FILTER_NOTIFY, EPERM, 1, { OTHERWISE(0) } },
	/* Typing into, or pasting into, the terminal that an operator is attached with
	 * (CVE-2017-5226, CVE-2019-10063, CVE-2023-28100). */
	{ __NR_ioctl, FILTER_NOTIFY, EPERM, 1, { LOW_IS(1, TIOCSTI) } },
	{ __NR_ioctl, FILTER_NOTIFY, EPERM, 1, { LOW_IS(1, TIOCLINUX) } },
	{ __NR_ioctl, FILTER_ALLOW, 0, 1, { OTHERWISE(1) } },
	/* Reading it, and what setarch sets for builds; not the bits that switch off address
	 * randomisation, map page 0 or make data executable. */
	{ __NR_personality, FILTER_ALLOW, 0, 1, { LOW_IS(0, PER_LINUX) } },
	{ __NR_personality, FILTER_ALLOW, 0, 1, { LOW_IS(0, PER_LINUX32) } },
	{ __NR_personality, FILTER_ALLOW, 0, 1, { LOW_IS(0, UNAME26) } },
	{ __NR_personality, FILTER_ALLOW, 0, 1, { LOW_IS(0, PER_LINUX32 | UNAME26) } },
	{ __NR_personality, FILTER_ALLOW, 0, 1, { LOW_IS(0, 0xffffffff) } },
	{ __NR_personality, FILTER_NOTIFY, EPERM, 1, { OTHERWISE(0) } },
};

static int add_call(struct filter_profile *profile, const struct call_group *group,
		    const char *name, uint64_t capabilities, struct err *err)
{
	bool opened = group->verdict == FILTER_ALLOW || (group->capabilities & capabilities);
	struct filter_rule rule = {
		.verdict = opened ? FILTER_ALLOW : group->verdict,
		.errnum = opened ? 0 : group->errnum,
	};
	int nr = syscall_number(name);

	if (nr < 0)
		return err_set(err, ERR_INTERNAL, EINVAL,
			       "default seccomp profile names \"%s\", which is no system call",
			       name);
	/* What the profile answers anyway needs no rule. */
	if (rule.verdict == profile->default_verdict && rule.errnum == profile->default_errnum)
		return 0;
	rule.nr = (uint32_t)nr;
	return filter_profile_add(profile, &rule, err);
}

static int add_group(struct filter_profile *profile, const struct call_group *group,
		     uint64_t capabilities, struct err *err)
{
	const char *rest = group->names;
	char name[32];
	int used;

	while (sscanf(rest, " %31s%n", name, &used) == 1) {
		int r = add_call(profile, group, name, capabilities, err);

		if (r < 0)
			return r;
		rest += used;
	}
	return 0;
}

int filter_default_profile(uint64_t capabilities, struct filter_profile **ret_profile,
			   struct err *err)
{
	cleanup(filter_profile_free_p) struct filter_profile *profile =
		filter_profile_new(FILTER_ERRNO, ENOSYS);
	int r;

	if (!profile)
		return err_oom(err);
	profile->ordered = true;
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		r = add_group(profile, &groups[i], capabilities, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < ARRAY_SIZE(argument_rules); i++) {
		r = filter_profile_add(profile, &argument_rules[i], err);
		if (r < 0)
			return r;
	}
	*ret_profile = take_ptr(&profile);
	return 0;
}
