/*
 * An exec session's monitor. The container is what it is by now: its processes may have changed its files
 * and its /dev, never its mounts or namespaces. What is joined is taken from the pidfd of its first
 * process, so that it cannot be another container's by a number that came round again.
 */
#include "sandbox/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "sandbox/launch_birth.h"
#include "sandbox/launch_process.h"

/* What the forked monitor gets: the request, and its ends of the pipes. */
struct exec_request {
	const struct exec_spec *spec;
	int streams[3];
};

struct session {
	const struct exec_spec *spec;
	struct birth birth;
	struct process process;
	struct identity identity;
	struct taskgroup *group;
	int own_group[2]; /* of a probe: its directory, the one above; -1 */
	struct filter *compiled;
	int root_fd;
	char what[200];
};

void exec_spec_init(struct exec_spec *spec)
{
	*spec = (struct exec_spec){ .init_pidfd = -1,
				    .monitors_fd = -1,
				    .filter_image_fd = -1,
				    .page_fd = -1,
				    .run_dir_fd = -1,
				    .monitor_program_fd = -1 };
}

static int container_ended(struct err *err)
{
	return err_set(err, ERR_PRECONDITION, ESRCH, "the container has ended");
}

static bool is_alive(int pidfd)
{
	struct pollfd polled = { .fd = pidfd, .events = POLLIN };

	return poll(&polled, 1, 0) == 0;
}

/* "Pid:\t4711" of the descriptor's fdinfo; -1 or 0 where the process is gone. */
static pid_t pid_of(int pidfd)
{
	char path[48], text[512];
	const char *line;
	cleanup_fd int fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	line = strstr(text, "\nPid:");
	return line ? (pid_t)strtol(line + strlen("\nPid:"), NULL, 10) : -1;
}

/* The root as the container's first process has it. That one being alive afterwards, the number was its own. */
static int open_root(void *context, struct err *err)
{
	struct session *session = context;
	int pidfd = session->spec->init_pidfd;
	pid_t pid = pid_of(pidfd);
	char path[32];

	FAILPOINT_RETURN("monitor.exec.root", err);
	if (pid <= 0)
		return container_ended(err);
	(void)snprintf(path, sizeof(path), "/proc/%d/root", pid);
	session->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (!is_alive(pidfd))
		return container_ended(err);
	if (session->root_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open the container's root: %m");
	return 0;
}

static int find_identity(void *context, struct err *err)
{
	struct session *session = context;
	const struct exec_spec *spec = session->spec;
	int r = identity_resolve(session->root_fd, spec->user, spec->groups, spec->group_count,
				 &session->identity, err);

	FAILPOINT_RETURN("monitor.exec.identity", err);
	if (r < 0)
		return r;
	session->identity.capabilities = spec->capabilities;
	return 0;
}

static int find_filter(void *context, struct err *err)
{
	struct session *session = context;
	const struct exec_spec *spec = session->spec;

	FAILPOINT_RETURN("monitor.exec.filter", err);
	return birth_find_filter(&session->birth, spec->filter, spec->filter_image_fd,
				 &spec->filter_request, filter_compile, &session->compiled,
				 &session->process.filter, err);
}

static int open_group(void *context, struct err *err)
{
	struct session *session = context;
	const struct exec_spec *spec = session->spec;
	int r = taskgroup_open(spec->hierarchy, spec->group_path, TASKGROUP_CONTAINER,
			       spec->group_id, &session->group, err);

	FAILPOINT_RETURN("monitor.exec.cgroup", err);
	/* Its group being gone, or another's, only means that the container is. */
	if (r < 0 && (err->kind == ERR_NOT_FOUND || err->kind == ERR_PRECONDITION))
		return container_ended(err);
	return r;
}

static void own_group_name(const struct session *session, char name[static 40])
{
	(void)snprintf(name, 40, "probe.%llu", (unsigned long long)session->spec->session);
}

/* A probe is killed with all that it started, and with nothing else. */
static int make_own_group(void *context, struct err *err)
{
	struct session *session = context;
	char name[40];

	if (!session->spec->deadline_ms)
		return 0;
	own_group_name(session, name);
	return taskgroup_make_below(session->group, name, session->own_group, err);
}

static void remove_own_group(void *context)
{
	struct session *session = context;
	char name[40];

	own_group_name(session, name);
	if (session->own_group[1] >= 0)
		(void)unlinkat(session->own_group[1], name, AT_REMOVEDIR);
}

static int place_streams(void *context, struct err *err)
{
	FAILPOINT_RETURN("monitor.exec.streams", err);
	return birth_place_streams(&((struct session *)context)->birth, err);
}

/* ---- the process ---- */

static int begin(void *context, struct err *err)
{
	struct session *session = context;
	int r = process_begin(&session->process, err);

	return r < 0 ? r : process_raise_limits(&session->process, err);
}

static int enter_group(void *context, struct err *err)
{
	struct session *session = context;
	int r = taskgroup_enter(session->group, err);

	if (r < 0 || session->own_group[0] < 0)
		return r;
	return taskgroup_enter_below(session->group, session->own_group[0], err);
}

/*
 * First those that may be the host's, which only root of the host may join; the user namespace together
 * with the mount namespace, so that no moment lies between being inside and being its root.
 */
static int join(void *context, struct err *err)
{
	struct session *session = context;
	int pidfd = session->spec->init_pidfd;
	int last = CLONE_NEWNS | (session->spec->own_users ? CLONE_NEWUSER : 0);

	FAILPOINT_RETURN("session.exec.join", err);
	if (setns(pidfd, CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) < 0 ||
	    setns(pidfd, last) < 0)
		return errno == ESRCH ? container_ended(err)
				      : err_set(err, ERR_INTERNAL, errno,
						"cannot join the container's namespaces: %m");
	return process_become_root(err);
}

static int settle(void *context, struct err *err)
{
	return process_settle(&((struct session *)context)->process, err);
}

static int wait_gate(void *context, struct err *err)
{
	return process_wait_gate(&((struct session *)context)->process, err);
}

static int take_identity(void *context, struct err *err)
{
	return process_take_identity(&((struct session *)context)->process, err);
}

static int exec_program(void *context, struct err *err)
{
	FAILPOINT_RETURN("session.exec.exec", err);
	return process_exec(&((struct session *)context)->process, err);
}

static const struct process_step process_steps[] = {
	{ "begin", begin },       { "attach", enter_group }, { "join", join },
	{ "settle", settle },     { "gate", wait_gate },     { "identity", take_identity },
	{ "exec", exec_program },
};

static void run_process(void *context)
{
	struct session *session = context;

	process_run(&session->birth.gate, process_steps, ARRAY_SIZE(process_steps), session);
}

/* ---- the monitor ---- */

static int prepare_process(struct session *session, struct err *err)
{
	const struct exec_spec *spec = session->spec;
	struct process *process = &session->process;

	process->gate = &session->birth.gate;
	process->argv = spec->argv;
	process->env = birth_environment(spec->env, &session->identity, spec->tty);
	if (!process->env)
		return err_oom(err);
	process->working_dir = spec->working_dir && spec->working_dir[0] ? spec->working_dir : "/";
	process->identity = &session->identity;
	process->limits = spec->rlimits;
	process->limit_count = spec->rlimit_count;
	process->tty = spec->tty;
	process->rows = spec->rows;
	process->columns = spec->columns;
	return 0;
}

/* Only what is born between these two calls of setns(2) is in the container's pid namespace. */
static int clone_in_container(struct session *session, struct err *err)
{
	cleanup_fd int own_fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
	int group_fd = taskgroup_clone_fd(session->group);
	int r;

	if (group_fd >= 0 && session->own_group[0] >= 0)
		group_fd = session->own_group[0];

	if (own_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open our own pid namespace: %m");
	if (setns(session->spec->init_pidfd, CLONE_NEWPID) < 0)
		return errno == ESRCH ? container_ended(err)
				      : err_set(err, ERR_INTERNAL, errno,
						"cannot join the container's pid namespace: %m");
	r = birth_clone(&session->birth, 0, group_fd, run_process, session, err);
	if (r >= 0 && setns(own_fd, CLONE_NEWPID) < 0)
		return err_set(err, ERR_INTERNAL, errno,
			       "cannot go back to our own pid namespace: %m");
	return r;
}

static int make_process(void *context, struct err *err)
{
	struct session *session = context;
	int r = prepare_process(session, err);

	FAILPOINT_RETURN("monitor.exec.clone", err);
	if (r < 0)
		return r;
	r = clone_in_container(session, err);
	/* The kernel lets nobody into a pid namespace without its first process. */
	if (r == -ENOMEM && !is_alive(session->spec->init_pidfd))
		return container_ended(err);
	return r;
}

static void kill_process(void *context)
{
	birth_kill(&((struct session *)context)->birth);
}

static void prepare_own_group(struct session *session)
{
	struct monitor_setup *setup = &session->birth.setup;

	if (session->own_group[0] < 0)
		return;
	setup->kill_by_cgroup = taskgroup_clone_fd(session->group) >= 0;
	if (setup->kill_by_cgroup)
		setup->dirs[MONITOR_FD_UNIFIED] = session->own_group[0];
	else
		setup->freezer_fd = session->own_group[0];
	setup->above_fd = session->own_group[1];
	own_group_name(session, setup->own_group);
	setup->deadline_ms = session->spec->deadline_ms;
}

static int prepare_monitor(void *context, struct err *err)
{
	struct session *session = context;
	const struct exec_spec *spec = session->spec;
	struct monitor_setup *setup = &session->birth.setup;
	char name[sizeof(setup->socket_name)];

	FAILPOINT_RETURN("monitor.exec.monitor", err);
	birth_set_oom_score(&session->birth, spec->oom_score_adj);
	setup->session = true;
	prepare_own_group(session);
	setup->page_fd = spec->page_fd;
	setup->run_dir_fd = spec->run_dir_fd;
	(void)snprintf(name, sizeof(name), "exec-%llu.sock", (unsigned long long)spec->session);
	birth_listen(&session->birth, name);
	return 0;
}

static void remove_socket(void *context)
{
	struct monitor_setup *setup = &((struct session *)context)->birth.setup;

	if (setup->listen_fd >= 0)
		(void)unlinkat(setup->run_dir_fd, setup->socket_name, 0);
}

/* The master is the daemon's alone: when it lets go, the terminal hangs up. */
static void hand_terminal_over(struct session *session)
{
	struct monitor_message message = { 0 };
	int master_fd = session->birth.gate.page->terminal_fd;

	if (master_fd < 0)
		return;
	(void)monitor_send(session->birth.setup.control_fd, MONITOR_TERMINAL, &message, &master_fd,
			   1);
	(void)close(master_fd);
}

static int wait_program(void *context, struct err *err)
{
	struct session *session = context;
	int r;

	FAILPOINT_RETURN("monitor.exec.wait", err);
	r = birth_wait(&session->birth, err);
	if (r >= 0)
		hand_terminal_over(session);
	return r;
}

static const struct birth_step steps[] = {
	{ "root", open_root, NULL },
	{ "identity", find_identity, NULL },
	{ "filter", find_filter, NULL },
	{ "cgroup", open_group, NULL },
	{ "probe", make_own_group, remove_own_group },
	{ "streams", place_streams, NULL },
	{ "clone", make_process, kill_process },
	{ "monitor", prepare_monitor, remove_socket },
	{ "wait", wait_program, NULL },
};

static int session_monitor(const void *context, int control_fd)
{
	const struct exec_request *request = context;
	struct session session = { .spec = request->spec, .root_fd = -1, .own_group = { -1, -1 } };
	struct err err = { 0 };
	size_t done = 0;
	int r;

	session.process.low_fd = launch_low_fd();
	(void)snprintf(session.what, sizeof(session.what), "%s/%s exec %llu",
		       session.spec->workload, session.spec->container,
		       (unsigned long long)session.spec->session);
	r = birth_init(&session.birth, control_fd, &err);
	session.birth.what = session.what;
	session.birth.gate_open = true;
	session.birth.program_fd = session.spec->monitor_program_fd;
	memcpy(session.birth.streams, request->streams, sizeof(request->streams));
	if (r >= 0)
		r = birth_run(&session.birth, steps, ARRAY_SIZE(steps), &session, &done, &err);
	if (r < 0) {
		birth_undo(steps, done, &session);
		birth_tell_failed(&session.birth, &err);
		return 1;
	}
	FAILPOINT("monitor.exec.ready");
	birth_stamp(&session.birth);
	birth_tell_started(&session.birth);
	FAILPOINT("monitor.exec.told");
	return birth_hand_over(&session.birth);
}

/* ---- in the daemon ---- */

struct ends {
	int ours[3];
	int theirs[3];
};

static void ends_close(struct ends *ends)
{
	for (int i = 0; i < 3; i++) {
		fd_close(&ends->ours[i]);
		fd_close(&ends->theirs[i]);
	}
}

/* Without standard input: a pipe that has ended already. It needs nothing of the container's /dev, which
 * is the workload's by now. */
static int make_ends(const struct exec_spec *spec, struct ends *ends, struct err *err)
{
	for (int i = 0; i < 3; i++) {
		int pair[2];

		if (pipe2(pair, O_CLOEXEC) < 0)
			return err_set(err, ERR_EXHAUSTED, errno, "cannot make a pipe: %m");
		ends->theirs[i] = pair[i == 0 ? 0 : 1];
		ends->ours[i] = pair[i == 0 ? 1 : 0];
		if (fcntl(ends->ours[i], F_SETFL, O_NONBLOCK) < 0)
			return err_set(err, ERR_INTERNAL, errno,
				       "cannot make a pipe non-blocking: %m");
	}
	if (!spec->stdin_open || spec->tty)
		fd_close(&ends->ours[0]);
	return 0;
}

int exec_fork(const struct exec_spec *spec, struct exec_forked *ret, struct err *err)
{
	struct ends ends = { { -1, -1, -1 }, { -1, -1, -1 } };
	struct exec_request request = { .spec = spec };
	struct launched monitor;
	int r = make_ends(spec, &ends, err);

	memcpy(request.streams, ends.theirs, sizeof(ends.theirs));
	if (r >= 0)
		r = birth_fork(spec->monitors_fd, session_monitor, &request, &monitor, err);
	if (r >= 0)
		*ret = (struct exec_forked){
			.monitor = monitor,
			.stdin_fd = take_fd(&ends.ours[0]),
			.stdout_fd = spec->tty ? -1 : take_fd(&ends.ours[1]),
			.stderr_fd = spec->tty ? -1 : take_fd(&ends.ours[2]),
		};
	ends_close(&ends);
	return r;
}
