/* Exec: a program more in a container that runs. */
#include <errno.h>

#include "proto/failpoint.h"
#include "proto/ranges.h"
#include "sandbox/agent_link.h"
#include "sandbox/call.h"
#include "sandbox/exec.h"
#include "sandbox/monitors.h"
#include "sandbox/page_file.h"
#include "sandbox/requests_program.h"
#include "sandbox/sandboxd.h"

static int check_probe(const struct call *call, struct err *err)
{
	const Berth__Sandbox__V1__Exec *wish = call->request->exec;

	if (call->container->n_probes >= REGISTRY_PROBES_MAX)
		return err_set(err, ERR_EXHAUSTED, ENOSPC,
			       "container %s has %d probes under way, which is the most",
			       call->container->name, REGISTRY_PROBES_MAX);
	if (wish->tty || wish->stdin)
		return err_set(err, ERR_INVALID, EINVAL,
			       "deadline_ms: a probe has neither terminal nor standard input");
	if (!call->container->group)
		return err_set(err, ERR_UNAVAILABLE, ENOENT, "its cgroup could not be opened");
	return 0;
}

static int check_session(const struct call *call, struct err *err)
{
	const Berth__Sandbox__V1__Exec *wish = call->request->exec;

	if (wish->session == 0)
		return err_set(err, ERR_INVALID, EINVAL, "session: must not be 0");
	if (container_find_session(call->container, wish->session))
		return err_set(err, ERR_EXISTS, EEXIST, "session %llu is there already",
			       (unsigned long long)wish->session);
	if (wish->deadline_ms)
		return check_probe(call, err);
	if (call->container->n_sessions >= REGISTRY_SESSIONS_MAX)
		return err_set(err, ERR_EXHAUSTED, ENOSPC,
			       "container %s has %d exec sessions, which is the most",
			       call->container->name, REGISTRY_SESSIONS_MAX);
	if (wish->rows > RANGE_TERMINAL_MAX || wish->columns > RANGE_TERMINAL_MAX)
		return err_set(err, ERR_INVALID, ERANGE, "rows, columns: at most %d",
			       RANGE_TERMINAL_MAX);
	if (!call->container->group)
		return err_set(err, ERR_UNAVAILABLE, ENOENT, "its cgroup could not be opened");
	return 0;
}

static int check_program(struct call *call, struct program *ret_program, struct err *err)
{
	const Berth__Sandbox__V1__Exec *exec = call->request->exec;
	const struct program_wish wish = {
		exec->command,      exec->n_command,      exec->env,    exec->n_env,
		exec->working_dir,  exec->user,           exec->groups, exec->n_groups,
		exec->capabilities, exec->n_capabilities,
	};
	int r = program_check(&wish, &call->host->policy, call->arena, ret_program, err);

	if (r < 0)
		return r;
	if (ret_program->capabilities & ~call->container->settings.capabilities)
		return err_set(
			err, ERR_DENIED, EPERM,
			"capabilities: the container itself was not launched with all of them");
	return 0;
}

static void fill_spec(struct call *call, const struct program *program, const char *group_path,
		      struct exec_spec *spec)
{
	const Berth__Sandbox__V1__Exec *wish = call->request->exec;
	struct container *container = call->container;

	exec_spec_init(spec);
	spec->workload = call->workload->id;
	spec->container = container->name;
	spec->session = wish->session;
	spec->init_pidfd = container->monitor.first_pidfd;
	spec->own_users = !call->workload->host_ids;
	spec->hierarchy = call->host->hierarchy;
	spec->group_path = group_path;
	spec->group_id = container->group_id;
	spec->monitors_fd = call->host->monitors_fd;
	spec->argv = program->argv;
	spec->env = program->env;
	spec->working_dir = program->working_dir;
	spec->user = program->user;
	spec->groups = program->groups;
	spec->group_count = program->group_count;
	spec->capabilities = program->capabilities;
	spec->rlimits = container->settings.rlimits;
	spec->rlimit_count = container->settings.n_rlimits;
	settings_filter_request(&container->settings, &spec->filter_request);
	spec->filter = filter_cache_get(call->host->filters, &spec->filter_request,
					&spec->filter_image_fd);
	spec->tty = wish->tty;
	spec->rows = (uint16_t)wish->rows;
	spec->columns = (uint16_t)wish->columns;
	spec->stdin_open = wish->stdin;
	spec->deadline_ms = wish->deadline_ms;
	spec->run_dir_fd = container->run_fd;
	spec->monitor_program_fd = call->host->monitor_program_fd;
}

/* With a terminal the answer waits for it: MONITOR_TERMINAL, or the failure. */
static int answer(struct call *call, struct session *session, struct exec_forked *forked)
{
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	int fds[3];
	size_t n = 0;

	if (call->request->exec->tty) {
		session->asker = call->asker;
		return 1;
	}
	if (forked->stdin_fd >= 0)
		fds[n++] = forked->stdin_fd;
	fds[n++] = forked->stdout_fd;
	fds[n++] = forked->stderr_fd;
	agent_link_reply(call->host->link, call->asker, &reply, fds, n);
	return 1;
}

static int run(struct call *call, const struct exec_spec *spec, struct err *err)
{
	struct exec_forked forked = { { 0, -1, -1 }, -1, -1, -1 };
	struct session *session = session_new(call->container, spec->session,
					      spec->deadline_ms > 0);
	int r;

	if (!session)
		return err_oom(err);
	FAILPOINT("sandboxd.exec.fork");
	r = exec_fork(spec, &forked, err);
	if (r == 0) {
		fd_close(&forked.monitor.pidfd);
		r = monitors_adopt(&session->monitor, forked.monitor.pid, forked.monitor.control_fd,
				   err);
	}
	FAILPOINT("sandboxd.exec.forked");
	if (r == 0)
		r = answer(call, session, &forked);
	else
		session_free(session);
	fd_close(&forked.stdin_fd);
	fd_close(&forked.stdout_fd);
	fd_close(&forked.stderr_fd);
	return r;
}

/*
 * Safe: the program is checked as that of a launch, and gets nothing that the container has not: its
 * namespaces, its group and limits, its filter, and at most its capabilities. The descriptors given away are the
 * ends of new pipes, or a terminal's master. The number of sessions is bounded.
 */
int call_exec(struct call *call, struct err *err)
{
	cleanup_fd int page_fd = -1;
	char group_path[TASKGROUP_PATH_MAX];
	struct program program;
	struct exec_spec spec;
	int r = check_session(call, err);

	if (r == 0)
		r = check_program(call, &program, err);
	if (r == 0)
		r = monitors_group_path(call->container, group_path, err);
	if (r < 0)
		return r;
	fill_spec(call, &program, group_path, &spec);
	page_fd = page_file_open_writable(call->container->run_fd);
	spec.page_fd = page_fd;
	return run(call, &spec, err);
}
