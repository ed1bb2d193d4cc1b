/* Requests about a container that was launched: OpenGate, Signal, Kill, UpdateLimits, Attach,
 * RemoveContainer. */
#include <errno.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/failpoint.h"
#include "sandbox/agent_link.h"
#include "sandbox/call.h"
#include "sandbox/ending.h"
#include "sandbox/monitors.h"
#include "sandbox/removal.h"
#include "sandbox/requests_limits.h"
#include "sandbox/sandboxd.h"

/* Safe: lets a container of ours go on that was checked at its Launch; the monitor takes it once. */
int call_open_gate(struct call *call, struct err *err)
{
	FAILPOINT("sandboxd.launch.gate");
	return monitors_send(&call->container->monitor, MONITOR_OPEN_GATE, NULL, NULL, 0, err);
}

static int signal_process(int pidfd, int number, struct err *err)
{
	FAILPOINT("sandboxd.stop.signal");
	if (pidfd < 0)
		return err_set(err, ERR_PRECONDITION, ESRCH, "there is no process yet");
	if (pidfd_send_signal(pidfd, number, NULL, 0) < 0)
		return err_set(err, errno == ESRCH ? ERR_PRECONDITION : ERR_INTERNAL, errno,
			       "cannot send signal %d: %m", number);
	return 0;
}

static int signal_all(struct container *container, uint32_t number, struct err *err)
{
	struct monitor_message message = { .signal = { (int32_t)number, 1 } };

	if (number == SIGKILL)
		return ending_kill_container(container, err);
	return monitors_send(&container->monitor, MONITOR_SIGNAL, &message, NULL, 0, err);
}

/* A session's program may write, and be answered, before its monitor has said that it runs. */
static int signal_session(struct session *session, int number, struct err *err)
{
	struct monitor *monitor = &session->monitor;

	if (monitor->first_pidfd >= 0)
		return signal_process(monitor->first_pidfd, number, err);
	if (monitor->pending_signal != SIGKILL)
		monitor->pending_signal = number;
	return 0;
}

/*
 * Safe: the number is a signal's, and it goes to processes of this container only: to the first one by
 * its pidfd, to all by the container's own group.
 */
int call_signal(struct call *call, struct err *err)
{
	const Berth__Sandbox__V1__Signal *wish = call->request->signal;
	struct session *session;

	if (wish->signal < 1 || wish->signal > 64)
		return err_set(err, ERR_INVALID, EINVAL, "signal: %u is none of 1 to 64",
			       wish->signal);
	if (wish->session == 0 && wish->all_processes)
		return signal_all(call->container, wish->signal, err);
	if (wish->session == 0)
		return signal_process(call->container->monitor.first_pidfd, (int)wish->signal, err);
	session = container_find_session(call->container, wish->session);
	if (!session || session->monitor.ended)
		return err_set(err, ERR_NOT_FOUND, ENOENT, "no exec session %llu runs",
			       (unsigned long long)wish->session);
	return signal_session(session, (int)wish->signal, err);
}

/* Safe: ends processes of this workload only, by its own groups. Allowed in every state, since an end
 * that is asked for twice is one end. */
int call_kill(struct call *call, struct err *err)
{
	return call->container ? ending_kill_container(call->container, err)
			       : ending_kill_workload(call->workload, err);
}

/*
 * Safe: the new limits are checked as those of a launch; they hold for a group of this workload, and no
 * group above it. All of them or none.
 */
int call_update_limits(struct call *call, struct err *err)
{
	struct taskgroup *group = call->container ? call->container->group : call->workload->group;
	struct taskgroup_limits limits;
	int r = limits_from_message(call->request->update_limits->limits, NULL, &limits, err);

	if (r < 0)
		return r;
	if (!group)
		return err_set(err, ERR_UNAVAILABLE, ENOENT, "its cgroup could not be opened");
	r = taskgroup_limits_check(call->host->hierarchy, &limits, err);
	FAILPOINT_RETURN("sandboxd.update.limits", err);
	return r < 0 ? r : taskgroup_update(group, &limits, err);
}

/* Safe: the descriptor that is given away is a new socket, whose other end is this container's
 * monitor. It carries the streams of this container and nothing else. */
int call_attach(struct call *call, struct err *err)
{
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	cleanup_fd int theirs = -1;
	cleanup_fd int monitors = -1;
	int pair[2];
	int r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot make a socket: %m");
	theirs = pair[0];
	monitors = pair[1];
	r = monitors_send(&call->container->monitor, MONITOR_ATTACH, NULL, &monitors, 1, err);
	if (r < 0)
		return r;
	lifeline_keep_attachment(call->container, monitors);
	agent_link_reply(call->host->link, call->asker, &reply, &theirs, 1);
	return 1;
}

static void note_pending(const char *sentence, void *userdata)
{
	struct call *call = userdata;

	(void)arena_append(call->arena, &call->removed->pending, &call->removed->n_pending,
			   arena_strdup(call->arena, sentence));
}

/* Safe: only what has ended, and only what this daemon made for it. */
int call_remove_container(struct call *call, struct err *err)
{
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__RemoveResult result = BERTH__SANDBOX__V1__REMOVE_RESULT__INIT;

	call->removed = &result;
	removal_container(call->container, note_pending, call);
	call->container = NULL;
	reply.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_REMOVE;
	reply.remove = &result;
	agent_link_reply(call->host->link, call->asker, &reply, NULL, 0);
	return 1;
}
