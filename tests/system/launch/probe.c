/*
 * A static program for the inside of containers: each argument is one thing to try; prints a line
 * "<what> <errno name, or OK>" for each. Words that end in '=' take the next argument.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
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
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *result(long r)
{
	return r >= 0 ? "OK" : strerrorname_np(errno);
}

static long try_unshare(int flag)
{
	return unshare(flag);
}

static long try_clone3(void)
{
	struct clone_args args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		_exit(0);
	return pid;
}

static long try_chroot_break(void)
{
	(void)mkdir("/tmp/x", 0755);
	return chroot("/tmp/x");
}

static long try_setns(const char *path)
{
	int fd = open(path, O_RDONLY);

	return fd < 0 ? fd : setns(fd, 0);
}

static void *nothing(void *arg)
{
	return arg;
}

static long try_thread(void)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, nothing, NULL);
	return errno ? -1 : pthread_join(thread, NULL);
}

static long try_mask(const char *path)
{
	char buffer[64];
	int fd = open(path, O_RDONLY);
	long n;

	if (fd < 0)
		return fd;
	n = read(fd, buffer, sizeof(buffer));
	(void)close(fd);
	if (n == 0) {
		errno = ENODATA;
		return -1;
	}
	return n;
}

static long try_write(const char *path)
{
	int fd = open(path, O_WRONLY);

	if (fd >= 0)
		(void)close(fd);
	return fd;
}

static long try_memory(void)
{
	size_t step = 1 << 20;

	for (int i = 0; i < 4096; i++) {
		char *p = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			       0);

		if (p == MAP_FAILED)
			return -1;
		memset(p, 1, step);
	}
	return 0;
}

/* How many processes there can be beside this one, until fork says no. */
static long try_forks(void)
{
	long count = 0;

	while (count < 10000) {
		pid_t pid = fork();

		if (pid < 0)
			break;
		if (pid == 0) {
			(void)pause();
			_exit(0);
		}
		count++;
	}
	(void)printf("forks %ld\n", count);
	errno = EAGAIN;
	return -1;
}

static long try_tiocsti(void)
{
	char letter = 'x';

	return ioctl(0, TIOCSTI, &letter);
}

static long try_int80(void)
{
#ifdef __x86_64__
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		long r;

		__asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory"); /* i386 getpid */
		_exit(0);
	}
	(void)waitpid(pid, &status, 0);
	errno = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? ENOSYS : 0;
	return errno ? -1 : 0;
#else
	errno = ENOSYS;
	return -1;
#endif
}

static void say(const char *what, long r)
{
	(void)printf("%s %s\n", what, result(r));
	(void)fflush(stdout);
}

static void list_descriptors(void)
{
	struct stat st;

	for (int fd = 0; fd < 1024; fd++) {
		if (fstat(fd, &st) == 0)
			(void)printf("fd %d\n", fd);
	}
}

/* A flood of @mebibytes without a newline; NULs among it. */
static long flood(long mebibytes)
{
	static char block[1 << 20];

	memset(block, 'a', sizeof(block));
	block[4711] = '\0';
	for (long i = 0; i < mebibytes; i++) {
		for (size_t at = 0; at < sizeof(block);) {
			ssize_t n = write(1, block + at, sizeof(block) - at);

			if (n < 0)
				return -1;
			at += (size_t)n;
		}
	}
	return 0;
}

static const struct {
	const char *name;
	long (*try)(void);
} simple[] = {
	{ "clone3", try_clone3 }, { "chroot", try_chroot_break }, { "thread", try_thread },
	{ "memory", try_memory }, { "forks", try_forks },         { "tiocsti", try_tiocsti },
	{ "int80", try_int80 },
};

static const struct {
	const char *name;
	int flag;
} namespaces[] = {
	{ "NEWUSER", CLONE_NEWUSER },     { "NEWNS", CLONE_NEWNS },   { "NEWPID", CLONE_NEWPID },
	{ "NEWNET", CLONE_NEWNET },       { "NEWIPC", CLONE_NEWIPC }, { "NEWUTS", CLONE_NEWUTS },
	{ "NEWCGROUP", CLONE_NEWCGROUP }, { "NEWTIME", 0x80 },
};

static const struct {
	const char *name;
	long number;
} calls[] = {
	{ "mount", SYS_mount },
	{ "umount2", SYS_umount2 },
	{ "fsopen", SYS_fsopen },
	{ "open_tree", SYS_open_tree },
	{ "move_mount", SYS_move_mount },
	{ "mount_setattr", SYS_mount_setattr },
	{ "fspick", SYS_fspick },
	{ "pivot_root", SYS_pivot_root },
	{ "add_key", SYS_add_key },
	{ "keyctl", SYS_keyctl },
	{ "request_key", SYS_request_key },
	{ "io_uring_setup", SYS_io_uring_setup },
	{ "bpf", SYS_bpf },
	{ "perf_event_open", SYS_perf_event_open },
	{ "userfaultfd", SYS_userfaultfd },
	{ "kexec_load", SYS_kexec_load },
	{ "init_module", SYS_init_module },
	{ "swapon", SYS_swapon },
	{ "reboot", SYS_reboot },
	{ "settimeofday", SYS_settimeofday },
	{ "syslog", SYS_syslog },
	{ "open_by_handle_at", SYS_open_by_handle_at },
	{ "fanotify_init", SYS_fanotify_init },
	{ "quotactl", SYS_quotactl },
	{ "acct", SYS_acct },
};

static bool try_named(const char *what)
{
	for (size_t i = 0; i < sizeof(simple) / sizeof(simple[0]); i++) {
		if (!strcmp(what, simple[i].name)) {
			say(what, simple[i].try());
			return true;
		}
	}
	for (size_t i = 0; i < sizeof(namespaces) / sizeof(namespaces[0]); i++) {
		if (!strcmp(what, namespaces[i].name)) {
			say(what, try_unshare(namespaces[i].flag));
			return true;
		}
	}
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (!strcmp(what, calls[i].name)) {
			say(what, syscall(calls[i].number, 0, 0, 0, 0, 0));
			return true;
		}
	}
	return false;
}

static bool try_with(const char *what, const char *argument)
{
	if (!strcmp(what, "read="))
		say(argument, try_mask(argument));
	else if (!strcmp(what, "write="))
		say(argument, try_write(argument));
	else if (!strcmp(what, "setns="))
		say(argument, try_setns(argument));
	else if (!strcmp(what, "mknod="))
		say("mknod", mknod(argument, S_IFBLK | 0600, makedev(254, 0)));
	else if (!strcmp(what, "flood="))
		return flood(atol(argument)) == 0;
	else if (!strcmp(what, "socket="))
		say(argument, socket(atoi(argument), SOCK_RAW, 0));
	else
		return false;
	return true;
}

/* Whether any program that this one can see lets its file be opened for writing, again and again. */
static _Noreturn void watch_programs(void)
{
	char path[32];

	for (;;) {
		for (int pid = 1; pid < 300; pid++) {
			int fd;

			(void)snprintf(path, sizeof(path), "/proc/%d/exe", pid);
			fd = open(path, O_RDWR);
			if (fd >= 0 && pid != getpid()) {
				(void)printf("WRITABLE %s\n", path);
				(void)fflush(stdout);
			}
			if (fd >= 0)
				(void)close(fd);
		}
	}
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "fds"))
			list_descriptors();
		else if (!strcmp(argv[i], "watch"))
			watch_programs();
		else if (try_named(argv[i]))
			continue;
		else if (i + 1 < argc && try_with(argv[i], argv[i + 1]))
			i++;
		else
			return 2;
	}
	return 0;
}
