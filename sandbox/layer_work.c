#include "sandbox/layer_work.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/failpoint.h"
#include "sandbox/rootfs.h"

/* What takes longer does not end: a blob on a file system that does not answer. */
#define TIMEOUT_MS (60 * 60 * 1000)

/* Where the program looks for them; none of them is there already by then. */
static int place_descriptors(const int fds[static 3])
{
	int high[3];

	for (int i = 0; i < 3; i++) {
		high[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD, UNPACK_BLOB_FD + 1);
		if (fds[i] >= 0 && high[i] < 0)
			return -errno;
	}
	for (int i = 0; i < 3; i++)
		if (high[i] >= 0 && dup2(high[i], UNPACK_SOCKET_FD + i) < 0)
			return -errno;
	return 0;
}

/* Root of a user namespace that maps no id of the host's, in a network without anything. */
static int leave_host(const struct namespace_set *set)
{
	if (setns(set->net_fd, CLONE_NEWNET) < 0 || setns(set->ipc_fd, CLONE_NEWIPC) < 0 ||
	    setns(set->uts_fd, CLONE_NEWUTS) < 0 || setns(set->user_fd, CLONE_NEWUSER) < 0 ||
	    setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return -errno;
	return 0;
}

static _Noreturn void become_program(const struct layer_work *work, int socket_fd, int dir_fd)
{
	static char title[] = "berth-unpack";
	char *const argv[] = { title, NULL };
	char *const env[] = { NULL };
	const int fds[3] = { socket_fd, dir_fd, work->blob_fd };
	int program_fd = fcntl(work->program_fd, F_DUPFD, 64);
	sigset_t none;

	if (taskgroup_enter(work->group, NULL) < 0 || program_fd < 0 ||
	    leave_host(work->namespaces) < 0)
		_exit(126);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	if (place_descriptors(fds) < 0)
		_exit(126);
	(void)syscall(SYS_close_range, UNPACK_BLOB_FD + 1, program_fd - 1, 0);
	(void)syscall(SYS_close_range, program_fd + 1, ~0U, 0);
	(void)fcntl(program_fd, F_SETFD, FD_CLOEXEC);
	(void)syscall(SYS_execveat, program_fd, "", argv, env, AT_EMPTY_PATH);
	_exit(127);
}

static pid_t start_program(const struct layer_work *work, int socket_fd, int dir_fd, int *ret_pidfd)
{
	struct clone_args args = { .flags = CLONE_PIDFD,
				   .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
				   .exit_signal = SIGCHLD };
	int group_fd = taskgroup_clone_fd(work->group);
	long pid;

	if (group_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)group_fd;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		become_program(work, socket_fd, dir_fd);
	return (pid_t)pid;
}

static int died(int status, struct err *err)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return err_set(
			err, ERR_INVALID, ENOMEM,
			"berth-unpack was killed: most likely the archive takes more memory than any should");
	if (WIFSIGNALED(status))
		return err_set(
			err, ERR_INVALID, EBADMSG,
			"berth-unpack died of signal %d (%s) over it: the archive is not what any tool makes",
			WTERMSIG(status), strsignal(WTERMSIG(status)));
	return err_set(err, ERR_INTERNAL, ECHILD, "berth-unpack could not be started: status %d",
		       WEXITSTATUS(status));
}

/* Its answer is believed no more than it must be: it has read what somebody made. */
static void receive_answer(int fd, pid_t pid, int pidfd, struct unpack_answer *ret)
{
	struct pollfd polled = { .fd = fd, .events = POLLIN };
	int ready = poll(&polled, 1, TIMEOUT_MS);
	ssize_t n = ready == 1 ? recv(fd, ret, sizeof(*ret), 0) : 0;
	int status = 0;

	if (ready != 1)
		(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	(void)waitpid(pid, &status, 0);
	if (ready != 1)
		ret->r = err_set(&ret->err, ERR_TIMEOUT, ETIMEDOUT, "not done after an hour");
	else if (n != sizeof(*ret))
		ret->r = died(status, &ret->err);
	ret->err.text[sizeof(ret->err.text) - 1] = '\0';
	ret->manifest[UNPACK_HEX_MAX - 1] = '\0';
	if (ret->r >= 0 && !ret->damaged)
		ret->err.kind = ERR_NONE;
}

/* The program, with the directory through the ids that it has. */
static void run(const struct layer_work *work, unsigned int flags, struct unpack_answer *ret)
{
	cleanup_fd int dir_fd = openat(work->store_fd, work->name,
				       O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_fd int mount_fd = -1, ours = -1, theirs = -1, pidfd = -1;
	int pair[2];
	pid_t pid;

	if (dir_fd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		ret->r = err_set(&ret->err, ERR_INTERNAL, errno, "cannot begin with it: %m");
		return;
	}
	ours = pair[0];
	theirs = pair[1];
	mount_fd = rootfs_clone(dir_fd, work->namespaces->user_fd, flags, "the store of layers",
				&ret->err);
	if (mount_fd < 0) {
		ret->r = mount_fd;
		return;
	}
	/* Not O_PATH: the program syncs by it. */
	fd_close(&dir_fd);
	dir_fd = openat(mount_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid = dir_fd < 0 ? -1 : start_program(work, theirs, dir_fd, &pidfd);
	fd_close(&theirs);
	if (pid < 0 ||
	    send(ours, &work->order, sizeof(work->order), MSG_NOSIGNAL) != sizeof(work->order)) {
		ret->r = err_set(&ret->err, ERR_EXHAUSTED, errno, "cannot start berth-unpack: %m");
		return;
	}
	receive_answer(ours, pid, pidfd, ret);
}

void layer_work_unpack(const struct layer_work *work, struct unpack_answer *ret)
{
	struct layer layer = { 0 };

	if (mkdirat(work->store_fd, work->name, 0700) < 0) {
		ret->r = err_set(&ret->err, errno == ENOSPC ? ERR_EXHAUSTED : ERR_INTERNAL, errno,
				 "cannot make a directory in LayerDirectory: %m");
		return;
	}
	FAILPOINT("sandboxd.layer.begin");
	run(work, 0, ret);
	if (ret->r >= 0) {
		(void)snprintf(layer.hex, sizeof(layer.hex), "%s", work->hex);
		(void)snprintf(layer.manifest, sizeof(layer.manifest), "%s", ret->manifest);
		layer.bytes = ret->bytes;
		layer.entries = ret->entries;
		layer.cut = ret->cut;
		ret->r = layer_store_keep(work->store_fd, work->name, &layer, &ret->err);
		ret->bytes = layer.bytes;
		ret->entries = layer.entries;
		ret->cut = layer.cut;
		memcpy(ret->manifest, layer.manifest, sizeof(layer.manifest));
	}
	/* Of what failed, and of what was there before. */
	(void)layer_store_remove_tree(work->store_fd, work->name);
}

void layer_work_verify(const struct layer_work *work, struct unpack_answer *ret)
{
	run(work, ROOTFS_READ_ONLY, ret);
}
