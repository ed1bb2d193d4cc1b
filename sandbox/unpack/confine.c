#include "sandbox/unpack/confine.h"

#include <errno.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/cleanup.h"

/* Newer than the headers. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#define HEAP_BYTES_MAX (48ULL << 20)

/* In its own user namespace. */
static const struct {
	cap_value_t capability;
	const char *why;
} kept[] = {
	{ CAP_CHOWN, "owners as the archive says" },
	{ CAP_FOWNER, "modes and times of what has been given away" },
	{ CAP_DAC_OVERRIDE, "files in directories that nobody may write to" },
	{ CAP_FSETID, "set-group-id bits of other groups" },
};

static const int allowed[] = {
	SCMP_SYS(read),
	SCMP_SYS(pread64),
	SCMP_SYS(write),
	SCMP_SYS(pwrite64),
	SCMP_SYS(writev),
	SCMP_SYS(lseek),
	SCMP_SYS(close),
	SCMP_SYS(fcntl),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(statx),
	SCMP_SYS(getdents64),
	SCMP_SYS(readlinkat),
	SCMP_SYS(openat2),
	SCMP_SYS(mkdirat),
	SCMP_SYS(mknodat),
	SCMP_SYS(symlinkat),
	SCMP_SYS(linkat),
	SCMP_SYS(unlinkat),
	SCMP_SYS(fchmod),
	SCMP_SYS(fchown),
	SCMP_SYS(fchownat),
	SCMP_SYS(utimensat),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fsetxattr),
	SCMP_SYS(fgetxattr),
	SCMP_SYS(flistxattr),
	SCMP_SYS(syncfs),
	SCMP_SYS(fsync),
	/* memory, signals, the end */
	SCMP_SYS(brk),
	SCMP_SYS(mmap),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(mprotect),
	SCMP_SYS(madvise),
	SCMP_SYS(sysinfo), /* glibc's qsort: how much may a larger array take? */
	SCMP_SYS(futex),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(getrandom),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(tgkill),
	SCMP_SYS(sendto),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
#if defined(__SANITIZE_ADDRESS__)
	SCMP_SYS(sigaltstack),
	SCMP_SYS(sched_yield),
	SCMP_SYS(prctl),
	SCMP_SYS(openat),
	SCMP_SYS(readlink),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(getuid),
	SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep),
#endif
};

static int limit_resources(struct err *err)
{
	static const struct {
		int resource;
		rlim_t value;
	} limits[] = {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
		{ RLIMIT_DATA, HEAP_BYTES_MAX },
#endif
		{ RLIMIT_NOFILE, 1024 },
		{ RLIMIT_CORE, 0 },
		{ RLIMIT_MEMLOCK, 0 },
		{ RLIMIT_NPROC, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct rlimit limit = { limits[i].value, limits[i].value };
		struct rlimit now;

		if (getrlimit(limits[i].resource, &now) == 0 && now.rlim_max < limit.rlim_max)
			limit = (struct rlimit){ now.rlim_max, now.rlim_max };
		if (setrlimit(limits[i].resource, &limit) < 0)
			return err_set(err, ERR_INTERNAL, errno, "cannot set a limit: %m");
	}
	return 0;
}

static int drop_capabilities(struct err *err)
{
	cap_t caps = cap_init();
	int r = 0;

	for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
			r = -errno;
	for (size_t i = 0; caps && i < ARRAY_SIZE(kept); i++) {
		(void)cap_set_flag(caps, CAP_PERMITTED, 1, &kept[i].capability, CAP_SET);
		(void)cap_set_flag(caps, CAP_EFFECTIVE, 1, &kept[i].capability, CAP_SET);
	}
	if (r == 0 && (!caps || cap_set_proc(caps) < 0))
		r = -errno;
	(void)cap_free(caps);
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	return r < 0 ? err_set(err, ERR_INTERNAL, -r, "cannot give up capabilities: %m") : 0;
}

/* Everything that this kernel can forbid is, but what files of a layer need below the directory. */
static int fence_files(int directory_fd, struct err *err)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	struct landlock_ruleset_attr attr = {
		.handled_access_fs = ((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1) |
				     LANDLOCK_ACCESS_FS_REFER,
	};
	struct landlock_path_beneath_attr below = {
		.parent_fd = directory_fd,
		.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
				  LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
				  LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_CHAR |
				  LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
				  LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER,
	};
	cleanup_fd int fd = -1;

	if (abi < 2) /* hard links between directories are never permitted by the first */
		return err_set(
			err, ERR_UNSUPPORTED, EOPNOTSUPP,
			"layers are unpacked behind Landlock of its second version, Linux 5.19, which this kernel does not have or has switched off (lsm=)");
	if (abi >= 3) {
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
		below.allowed_access |= LANDLOCK_ACCESS_FS_TRUNCATE;
	}
	fd = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (fd < 0 ||
	    syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot put Landlock around it: %m");
	return 0;
}

static int allow_calls(struct err *err)
{
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r = context ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(allowed); i++)
		r = seccomp_rule_add(context, SCMP_ACT_ALLOW, allowed[i], 0);
	if (r == 0)
		r = seccomp_load(context);
	seccomp_release(context);
	return r < 0 ? err_set(err, ERR_UNSUPPORTED, -r, "cannot load its filter: %m") : 0;
}

int confine_unpacker(int directory_fd, struct err *err)
{
	int r = limit_resources(err);

	if (r == 0)
		r = drop_capabilities(err);
	if (r == 0)
		r = fence_files(directory_fd, err);
	return r < 0 ? r : allow_calls(err);
}
