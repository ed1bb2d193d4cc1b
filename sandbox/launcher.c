#include "sandbox/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/failpoint.h"
#include "proto/log.h"
#include "sandbox/launcher_wire.h"
#include "sandbox/monitor/setup.h"
#include "sandbox/monitor_wire.h"

#define ANSWER_TIMEOUT_MS 5000 /* it takes as long as a fork */

struct launcher {
	int program_fd;
	const struct hierarchy *hierarchy;
	int monitors_fd;
	bool device_filters;
	struct reaper *reaper;
	pid_t pid; /* 0: none */
	int fd;
	struct launcher_packet packet;
};

static void on_end(pid_t pid, int code, int status, void *userdata)
{
	struct launcher *launcher = userdata;

	log_event(LOG_WARNING, NULL, "the launcher ended (%s %d): the next launch starts another",
		  code == CLD_EXITED ? "exit status" : "signal", status);
	launcher->pid = 0;
	fd_close(&launcher->fd);
}

/* In a child: the program, with @fd where it looks for it. */
static _Noreturn void become_program(int program_fd, int fd)
{
	/* The padding is where its forks write their own title. */
	static char title[] = "berth-launcher", padding[] = LAUNCHER_TITLE_PADDING;
	char *const argv[] = { title, NULL };
	char *const env[] = { padding, failpoint_environment(), NULL };

	if (program_fd == LAUNCHER_FD)
		program_fd = fcntl(program_fd, F_DUPFD_CLOEXEC, LAUNCHER_FD + 1);
	if (fd == LAUNCHER_FD ? fcntl(fd, F_SETFD, 0) == 0 : dup2(fd, LAUNCHER_FD) >= 0)
		(void)syscall(SYS_execveat, program_fd, "", argv, env, AT_EMPTY_PATH);
	_exit(127);
}

static int introduce_host(struct launcher *launcher)
{
	const struct launcher_host host = {
		.hierarchy = *launcher->hierarchy,
		.monitors_fd = launcher->monitors_fd,
		.device_filters = launcher->device_filters,
	};
	int r = launcher_pack_host(&host, &launcher->packet);

	return r < 0 ? r : launcher_send(launcher->fd, &launcher->packet);
}

static int start(struct launcher *launcher, struct err *err)
{
	int pair[2];
	pid_t pid;
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot make a socket: %m");
	pid = fork();
	if (pid == 0)
		become_program(launcher->program_fd, pair[1]);
	(void)close(pair[1]);
	launcher->fd = pair[0];
	r = pid < 0            ? err_set(err, ERR_EXHAUSTED, errno, "cannot fork: %m")
	    : launcher->reaper ? reaper_watch(launcher->reaper, pid, on_end, launcher, err)
			       : 0;
	if (r < 0) {
		fd_close(&launcher->fd); /* which ends it */
		return r;
	}
	launcher->pid = pid;
	r = introduce_host(launcher);
	return r < 0 ? err_set(err, ERR_INTERNAL, -r, "cannot tell it of the host: %m") : 0;
}

/* Where it said nothing it is of no use any more; on_end() tells of it. */
static void give_up(struct launcher *launcher)
{
	if (launcher->pid)
		reaper_kill_child(launcher->pid);
	fd_close(&launcher->fd);
}

static void try_start(struct launcher *launcher)
{
	struct err err = { 0 };

	if (launcher->fd >= 0 || launcher->pid || start(launcher, &err) == 0)
		return;
	give_up(launcher);
	(void)err_prefix(&err, -EIO,
			 "launches are forked from the daemon, for the launcher cannot start");
	log_failure(LOG_WARNING, NULL, &err);
}

int launcher_new(int program_fd, const struct hierarchy *hierarchy, int monitors_fd,
		 bool device_filters, struct reaper *reaper, struct launcher **ret_launcher,
		 struct err *err)
{
	struct launcher *launcher = calloc(1, sizeof(*launcher));

	if (!launcher)
		return err_oom(err);
	launcher->program_fd = program_fd;
	launcher->hierarchy = hierarchy;
	launcher->monitors_fd = monitors_fd;
	launcher->device_filters = device_filters;
	launcher->reaper = reaper;
	launcher->fd = -1;
	try_start(launcher);
	*ret_launcher = launcher;
	return 0;
}

void launcher_free(struct launcher *launcher)
{
	if (!launcher)
		return;
	fd_close(&launcher->fd);
	if (launcher->pid) {
		if (launcher->reaper)
			reaper_forget(launcher->reaper, launcher->pid, launcher);
		reaper_kill_child(launcher->pid);
		while (waitpid(launcher->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	free(launcher);
}

pid_t launcher_pid(const struct launcher *launcher)
{
	return launcher->pid;
}

static int receive_answer(const struct launcher *launcher, struct launcher_answer *answer)
{
	struct pollfd polled = { .fd = launcher->fd, .events = POLLIN };

	if (poll(&polled, 1, ANSWER_TIMEOUT_MS) != 1)
		return -ETIMEDOUT;
	return recv(launcher->fd, answer, sizeof(*answer), 0) == sizeof(*answer) ? 0 : -EPIPE;
}

/* Whether there is a monitor now is not known: if so it hears that it is not wanted. */
static int died(struct launcher *launcher, int *control_fd, int r, struct err *err)
{
	struct monitor_message message = { 0 };

	(void)monitor_send(*control_fd, MONITOR_ABORT, &message, NULL, 0);
	fd_close(control_fd);
	give_up(launcher);
	return err_set(err, ERR_INTERNAL, -r, "the launcher died over it: %m; try again");
}

static int ask(struct launcher *launcher, int *control_fd, struct launched *ret, struct err *err)
{
	struct launcher_answer answer;
	int r = launcher_send(launcher->fd, &launcher->packet);

	if (r == 0)
		r = receive_answer(launcher, &answer);
	if (r < 0)
		return died(launcher, control_fd, r, err);
	if (answer.errnum) {
		fd_close(control_fd);
		return err_set(err, ERR_EXHAUSTED, answer.errnum, "cannot fork a monitor: %m");
	}
	*ret = (struct launched){ .pid = answer.pid,
				  .pidfd = -1,
				  .control_fd = take_fd(control_fd) };
	return 0;
}

int launcher_fork(struct launcher *launcher, const struct launch_spec *spec, struct launched *ret,
		  struct err *err)
{
	cleanup_fd int theirs = -1;
	int pair[2];
	int r;

	try_start(launcher);
	if (launcher->fd < 0 || !spec->filter)
		return launch_fork(spec, ret, err);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot make a socket: %m");
	theirs = pair[1];
	if (launcher_pack_launch(spec, theirs, &launcher->packet) < 0) {
		(void)close(pair[0]);
		return launch_fork(spec, ret, err);
	}
	r = ask(launcher, &pair[0], ret, err);
	return r;
}
