/*
 * Each message of a monitor is a row of handlers[]. A monitor is root's own program, but it may be of
 * another release, may die inside a conversation, and may say things twice (after a reconnection):
 * everything here takes the state as it is, and a repeated message changes nothing.
 */
#include "sandbox/monitors.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "berth/sandbox/v1/sandbox.pb-c.h"
#include "proto/failpoint.h"
#include "proto/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/departures.h"
#include "sandbox/ending.h"
#include "sandbox/facts.h"
#include "sandbox/filter.h"
#include "sandbox/monitor_wire.h"
#include "sandbox/reaper.h"
#include "sandbox/record.h"
#include "sandbox/sandboxd.h"

#define MESSAGES_A_TURN 16

/* What one packet brought; descriptors that a handler does not take are closed after it. */
struct incoming {
	struct monitor_message message;
	int fds[MONITOR_FDS_MAX];
	size_t n_fds;
};

static struct log_about about_container(const struct container *container)
{
	return (struct log_about){ .workload = container->workload->id,
				   .container = container->name };
}

void monitors_warn(struct container *container, const char *fmt, ...)
{
	struct log_about about = about_container(container);
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_event(LOG_WARNING, &about, "%s", text);
	if (container->n_warnings == REGISTRY_WARNINGS_MAX)
		return;
	container->warnings[container->n_warnings] = strdup(text);
	if (container->warnings[container->n_warnings])
		container->n_warnings++;
}

static void on_warning(struct monitor *monitor, struct incoming *in)
{
	monitors_warn(monitor->container, "%s", in->message.text.text);
}

/* The one place where a session that is over goes; nobody may use @monitor after it. */
static void release_session(struct monitor *monitor)
{
	if (monitor->session && monitor->ended && !monitor->pid)
		session_free(monitor->session);
}

/* A successor makes the record. Should it be dead already its own successor gets to know. */
static void tell_collected(struct monitor *monitor, int code, int status)
{
	struct monitor_message message = { .collected = { code, status } };

	monitor->is_collected = true;
	monitor->collected = message.collected;
	(void)monitors_send(monitor, MONITOR_COLLECTED, &message, NULL, 0, NULL);
}

static void on_first_end(pid_t pid, int code, int status, void *userdata)
{
	struct monitor *monitor = userdata;

	monitor->first_pid = 0;
	if (monitor->ended)
		return;
	if (!monitor->session && monitor->control_fd >= 0) {
		tell_collected(monitor, code, status);
		return;
	}
	monitor->ended = true;
	if (monitor->session) {
		struct monitor_exited exited = { .exit_si_code = code, .exit_si_status = status };

		ending_stamp(&exited);
		facts_exec_exited(monitor->session, &exited);
		release_session(monitor);
		return;
	}
	ending_without_monitor(monitor->container, code, status, "");
}

int monitors_group_path(const struct container *container, char path[static TASKGROUP_PATH_MAX],
			struct err *err)
{
	const struct workload *workload = container->workload;
	char above[NAME_ID_MAX + 24];
	char own[NAME_ID_MAX + 24];

	(void)snprintf(above, sizeof(above), "%s.%llu", workload->id,
		       (unsigned long long)workload->instance);
	(void)snprintf(own, sizeof(own), "%s.%u", container->name, container->attempt);
	return taskgroup_path(path, workload->band, above, own, err);
}

void monitors_open_group(struct container *container)
{
	struct log_about about = about_container(container);
	char path[TASKGROUP_PATH_MAX];
	struct err err = { 0 };
	int r = container->group ? -EALREADY : monitors_group_path(container, path, &err);

	if (r == -EALREADY)
		return;
	if (r == 0)
		r = taskgroup_open(container->monitor.host->hierarchy, path, TASKGROUP_CONTAINER,
				   container->group_id, &container->group, &err);
	if (r < 0)
		log_failure(LOG_ERR, &about, &err);
}

static void write_record(struct container *container)
{
	struct log_about about = about_container(container);
	struct err err = { 0 };

	if (record_write_container(container->run_fd, container->monitor.host->boot_id, container,
				   &err) < 0)
		log_failure(LOG_ERR, &about, &err);
}

static void watch_first_pid(struct monitor *monitor)
{
	struct log_about about = about_container(monitor->container);
	struct err err = { 0 };

	if (reaper_watch(monitor->host->reaper, monitor->first_pid, on_first_end, monitor, &err) <
	    0)
		log_failure(LOG_ERR, &about, &err);
}

static void on_started(struct monitor *monitor, struct incoming *in)
{
	const struct monitor_started *started = &in->message.started;
	struct container *container = monitor->container;

	monitor->told_pid = started->monitor_pid;
	if (monitor->started || in->n_fds < 1)
		return;
	monitor->started = true;
	monitor->first_pid = started->pid;
	fd_close(&monitor->first_pidfd);
	monitor->first_pidfd = take_fd(&in->fds[0]);
	monitor->started_wall_ns = started->started_wall_ns;
	monitor->started_boot_ns = started->started_boot_ns;
	watch_first_pid(monitor);
	if (monitor->session) {
		facts_exec_started(monitor->session, started);
		if (monitor->pending_signal != 0)
			(void)pidfd_send_signal(monitor->first_pidfd, monitor->pending_signal, NULL,
						0); /* ESRCH: it has ended already */
		return;
	}
	container->state = PAGE_RUNNING;
	container->group_id = started->group_id;
	FAILPOINT("sandboxd.started.heard");
	monitors_open_group(container);
	write_record(container); /* first: what was told must be known after a crash */
	FAILPOINT("sandboxd.started.recorded");
	facts_started(container, started);
	FAILPOINT("sandboxd.started.told");
}

static void answer_exec(struct session *session, const int *fds, size_t n_fds,
			const struct err *failure)
{
	struct agent_link *link = session->monitor.host->link;
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;

	if (session->asker.connection == 0)
		return;
	if (failure)
		agent_link_reply_failure(link, session->asker, failure);
	else
		agent_link_reply(link, session->asker, &reply, fds, n_fds);
	session->asker = (struct asker){ 0 };
}

/* Only where the session was answered for already: a failure before that is the answer itself. */
static void session_failed(struct session *session, const struct monitor_failed *failed)
{
	session->monitor.ended = true;
	if (session->asker.connection)
		answer_exec(session, NULL, 0, &failed->err);
	else
		facts_exec_failed(session, failed);
}

/* One from before this daemon. Its side of the conversation is open until it ends, so that nobody else can
 * have the number that it told. */
static int open_told(const struct monitor *monitor)
{
	struct pollfd other = { .fd = monitor->control_fd, .events = POLLRDHUP };
	int pidfd = monitor->told_pid > 0 ? pidfd_open(monitor->told_pid, 0) : -1;

	if (pidfd >= 0 && poll(&other, 1, 0) != 0)
		fd_close(&pidfd);
	return pidfd;
}

/* It has said its last, and ends as soon as that was heard. */
static void expect_end(struct monitor *monitor)
{
	departures_expect(monitor->host->departures,
			  monitor->pid ? pidfd_open(monitor->pid, 0) : open_told(monitor));
}

static void on_start_failed(struct monitor *monitor, struct incoming *in)
{
	if (monitor->ended)
		return;
	monitor->ended = true;
	expect_end(monitor);
	if (monitor->session)
		session_failed(monitor->session, &in->message.failed);
	else
		ending_start_failed(monitor->container, &in->message.failed);
}

static void on_exited(struct monitor *monitor, struct incoming *in)
{
	FAILPOINT("sandboxd.exited.heard");
	if (!monitor->ended)
		expect_end(monitor);
	(void)monitors_send(monitor, MONITOR_ACK_EXIT, NULL, NULL, 0, NULL);
	if (monitor->ended)
		return;
	monitor->ended = true;
	if (monitor->first_pid)
		reaper_forget(monitor->host->reaper, monitor->first_pid, monitor);
	monitor->first_pid = 0;
	if (monitor->session) {
		facts_exec_exited(monitor->session, &in->message.exited);
		return;
	}
	FAILPOINT("sandboxd.exited.acknowledged");
	ending_record(monitor->container, &in->message.exited,
		      in->message.exited.exit_si_code
			      ? ""
			      : "monitor-lost: the monitor died first, and nobody is left to know");
	FAILPOINT("sandboxd.exited.told");
}

static void on_denied(struct monitor *monitor, struct incoming *in)
{
	facts_denied(monitor->container, &in->message.denied);
}

static void on_filter_image(struct monitor *monitor, struct incoming *in)
{
	struct log_about about = about_container(monitor->container);
	struct filter_request request;
	struct err err = { 0 };

	if (in->n_fds != 1)
		return;
	settings_filter_request(&monitor->container->settings, &request);
	if (filter_cache_put(monitor->host->filters, &request, take_fd(&in->fds[0]), &err) < 0)
		log_failure(LOG_WARNING, &about, &err);
}

static void on_unkillable(struct monitor *monitor, struct incoming *in)
{
	const char *const processes[] = { in->message.text.text };

	if (!monitor->session)
		facts_unkillable(monitor->container, processes, 1);
}

static void on_terminal(struct monitor *monitor, struct incoming *in)
{
	if (monitor->session && in->n_fds == 1)
		answer_exec(monitor->session, in->fds, 1, NULL);
}

static void on_streams(struct monitor *monitor, struct incoming *in)
{
	if (in->message.header.version >= MONITOR_WIRE_KEEPS)
		return; /* MONITOR_KEEP comes, and has them all */
	if (!monitor->session && !monitor->ended)
		lifeline_take_streams(monitor->container, in->fds, in->n_fds);
}

static void on_keep(struct monitor *monitor, struct incoming *in)
{
	if (!monitor->session && !monitor->ended)
		lifeline_take(monitor->container, &in->message.keep, in->fds, in->n_fds);
}

static const struct {
	uint32_t kind;
	void (*handler)(struct monitor *monitor, struct incoming *in);
} handlers[] = {
	{ MONITOR_WARNING, on_warning },       { MONITOR_FILTER_IMAGE, on_filter_image },
	{ MONITOR_STARTED, on_started },       { MONITOR_START_FAILED, on_start_failed },
	{ MONITOR_EXITED, on_exited },         { MONITOR_DENIED, on_denied },
	{ MONITOR_UNKILLABLE, on_unkillable }, { MONITOR_TERMINAL, on_terminal },
	{ MONITOR_STREAMS, on_streams },       { MONITOR_KEEP, on_keep },
};

/* What a newer release says beyond these is ignored, as monitor_wire.h has it. */
static void dispatch(struct monitor *monitor, struct incoming *in)
{
	for (size_t i = 0; i < ARRAY_SIZE(handlers); i++)
		if (handlers[i].kind == in->message.header.kind)
			handlers[i].handler(monitor, in);
	for (size_t i = 0; i < in->n_fds; i++)
		fd_close(&in->fds[i]);
}

static void stop_listening(struct monitor *monitor)
{
	monitor->control_source = sd_event_source_disable_unref(monitor->control_source);
	fd_close(&monitor->control_fd);
}

/* Take what the monitor has said. Returns 1 when there may be more, 0 when not, and -1 when the
 * conversation is over. */
static int drain(struct monitor *monitor)
{
	for (int i = 0; i < MESSAGES_A_TURN; i++) {
		struct incoming in = { .n_fds = 0 };
		int r = monitor_receive(monitor->control_fd, &in.message, in.fds, &in.n_fds);

		if (r == -EAGAIN || r == -EINTR)
			return 0;
		if (r <= 0) {
			stop_listening(monitor);
			return -1;
		}
		dispatch(monitor, &in);
	}
	return 1;
}

/* A child's end is the reaper's news; of a monitor from before this is all there is. */
static int on_control(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct monitor *monitor = userdata;

	if (drain(monitor) < 0 && !monitor->pid && !monitor->ended)
		monitors_lost(monitor, "its monitor, from before the daemon's restart, has died");
	else
		release_session(monitor);
	return 0;
}

static void on_monitor_end(pid_t pid, int code, int status, void *userdata)
{
	struct monitor *monitor = userdata;
	char why[96];

	monitor->pid = 0;
	while (monitor->control_fd >= 0 && drain(monitor) > 0)
		;
	stop_listening(monitor);
	(void)snprintf(why, sizeof(why), "its monitor (pid %d) ended by %s %d", (int)pid,
		       code == CLD_EXITED ? "exit" : "signal", status);
	if (!monitor->ended)
		monitors_lost(monitor, why);
	else
		release_session(monitor);
}

int monitors_adopt(struct monitor *monitor, pid_t pid, int control_fd, struct err *err)
{
	int r = 0;

	monitor->control_fd = control_fd;
	if (pid)
		r = reaper_watch(monitor->host->reaper, pid, on_monitor_end, monitor, err);
	if (r < 0)
		return r;
	monitor->pid = pid;
	r = sd_event_add_io(monitor->host->event, &monitor->control_source, control_fd, EPOLLIN,
			    on_control, monitor);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot watch a monitor: %m");
	return 0;
}

int monitors_reconnect(struct monitor *monitor, const char *socket_name, struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s",
		       monitor->container->run_fd, socket_name);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return err_set(err, ERR_UNAVAILABLE, errno, "its monitor does not answer at %s: %m",
			       socket_name);
	return monitors_adopt(monitor, 0, take_fd(&fd), err);
}

int monitors_send(struct monitor *monitor, uint32_t kind, struct monitor_message *message,
		  const int *fds, size_t n_fds, struct err *err)
{
	struct monitor_message nothing = { 0 };
	int r;

	if (monitor->control_fd < 0)
		return err_set(err, ERR_UNAVAILABLE, EPIPE, "its monitor is gone");
	r = monitor_send(monitor->control_fd, kind, message ? message : &nothing, fds, n_fds);
	if (r < 0)
		return err_set(err, ERR_UNAVAILABLE, -r, "its monitor does not listen: %m");
	return 0;
}

void monitors_session_cut_off(struct session *session, const char *why)
{
	struct monitor_failed failed = { .step = "monitor" };

	(void)err_set(&failed.err, ERR_INTERNAL, ECHILD, "the exec session was cut off: %s", why);
	session_failed(session, &failed);
	release_session(&session->monitor);
}
