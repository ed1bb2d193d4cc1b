#include "sandbox/launch_birth.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "sandbox/launch_program.h"

/* How often the daemon is listened to while execve(2) is under way; it ends the wait by itself. */
#define EXEC_TICK_MS 100

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static long clone_process(struct clone_args *args)
{
	return syscall(SYS_clone3, args, sizeof(*args));
}

/* ---- the fork of the monitor ---- */

/* A monitor ends by its own decision; what is sent to the daemon's group is not for it. SIGTERM of the host's first
 * process is heard later, by the program that it becomes. */
static void signals_block(void)
{
	sigset_t all;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
}

/* When memory runs out the monitors go last: after the daemon, whose score they have at first. Without
 * CAP_SYS_RESOURCE they keep that. The container's process gets its own in birth_set_oom_score(). */
static void set_monitor_oom_score(void)
{
	static const char score[] = "-999";
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)!write(fd, score, sizeof(score) - 1);
	(void)close(fd);
}

void birth_quiet(void)
{
	signals_block();
	set_monitor_oom_score();
	(void)prctl(PR_SET_DUMPABLE, 0);
}

void birth_detach(void)
{
	(void)prctl(PR_SET_NAME, "berth-launch");
	(void)setsid();
}

int birth_fork(int monitors_fd, int (*monitor)(const void *spec, int control_fd), const void *spec,
	       struct launched *ret, struct err *err)
{
	struct clone_args args = { .flags = CLONE_PIDFD, .exit_signal = SIGCHLD };
	int pair[2], pidfd = -1;
	long pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot make a socket: %m");
	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	if (monitors_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)monitors_fd;
	}
	pid = clone_process(&args);
	if (pid < 0) {
		int r = err_set(err, ERR_EXHAUSTED, errno, "cannot fork a monitor: %m");

		(void)close(pair[0]);
		(void)close(pair[1]);
		return r;
	}
	if (pid == 0) {
		(void)close(pair[0]);
		birth_quiet();
		birth_detach();
		_exit(monitor(spec, pair[1]));
	}
	(void)close(pair[1]);
	*ret = (struct launched){ .pid = (pid_t)pid, .pidfd = pidfd, .control_fd = pair[0] };
	return 0;
}

void birth_init_heir(struct birth *birth, int control_fd)
{
	struct monitor_setup *setup = &birth->setup;

	*birth = (struct birth){ .streams = { -1, -1, -1 }, .program_fd = -1, .aside = ASIDE_NONE };
	setup->version = MONITOR_SETUP_VERSION;
	setup->control_fd = control_fd;
	setup->listen_fd = setup->child_pidfd = setup->stdin_fd = setup->stdout_fd = -1;
	setup->stderr_fd = setup->terminal_fd = setup->listener_fd = setup->image_fd = -1;
	setup->page_fd = setup->log_dir_fd = setup->run_dir_fd = setup->freezer_fd = -1;
	setup->attach_fd = setup->estate_fd = setup->above_fd = setup->layer_fd = -1;
	for (size_t i = 0; i < ARRAY_SIZE(setup->dirs); i++)
		setup->dirs[i] = -1;
	(void)umask(0);
}

int birth_init(struct birth *birth, int control_fd, struct err *err)
{
	birth_init_heir(birth, control_fd);
	return gate_init(&birth->gate, err);
}

/* ---- steps ---- */

static void remember_step(struct birth *birth, uint64_t ns)
{
	struct monitor_step *step;

	if (birth->step_count >= MONITOR_STEPS_MAX)
		return;
	step = &birth->steps[birth->step_count++];
	memcpy(step->name, birth->step, sizeof(step->name));
	step->ns = ns;
}

static void name_step(struct birth *birth, const char *name)
{
	memset(birth->step, 0, sizeof(birth->step));
	memcpy(birth->step, name, strnlen(name, sizeof(birth->step) - 1));
}

int birth_run(struct birth *birth, const struct birth_step *steps, size_t count, void *context,
	      size_t *ret_done, struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t began_ns = clock_ns(CLOCK_MONOTONIC);
		int r;

		name_step(birth, steps[i].name);
		*ret_done = i + 1;
		r = steps[i].run(context, err);
		if (r < 0)
			return r;
		remember_step(birth, clock_ns(CLOCK_MONOTONIC) - began_ns);
	}
	return 0;
}

void birth_undo(const struct birth_step *steps, size_t done, void *context)
{
	while (done-- > 0) {
		if (steps[done].undo)
			steps[done].undo(context);
	}
}

/* ---- streams ---- */

static int make_pipe(int *ret_read, int *ret_write, uid_t uid, gid_t gid, struct err *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot make a pipe: %m");
	*ret_read = ends[0];
	*ret_write = ends[1];
	if (fchown(ends[0], uid, gid) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot give a pipe to the workload: %m");
	return 0;
}

static int set_nonblocking(int fd, struct err *err)
{
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot make a pipe non-blocking: %m");
	return 0;
}

int birth_make_pipes(struct birth *birth, bool stdin_open, int null_fd, uid_t owner_uid,
		     gid_t owner_gid, struct err *err)
{
	struct monitor_setup *setup = &birth->setup;
	int r;

	if (stdin_open) {
		r = make_pipe(&birth->streams[0], &setup->stdin_fd, owner_uid, owner_gid, err);
		if (r >= 0)
			r = set_nonblocking(setup->stdin_fd, err);
		if (r < 0)
			return r;
	} else {
		birth->streams[0] = null_fd;
	}
	r = make_pipe(&setup->stdout_fd, &birth->streams[1], owner_uid, owner_gid, err);
	if (r >= 0)
		r = make_pipe(&setup->stderr_fd, &birth->streams[2], owner_uid, owner_gid, err);
	if (r >= 0)
		r = set_nonblocking(setup->stdout_fd, err);
	if (r >= 0)
		r = set_nonblocking(setup->stderr_fd, err);
	return r;
}

/* To 0, 1 and 2 of the table that both share. They are the daemon's own there: nothing of ours writes to
 * them from here on. A source that is itself 0, 1 or 2 (the daemon had it closed) moves out of the way. */
int birth_place_streams(struct birth *birth, struct err *err)
{
	for (int i = 0; i < 3; i++) {
		if (birth->streams[i] >= 0 && birth->streams[i] < 3) {
			birth->streams[i] = fcntl(birth->streams[i], F_DUPFD_CLOEXEC, 3);
			if (birth->streams[i] < 0)
				return err_set(err, ERR_EXHAUSTED, errno,
					       "cannot set the streams: %m");
		}
	}
	for (int i = 0; i < 3; i++) {
		if (birth->streams[i] < 0)
			continue;
		if (dup2(birth->streams[i], i) < 0)
			return err_set(err, ERR_INTERNAL, errno, "cannot set the streams: %m");
	}
	for (int i = 0; i < 3; i++)
		fd_close(&birth->streams[i]);
	return 0;
}

/* ---- birth ---- */

int birth_find_filter(struct birth *birth, const struct filter *known, int known_image_fd,
		      const struct filter_request *request, filter_compile_func *compile,
		      struct filter **ret_compiled, const struct filter **ret_filter,
		      struct err *err)
{
	struct monitor_message message = { 0 };
	int image_fd;
	int r;

	*ret_filter = known;
	birth->setup.image_fd = known_image_fd;
	if (known)
		return 0;
	r = compile(request, ret_compiled, err);
	if (r < 0)
		return r;
	image_fd = filter_serialize(*ret_compiled, err);
	if (image_fd < 0)
		return image_fd;
	(void)monitor_send(birth->setup.control_fd, MONITOR_FILTER_IMAGE, &message, &image_fd, 1);
	*ret_filter = *ret_compiled;
	birth->setup.image_fd = image_fd;
	return 0;
}

int birth_clone(struct birth *birth, uint64_t flags, int group_fd, void (*process)(void *context),
		void *context, struct err *err)
{
	struct clone_args args = { .flags = flags | CLONE_FILES | CLONE_PIDFD,
				   .exit_signal = SIGCHLD };
	int pidfd = -1;
	long pid;

	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	if (group_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)group_fd;
	}
	pid = clone_process(&args);
	if (pid < 0 && errno == ENOMEM)
		return err_set(
			err, ERR_START, errno,
			"cannot make the first process: the memory limit may be too small: %m");
	if (pid < 0)
		return err_set(err, errno == EAGAIN ? ERR_EXHAUSTED : ERR_INTERNAL, errno,
			       "cannot make the first process: %m");
	if (pid == 0) {
		process(context);
		_exit(1);
	}
	birth->pid = (pid_t)pid;
	birth->setup.child_pidfd = pidfd;
	return 0;
}

void birth_warn(struct birth *birth, const char *text)
{
	struct monitor_message message = { 0 };

	memcpy(message.text.text, text, strnlen(text, sizeof(message.text.text) - 1));
	(void)monitor_send(birth->setup.control_fd, MONITOR_WARNING, &message, NULL, 0);
}

void birth_set_oom_score(struct birth *birth, int oom_score_adj)
{
	char path[40], text[16], warning[200];
	cleanup_fd int fd = -1;
	int length;

	/* Our child that nobody has collected: the number is its own. */
	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", birth->pid);
	length = snprintf(text, sizeof(text), "%d", oom_score_adj);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, text, (size_t)length) == length)
		return;
	(void)snprintf(warning, sizeof(warning),
		       "oom_score_adj %d: this host does not let it be set (CAP_SYS_RESOURCE): %s",
		       oom_score_adj, strerrordesc_np(errno));
	birth_warn(birth, warning);
}

void birth_listen(struct birth *birth, const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct monitor_setup *setup = &birth->setup;
	cleanup_fd int fd = -1;

	FAILPOINT("monitor.launch.socket");
	if (setup->run_dir_fd < 0)
		return;
	(void)snprintf(setup->socket_name, sizeof(setup->socket_name), "%s", name);
	/* By descriptor: the whole path may be longer than a socket's name can be. */
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s",
		       setup->run_dir_fd, name);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	(void)unlinkat(setup->run_dir_fd, name, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    fchmodat(setup->run_dir_fd, name, 0600, 0) < 0 || listen(fd, 4) < 0) {
		char warning[160];

		(void)snprintf(
			warning, sizeof(warning),
			"%s: cannot be made, so a later daemon cannot talk to this monitor: %s",
			name, strerrordesc_np(errno));
		birth_warn(birth, warning);
		return;
	}
	setup->listen_fd = take_fd(&fd);
}

/* ---- waiting ---- */

static int cancelled(struct err *err, const char *why)
{
	return err_set(err, ERR_CANCELLED, ECANCELED, "given up: %s", why);
}

/* What the daemon says before the program runs. A daemon that is gone has opened the gate, or has not. */
static int take_message(struct birth *birth, struct err *err)
{
	struct monitor_message message;
	int fds[MONITOR_FDS_MAX];
	size_t fd_count;
	int r;

	r = monitor_receive(birth->setup.control_fd, &message, fds, &fd_count);
	if (r == -EAGAIN || r == -EINTR)
		return 0;
	if (r <= 0) {
		fd_close(&birth->setup.control_fd);
		return birth->gate_open
			       ? 0
			       : cancelled(err, "the daemon went away before the gate was opened");
	}
	for (size_t i = 0; i < fd_count; i++)
		(void)close(fds[i]);
	if (message.header.kind == MONITOR_ABORT)
		return cancelled(err, "as the daemon asked");
	if (message.header.kind == MONITOR_OPEN_GATE && !birth->gate_open) {
		birth->gate_open = true;
		if (birth->at_gate)
			gate_let_pass(&birth->gate);
	}
	return 0;
}

/* Returns 1 when it is not the time: descriptors may come with what it says. */
static int hear_daemon(struct birth *birth, struct err *err)
{
	int r;

	if (!gate_try_table(&birth->gate))
		return 1;
	r = take_message(birth, err);
	gate_free_table(&birth->gate);
	return r;
}

static void take_process_steps(struct birth *birth)
{
	const struct gate_page *page = birth->gate.page;

	for (uint32_t i = 0; i < page->step_count && i < MONITOR_STEPS_MAX; i++) {
		if (birth->step_count < MONITOR_STEPS_MAX)
			birth->steps[birth->step_count++] = page->steps[i];
	}
	for (uint32_t i = 0; i < page->warning_count && i < GATE_WARNINGS_MAX; i++)
		birth_warn(birth, page->warnings[i].text);
}

static int process_failed(struct birth *birth, struct err *err)
{
	memcpy(birth->step, birth->gate.page->step, sizeof(birth->step));
	birth->step[sizeof(birth->step) - 1] = '\0';
	*err = birth->gate.page->err;
	return -(err->errnum > 0 ? err->errnum : EIO);
}

static bool process_is_dead(const struct birth *birth)
{
	struct pollfd fd = { .fd = birth->setup.child_pidfd, .events = POLLIN };

	return poll(&fd, 1, 0) == 1;
}

static int process_died(struct birth *birth, struct err *err)
{
	siginfo_t info = { 0 };

	if (gate_phase(&birth->gate) == GATE_FAILED)
		return process_failed(birth, err);
	memcpy(birth->step, birth->gate.page->step, sizeof(birth->step));
	/* Not collected: birth_kill() does, and the group can only be looked at until then. */
	(void)waitid(P_PIDFD, (id_t)birth->setup.child_pidfd, &info, WEXITED | WNOWAIT);
	return err_set(
		err, ERR_START, EIO,
		"the first process was killed (signal %d) while it was being set up: the memory limit may be too small to start in",
		info.si_status);
}

/* The process says that its filter comes next: from then on only the futex tells. */
static int wait_exec(struct birth *birth, struct err *err)
{
	const struct gate_page *page = birth->gate.page;

	while (gate_wait_exec(&birth->gate, EXEC_TICK_MS) < 0) {
		int r = birth->setup.control_fd >= 0 ? hear_daemon(birth, err) : 0;

		if (r < 0)
			return r;
		/* It could not even exit, for its filter; birth_kill() ends it. */
		if (__atomic_load_n(&page->exec_errnum, __ATOMIC_ACQUIRE))
			return process_failed(birth, err);
	}
	if (__atomic_load_n(&page->exec_errnum, __ATOMIC_ACQUIRE) ||
	    gate_phase(&birth->gate) == GATE_FAILED)
		return process_failed(birth, err);
	birth->setup.listener_fd = __atomic_load_n(&page->listener_fd, __ATOMIC_ACQUIRE);
	return 0;
}

/* It looks up nothing of the image's before it passes. */
static int meet_at_gate(struct birth *birth, struct err *err)
{
	struct monitor_message message = { 0 };
	int r;

	if (birth->at_gate)
		return 0;
	r = birth_clear_table(birth, err);
	if (r < 0)
		return r;
	birth->at_gate = true;
	if (birth->gate_open)
		gate_let_pass(&birth->gate);
	else
		(void)monitor_send(birth->setup.control_fd, MONITOR_READY, &message, NULL, 0);
	return 0;
}

/* Returns 1 when the program runs. */
static int hear_process(struct birth *birth, struct err *err)
{
	uint64_t count;

	(void)!read(birth->gate.up_fd, &count, sizeof(count));
	switch (gate_phase(&birth->gate)) {
	case GATE_FAILED:
		return process_failed(birth, err);
	case GATE_WAITING:
		return meet_at_gate(birth, err);
	case GATE_LOADING: {
		int r = wait_exec(birth, err);

		return r < 0 ? r : 1;
	}
	case GATE_BUILDING:
		return 0;
	}
	return 0;
}

static int wait_program(struct birth *birth, struct err *err)
{
	bool loading = false;
	int r = 0;

	gate_free_table(&birth->gate); /* all is made that we need */
	while (r == 0) {
		struct pollfd fds[] = {
			{ .fd = birth->gate.up_fd, .events = POLLIN },
			{ .fd = birth->setup.child_pidfd, .events = POLLIN },
			{ .fd = loading ? -1 : birth->setup.control_fd, .events = POLLIN },
		};

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
			continue;
		if (fds[0].revents)
			r = hear_process(birth, err);
		else if (fds[1].revents)
			r = process_died(birth, err);
		if (r == 0 && fds[2].revents) {
			r = hear_daemon(birth, err);
			loading = r > 0; /* it says so in a moment */
			if (loading)
				r = 0;
		}
	}
	return r < 0 ? r : 0;
}

int birth_wait(struct birth *birth, struct err *err)
{
	int r = wait_program(birth, err);
	int taken;

	if (r < 0)
		birth_kill(birth); /* it must not find in the table what comes back there */
	taken = aside_take(&birth->aside, &birth->setup.listener_fd, r < 0 ? NULL : err);
	if (r < 0 || taken < 0)
		return r < 0 ? r : taken;
	take_process_steps(birth);
	return 0;
}

void birth_kill(struct birth *birth)
{
	siginfo_t info;

	if (birth->pid <= 0)
		return;
	if (!process_is_dead(birth))
		(void)syscall(SYS_pidfd_send_signal, birth->setup.child_pidfd, SIGKILL, NULL, 0);
	while (waitid(P_PIDFD, (id_t)birth->setup.child_pidfd, &info, WEXITED) < 0 &&
	       errno == EINTR)
		;
	birth->pid = 0;
}

const char **birth_environment(const char *const *env, const struct identity *identity, bool tty)
{
	static const char path[] = "PATH=" PROGRAM_DEFAULT_PATH;
	static char home[sizeof(identity->home) + sizeof("HOME=")];
	size_t count = 0, at = 0;
	const char **ret;

	while (env && env[count])
		count++;
	ret = calloc(count + 4, sizeof(*ret));
	if (!ret)
		return NULL;
	if (!program_env(env, "PATH"))
		ret[at++] = path;
	if (!program_env(env, "HOME")) {
		(void)snprintf(home, sizeof(home), "HOME=%s",
			       identity->home[0] ? identity->home : "/");
		ret[at++] = home;
	}
	if (tty && !program_env(env, "TERM"))
		ret[at++] = "TERM=xterm";
	if (count)
		memcpy(ret + at, env, count * sizeof(*ret));
	return ret;
}
