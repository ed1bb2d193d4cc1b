#include "agent/confine.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "proto/cleanup.h"
#include "proto/log.h"

#define READ_FILES (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_FILES                                                       \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	 LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_DIR |    \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK)
/* All that the first version of Landlock knows: what no rule allows is denied. */
#define HANDLED                                                                                 \
	(READ_FILES | WRITE_FILES | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | \
	 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |                         \
	 LANDLOCK_ACCESS_FS_MAKE_SYM)

static int allow_path(int ruleset_fd, const char *path, uint64_t access, struct err *err)
{
	cleanup_fd int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return 0;         /* what is not there needs no permission */
	if (!S_ISDIR(st.st_mode)) /* other rights mean nothing for a file, and are refused */
		rule.allowed_access &= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE;
	if (syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		return err_set(err, ERR_INTERNAL, errno, "confine: cannot allow %s: %m", path);
	return 0;
}

static int confine_files(const struct confine_paths *paths, struct err *err)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = HANDLED };
	cleanup_fd int ruleset_fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr),
						 0);
	int r = 0;

	if (ruleset_fd < 0) {
		log_event(
			LOG_WARNING, NULL,
			"Landlock is not available on this kernel (%s): berthd's file access is bounded by its user alone",
			strerror(errno));
		return 0;
	}
	for (const char *const *path = paths->read_only; *path && r == 0; path++)
		r = allow_path(ruleset_fd, *path, READ_FILES, err);
	for (const char *const *path = paths->read_write; *path && r == 0; path++)
		r = allow_path(ruleset_fd, *path, READ_FILES | WRITE_FILES, err);
	if (r == 0 && syscall(SYS_landlock_restrict_self, ruleset_fd, 0) < 0)
		r = err_set(err, ERR_INTERNAL, errno, "confine: cannot restrict file access: %m");
	return r;
}

/* What berthd and its libraries call after start. */
static const char *const calls[] = {
	/* descriptors */
	"read",
	"readv",
	"pread64",
	"write",
	"writev",
	"pwrite64",
	"close",
	"close_range",
	"dup",
	"dup3",
	"fcntl",
	"lseek",
	"ftruncate",
	"fstat",
	"newfstatat",
	"statx",
	"fstatfs",
	"statfs",
	"ppoll",
	"poll",
	"pipe2",
	"fsync",
	"fdatasync",
	"flock",
	"fallocate",
	"sendfile",
	/* files below what Landlock allows */
	"openat",
	"open",
	"stat",
	"lstat",
	"access",
	"faccessat",
	"faccessat2",
	"readlink",
	"readlinkat",
	"getdents64",
	"unlink",
	"unlinkat",
	"link",
	"linkat",
	"rename",
	"renameat",
	"renameat2",
	"mkdir",
	"mkdirat",
	"rmdir",
	"chmod",
	"fchmod",
	"fchmodat",
	"chown",
	"lchown",
	"fchown",
	"fchownat",
	"umask",
	"getcwd",
	/* the event loop */
	"epoll_create1",
	"epoll_ctl",
	"epoll_wait",
	"epoll_pwait",
	"epoll_pwait2",
	"timerfd_create",
	"timerfd_settime",
	"timerfd_gettime",
	"eventfd2",
	"signalfd4",
	"inotify_init1",
	"inotify_add_watch",
	"inotify_rm_watch",
	"pidfd_open",
	"waitid",
	/* sockets */
	"accept",
	"accept4",
	"bind",
	"listen",
	"connect",
	"sendmsg",
	"sendmmsg",
	"recvmsg",
	"recvmmsg",
	"sendto",
	"recvfrom",
	"shutdown",
	"getsockname",
	"getpeername",
	"getsockopt",
	"setsockopt",
	"socketpair",
	/* memory, threads, signals, time */
	"mmap",
	"munmap",
	"mremap",
	"mprotect",
	"madvise",
	"brk",
	"memfd_create",
	"futex",
	"futex_waitv",
	"set_robust_list",
	"rseq",
	"sched_yield",
	"sched_getaffinity",
	"sched_setscheduler",
	"sched_setaffinity",
	"sigaltstack",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"rt_sigtimedwait",
	"tgkill",
	"gettid",
	"getpid",
	"getppid",
	"restart_syscall",
	"clock_gettime",
	"clock_getres",
	"clock_nanosleep",
	"nanosleep",
	"gettimeofday",
	"time",
	"getrandom",
	"exit",
	"exit_group",
	"set_tid_address",
	"membarrier",
	"getcpu",
	"setpriority",
	/* about oneself and the host */
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"getresuid",
	"getresgid",
	"getgroups",
	"getrlimit",
	"prlimit64",
	"getrusage",
	"uname",
	"sysinfo",
	"capget",
	"arch_prctl",
};

static int add_calls(scmp_filter_ctx filter)
{
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		int number = seccomp_syscall_resolve_name(calls[i]);
		int r;

		if (number == __NR_SCMP_ERROR)
			continue; /* not on this architecture */
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
		if (r < 0 && r != -EEXIST)
			return r;
	}
	return 0;
}

/* socket(2) by family, ioctl(2) and prctl(2) by request, clone(2) for threads only. */
static int add_checked_calls(scmp_filter_ctx filter)
{
	static const int families[] = { AF_UNIX, AF_INET, AF_INET6 };
	/* FIONREAD and FIONBIO for sockets, TIOCSWINSZ and TCGETS for terminals of sessions. */
	static const unsigned int requests[] = { 0x541b, 0x5421, 0x5414, 0x5413, 0x5401 };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(families) && r >= 0; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				     SCMP_A0_32(SCMP_CMP_EQ, (unsigned int)families[i]));
	for (size_t i = 0; i < ARRAY_SIZE(requests) && r >= 0; i++)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1_32(SCMP_CMP_EQ, requests[i]));
	if (r >= 0)
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
				     SCMP_A0_32(SCMP_CMP_EQ, PR_SET_NAME));
	if (r >= 0) /* CLONE_VM | CLONE_THREAD: a thread */
		r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, 0x10100, 0x10100));
	if (r >=
	    0) /* its flags are in memory, where a filter cannot look: glibc then takes clone */
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return r;
}

static int confine_calls(struct err *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r;

	if (!filter)
		return err_oom(err);
	r = add_calls(filter);
	if (r >= 0)
		r = add_checked_calls(filter);
	if (r >= 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r >= 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r,
			       "confine: cannot load berthd's seccomp filter: %m");
	return 0;
}

int confine_agent(const struct confine_paths *paths, struct err *err)
{
	int r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(err, ERR_INTERNAL, errno, "confine: cannot set no_new_privs: %m");
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	r = confine_files(paths, err);
	return r < 0 ? r : confine_calls(err);
}
