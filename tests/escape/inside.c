/*
 * What somebody can do who runs code inside berthd. Preloaded into it (LD_PRELOAD): in place of its event loop,
 * when all its confinement is in force, this is what runs. One line for each attempt, as of the probe.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <systemd/sd-event.h>

static void say(const char *what, long r)
{
	(void)printf("inside:%s %s\n", what, r >= 0 ? "OK" : strerrorname_np(errno));
}

/* A child that is made after all ends at once: it would go on as another berthd, and hold our output. */
static long clone_and_end(unsigned long flags)
{
	long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);

	if (pid == 0)
		_exit(0);
	return pid;
}

static void try_programs(void)
{
	say("fork", clone_and_end(0));
	say("ptrace", ptrace(PTRACE_TRACEME, 0, 0, 0));
	say("kill", kill(getpid(), 0));
	say("process_vm_readv", syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0));
}

/* Files that anybody on the host may read or make, but berthd. */
static void try_files(void)
{
	const char *place = getenv("BERTH_ESCAPE_PLACE");
	char path[4096];

	(void)snprintf(path, sizeof(path), "%s/for-all/file", place ? place : "");
	say("read", open(path, O_RDONLY));
	say("write", open(path, O_WRONLY));
	(void)snprintf(path, sizeof(path), "%s/for-all/new", place ? place : "");
	say("create", open(path, O_WRONLY | O_CREAT, 0600));
	(void)snprintf(path, sizeof(path), "%s/for-all/link", place ? place : "");
	say("symlink", symlink("/", path));
	say("mknod", mknod(path, S_IFIFO | 0600, 0));
}

static void try_namespaces(void)
{
	say("unshare", unshare(CLONE_NEWUSER));
	say("clone", clone_and_end(CLONE_NEWUSER));
	say("setns", setns(open("/proc/self/ns/uts", O_RDONLY), 0) < 0 && errno == EPERM ? -1 : 0);
	say("mount",
	    syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL) < 0 && errno == EPERM ? -1 : 0);
}

static void try_kernel(void)
{
	say("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
	say("packet", socket(AF_PACKET, SOCK_RAW, 0));
	say("bpf", syscall(SYS_bpf, 9999, NULL, 0) < 0 && errno != EPERM ? 0 : -1);
	say("io_uring_setup", syscall(SYS_io_uring_setup, 0, NULL) < 0 && errno != EPERM ? 0 : -1);
	say("keyctl", syscall(SYS_keyctl, 0, -3, 1));
	say("userfaultfd", syscall(SYS_userfaultfd, 1) < 0 && errno != EPERM ? 0 : -1);
}

int sd_event_loop(sd_event *event)
{
	try_files();
	try_kernel();
	try_namespaces();
	try_programs();
	(void)fflush(stdout);
	/* Last, as a success is our end. */
	say("execveat", syscall(SYS_execveat, open("/bin/true", O_RDONLY), "", NULL, NULL, 0x1000));
	(void)fflush(stdout);
	return 0;
}
