/*
 * Single system calls, with arguments that get a process which may make them past the first checks, and do
 * no harm where it may: the same probe is run by root of the host, to show that it can succeed.
 */
#include "tests/escape/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

/* ---- namespaces ---- */

static long flag_of(const char *name)
{
	static const struct {
		const char *name;
		int flag;
	} flags[] = {
		{ "user", CLONE_NEWUSER },     { "mnt", CLONE_NEWNS },    { "pid", CLONE_NEWPID },
		{ "net", CLONE_NEWNET },       { "ipc", CLONE_NEWIPC },   { "uts", CLONE_NEWUTS },
		{ "cgroup", CLONE_NEWCGROUP }, { "time", CLONE_NEWTIME },
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (!strcmp(flags[i].name, name))
			return flags[i].flag;
	return 0;
}

static long try_unshare(const char *name)
{
	return OUTCOME(unshare((int)flag_of(name)));
}

static long try_clone(const char *name)
{
	long pid = syscall(SYS_clone, flag_of(name) | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return OUTCOME(pid);
}

static long try_clone3(const char *name)
{
	struct clone_args args = { .flags = (unsigned long long)flag_of(name),
				   .exit_signal = SIGCHLD };
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		_exit(0);
	return OUTCOME(pid);
}

static void *nothing(void *arg)
{
	return arg;
}

static long try_thread(const char *argument)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, nothing, NULL);

	return r ? -r : -pthread_join(thread, NULL);
}

static long try_setns(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? OUTCOME(fd) : OUTCOME(setns(fd, 0));
}

static long try_setns_pidfd(const char *argument)
{
	int fd = (int)syscall(SYS_pidfd_open, getppid(), 0);

	return fd < 0 ? OUTCOME(fd) : OUTCOME(setns(fd, CLONE_NEWUTS));
}

/* ---- mounts, roots, nodes ---- */

/* On /tmp, and away again. */
static long mount_on_tmp(const char *source, const char *type, unsigned long flags,
			 const char *options)
{
	long r = OUTCOME(mount(source, "/tmp", type, flags, options));

	if (r == 0)
		(void)umount2("/tmp", MNT_DETACH);
	return r;
}

static long try_mount(const char *type)
{
	return mount_on_tmp("none", type, 0, NULL);
}

static long try_mount_cgroup1(const char *controller)
{
	return mount_on_tmp("none", "cgroup", 0, controller);
}

static long try_bind(const char *path)
{
	return mount_on_tmp(path, NULL, MS_BIND, NULL);
}

static long try_remount(const char *path)
{
	return OUTCOME(mount(NULL, path, NULL, MS_REMOUNT | MS_BIND, NULL));
}

/* The oldest way out: a root below the one that the working directory is above of. */
static long try_chroot(const char *argument)
{
	struct stat top, here;

	(void)mkdir("/tmp/x", 0755);
	if (stat("/", &top) < 0 || chroot("/tmp/x") < 0)
		return -errno;
	for (int i = 0; i < 32; i++)
		if (chdir("..") < 0)
			return -errno;
	(void)rmdir("tmp/x");
	return OUTCOME(stat(".", &here));
}

static long try_pivot(const char *argument)
{
	return OUTCOME(syscall(SYS_pivot_root, ".", "."));
}

/* c:1:1:/where */
static long try_mknod(const char *argument)
{
	char text[256], *rest = text;
	mode_t type;
	unsigned int major, minor;
	int r;

	(void)snprintf(text, sizeof(text), "%s", argument);
	type = *probe_part(&rest) == 'b' ? S_IFBLK : S_IFCHR;
	major = (unsigned int)atoi(probe_part(&rest));
	minor = (unsigned int)atoi(probe_part(&rest));
	r = mknod(rest, type | 0600, makedev(major, minor));
	if (r < 0)
		return -errno;
	(void)unlink(rest);
	return 0;
}

/* ---- files ---- */

static long try_openw(const char *path)
{
	return OUTCOME(open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

/* ENODATA: it is there and says nothing. */
static long try_openr(const char *path)
{
	char buffer[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buffer, sizeof(buffer));
	if (n < 0 && errno == EISDIR) {
		n = syscall(SYS_getdents64, fd, buffer, sizeof(buffer));
		n = n < 0 ? n : n <= 48 ? 0 : n; /* . and .. alone */
	}
	if (n < 0 && errno == EAGAIN)
		return 0; /* it would say something, later */
	return n < 0 ? -errno : n == 0 ? -ENODATA : 0;
}

/* Through a descriptor that another program had opened for reading. A program that runs just now cannot be
 * written to by anybody: then what counts is whether its mount would let us later. */
static long try_reopen(const char *number)
{
	struct statvfs st;
	char path[64];
	long r;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%s", number);
	r = try_openw(path);
	if (r == -ETXTBSY && fstatvfs(atoi(number), &st) == 0)
		return st.f_flag & ST_RDONLY ? -EROFS : 0;
	return r;
}

/* For root of the host: give @path a file capability, CAP_SYS_ADMIN, permitted and effective. */
static long try_setcap(const char *path)
{
	unsigned int data[] = { 0x02000001, 1u << 21, 0, 0, 0 };

	return OUTCOME(setxattr(path, "security.capability", data, sizeof(data), 0));
}

/* A file's handle, and the file by its handle: names and mounts do not matter to it (shocker). */
static long try_handle(const char *path)
{
	char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	struct file_handle *handle = (void *)space;
	int mount_id, dir_fd = open(path, O_RDONLY | O_CLOEXEC);

	handle->handle_bytes = MAX_HANDLE_SZ;
	if (name_to_handle_at(AT_FDCWD, path, handle, &mount_id, 0) < 0)
		handle->handle_bytes = 8;
	return OUTCOME(open_by_handle_at(dir_fd, handle, O_RDONLY));
}

/* ---- sockets ---- */

/* The families that there are, and those refused otherwise than by "there are none". */
static long list_families(const char *argument)
{
	for (int family = 1; family <= 46; family++) {
		static const int types[] = { SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, SOCK_RAW };
		int error = EAFNOSUPPORT;

		for (size_t i = 0; i < sizeof(types) / sizeof(types[0]) && error != 0; i++) {
			int fd = socket(family, types[i] | SOCK_CLOEXEC, 0);

			if (fd >= 0 || errno != EAFNOSUPPORT)
				error = fd >= 0 ? 0 : errno;
		}
		if (error != EAFNOSUPPORT)
			probe_find("%s%d", probe_found[0] ? "," : "", family);
	}
	return 0;
}

static long list_netlinks(const char *argument)
{
	for (int protocol = 0; protocol < 32; protocol++) {
		if (socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol) >= 0)
			probe_find("%s%d", probe_found[0] ? "," : "", protocol);
		else if (errno != EPROTONOSUPPORT)
			probe_find("%s%d=%s", probe_found[0] ? "," : "", protocol,
				   strerrorname_np(errno));
	}
	return 0;
}

/* Another address for the loopback interface. */
static long try_address(const char *name)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr.s_addr = htonl(0x7f000002) };
	struct ifreq request = { 0 };

	(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	memcpy(&request.ifr_addr, &address, sizeof(address));
	return OUTCOME(ioctl(fd, SIOCSIFADDR, &request));
}

/* ---- terminals ---- */

static long try_tiocsti(const char *argument)
{
	char letter = '\n';
	unsigned long request = !strcmp(argument, "high") ? (1ul << 32 | TIOCSTI) : TIOCSTI;

	return OUTCOME(syscall(SYS_ioctl, 0, request, &letter));
}

static long try_tioclinux(const char *argument)
{
	char request = 3; /* paste the selection */

	return OUTCOME(ioctl(0, TIOCLINUX, &request));
}

/* ---- foreign entries into the kernel ---- */

static long try_int80(const char *argument)
{
#ifdef __x86_64__
	long r;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
	return r < 0 ? r : 0;
#else
	return -ENOSYS;
#endif
}

static long try_x32(const char *argument)
{
	return OUTCOME(syscall(0x40000000 | SYS_getpid));
}

/* ---- priorities ---- */

static long try_fifo(const char *argument)
{
	struct sched_param param = { .sched_priority = 99 };

	return OUTCOME(sched_setscheduler(0, SCHED_FIFO, &param));
}

static long try_nice(const char *argument)
{
	return OUTCOME(setpriority(PRIO_PROCESS, 0, -20));
}

static long try_mlock(const char *mebibytes)
{
	size_t size = (size_t)atol(mebibytes) << 20;
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? -errno : OUTCOME(mlock(memory, size));
}

static long try_ptrace(const char *pid)
{
	return OUTCOME(ptrace(PTRACE_SEIZE, atoi(pid), 0, 0));
}

static long try_kill(const char *argument)
{
	char text[64], *rest = text;
	int signal_number;

	(void)snprintf(text, sizeof(text), "%s", argument);
	signal_number = atoi(probe_part(&rest));
	return OUTCOME(kill(atoi(rest), signal_number));
}

static long try_setuid(const char *uid)
{
	return OUTCOME(setresuid((uid_t)atoi(uid), (uid_t)atoi(uid), (uid_t)atoi(uid)));
}

/* ---- any other call, by name ---- */

static const struct {
	const char *name;
	long number;
	unsigned long arguments[5];
} calls[] = {
	{ "umount2", SYS_umount2, { 0 } },
	{ "fsopen", SYS_fsopen, { 0 } },
	{ "fsconfig", SYS_fsconfig, { -1ul } },
	{ "fsmount", SYS_fsmount, { -1ul } },
	{ "fspick", SYS_fspick, { -1ul } },
	{ "open_tree", SYS_open_tree, { -1ul } },
	{ "move_mount", SYS_move_mount, { -1ul, 0, -1ul } },
	{ "mount_setattr", SYS_mount_setattr, { -1ul } },
	{ "add_key", SYS_add_key, { 0 } },
	{ "request_key", SYS_request_key, { 0 } },
	{ "keyctl", SYS_keyctl, { 0, -3ul } }, /* KEYCTL_GET_KEYRING_ID, the session's */
	{ "io_uring_setup", SYS_io_uring_setup, { 1 } },
	{ "io_uring_enter", SYS_io_uring_enter, { -1ul } },
	{ "io_uring_register", SYS_io_uring_register, { -1ul } },
	{ "bpf", SYS_bpf, { 9999 } },
	{ "perf_event_open", SYS_perf_event_open, { 0 } },
	{ "userfaultfd", SYS_userfaultfd, { 1 } },
	{ "kcmp", SYS_kcmp, { 0, 0, 99 } },
	{ "pidfd_getfd", SYS_pidfd_getfd, { -1ul } },
	{ "process_madvise", SYS_process_madvise, { -1ul } },
	{ "memfd_secret", 447, { -1ul } },
	{ "fanotify_init", SYS_fanotify_init, { -1ul } },
	{ "quotactl", SYS_quotactl, { 0 } },
	{ "kexec_load", SYS_kexec_load, { 0, 0, 0, -1ul } },
	{ "kexec_file_load", SYS_kexec_file_load, { -1ul, -1ul, 0, 0, -1ul } },
	{ "init_module", SYS_init_module, { 0 } },
	{ "finit_module", SYS_finit_module, { -1ul } },
	{ "delete_module", SYS_delete_module, { 0 } },
	{ "iopl", SYS_iopl, { 9 } },
	{ "ioperm", SYS_ioperm, { -1ul, -1ul } },
	{ "swapon", SYS_swapon, { 0 } },
	{ "swapoff", SYS_swapoff, { 0 } },
	{ "reboot", SYS_reboot, { 0 } },
	{ "acct", SYS_acct, { 1 } },
	{ "settimeofday", SYS_settimeofday, { 1 } },
	{ "clock_settime", SYS_clock_settime, { 99 } },
	{ "syslog", SYS_syslog, { 10 } }, /* SYSLOG_ACTION_SIZE_BUFFER */
	{ "sethostname", SYS_sethostname, { 0, -1ul } },
	{ "lookup_dcookie", SYS_lookup_dcookie, { 0 } },
	{ "modify_ldt", SYS_modify_ldt, { 0 } },
	{ "move_pages", SYS_move_pages, { 0 } },
	{ "mbind", SYS_mbind, { 0, 0, 9 } },
};

static long try_call(const char *name)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const unsigned long *a = calls[i].arguments;

		if (!strcmp(calls[i].name, name))
			return OUTCOME(syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4]));
	}
	probe_find("no-such-call");
	return 0;
}

const struct probe probe_calls[] = {
	{ "unshare", try_unshare },
	{ "clone", try_clone },
	{ "clone3", try_clone3 },
	{ "thread", try_thread },
	{ "setns", try_setns },
	{ "setns-pidfd", try_setns_pidfd },
	{ "mount", try_mount },
	{ "mount-cgroup1", try_mount_cgroup1 },
	{ "bind", try_bind },
	{ "remount", try_remount },
	{ "chroot", try_chroot },
	{ "pivot", try_pivot },
	{ "mknod", try_mknod },
	{ "openw", try_openw },
	{ "openr", try_openr },
	{ "reopen", try_reopen },
	{ "setcap", try_setcap },
	{ "handle", try_handle },
	{ "families", list_families },
	{ "netlinks", list_netlinks },
	{ "address", try_address },
	{ "tiocsti", try_tiocsti },
	{ "tioclinux", try_tioclinux },
	{ "int80", try_int80 },
	{ "x32", try_x32 },
	{ "fifo", try_fifo },
	{ "nice", try_nice },
	{ "mlock", try_mlock },
	{ "ptrace", try_ptrace },
	{ "kill", try_kill },
	{ "setuid", try_setuid },
	{ "call", try_call },
	{ 0 },
};
