#include "sandbox/successor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/failpoint.h"
#include "proto/log.h"
#include "sandbox/launch_birth.h"
#include "sandbox/monitors.h"
#include "sandbox/page_file.h"
#include "sandbox/sandboxd.h"

/* A monitor that dies of what it is asked to do would die again and again. */
#define SUCCESSORS_MAX  20
#define SOCKET_BACKLOG  4
#define SUCCESSORS_USEC (10ULL * 1000 * 1000)

/* What the forked child makes its setup from. */
struct heir {
	const struct container *container;
	const struct filter *filter;
	struct filter_request filter_request;
	int filter_image_fd;
	int page_fd;
	int log_dir_fd;
	int listen_fd;
};

/* ---- in the child ---- */

static void inherit_streams(const struct heir *heir, struct monitor_setup *setup)
{
	const struct lifeline *lifeline = &heir->container->lifeline;

	setup->stdin_fd = lifeline->fds[MONITOR_KEEP_STDIN];
	setup->stdout_fd = lifeline->fds[MONITOR_KEEP_STDOUT];
	setup->stderr_fd = lifeline->fds[MONITOR_KEEP_STDERR];
	setup->terminal_fd = lifeline->fds[MONITOR_KEEP_TERMINAL];
	setup->listener_fd = lifeline->fds[MONITOR_KEEP_LISTENER];
	setup->attach_fd = lifeline->attach_fd;
	setup->estate_fd = lifeline->fds[MONITOR_KEEP_ESTATE];
}

static void inherit_process(const struct heir *heir, struct monitor_setup *setup)
{
	const struct monitor *monitor = &heir->container->monitor;

	setup->successor = true;
	setup->child_pidfd = monitor->first_pidfd;
	setup->started.pid = monitor->first_pid;
	setup->started.started_wall_ns = monitor->started_wall_ns;
	setup->started.started_boot_ns = monitor->started_boot_ns;
	setup->is_collected = monitor->is_collected || monitor->first_pidfd < 0;
	setup->collected = monitor->collected;
}

static void inherit_places(const struct heir *heir, struct monitor_setup *setup)
{
	const struct container_settings *settings = &heir->container->settings;

	setup->listen_fd = heir->listen_fd;
	setup->page_fd = heir->page_fd;
	setup->log_dir_fd = heir->log_dir_fd;
	setup->run_dir_fd = heir->container->run_fd;
	setup->log_max_file_bytes = settings->log_max_file_bytes;
	setup->log_max_files = settings->log_max_files;
	setup->terminal = settings->tty;
	(void)snprintf(setup->socket_name, sizeof(setup->socket_name), "%s", MONITOR_SOCKET_NAME);
}

/* Without its table no denied call could be answered rightly: then nobody listens, and they get ENOSYS. */
static void find_denials(const struct heir *heir, struct birth *birth)
{
	struct filter *compiled = NULL;
	const struct filter *filter;
	struct err err = { 0 };

	if (birth->setup.listener_fd < 0 ||
	    birth_find_filter(birth, heir->filter, heir->filter_image_fd, &heir->filter_request,
			      filter_compile, &compiled, &filter, &err) >= 0)
		return;
	birth_warn(birth, err.text);
	birth->setup.listener_fd = -1;
}

static int inherit(const void *context, int control_fd)
{
	const struct heir *heir = context;
	const struct container *container = heir->container;
	struct birth birth;
	struct err err = { 0 };
	char what[160];

	birth_init_heir(&birth, control_fd);
	(void)listen(heir->listen_fd,
		     SOCKET_BACKLOG); /* once more: its peer credentials are ours now */
	(void)snprintf(what, sizeof(what), "%s/%s", container->workload->id, container->name);
	birth.what = what;
	birth.program_fd = container->monitor.host->monitor_program_fd;
	inherit_streams(heir, &birth.setup);
	inherit_process(heir, &birth.setup);
	inherit_places(heir, &birth.setup);
	find_denials(heir, &birth);
	if (birth_open_group(&birth, container->monitor.host->hierarchy, container->group, &err) <
	    0)
		birth_warn(&birth, err.text);
	birth_take_over(&birth);
	FAILPOINT("monitor.succeed.ready");
	return birth_hand_over(&birth);
}

/* ---- in the daemon ---- */

/* Made before the fork: from here to the end of the successor there is somebody whom a later daemon can
 * connect to, so that it never starts a second one. */
static int listen_for_daemon(const struct container *container, struct err *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s",
		       container->run_fd, MONITOR_SOCKET_NAME);
	(void)unlinkat(container->run_fd, MONITOR_SOCKET_NAME, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    fchmodat(container->run_fd, MONITOR_SOCKET_NAME, 0600, 0) < 0 ||
	    listen(fd, SOCKET_BACKLOG) < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot make %s: %m",
			       MONITOR_SOCKET_NAME);
	return take_fd(&fd);
}

/* -1 where it is gone: what would be logged is dropped, and counted. */
static int open_log_dir(const struct container *container)
{
	char path[2 * NAME_ID_MAX + 4];

	(void)snprintf(path, sizeof(path), "%s/%s", container->workload->id, container->name);
	return openat(container->monitor.host->log_fd, path,
		      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int check_pace(struct container *container, struct err *err)
{
	uint64_t now = 0;

	(void)sd_event_now(container->monitor.host->event, CLOCK_BOOTTIME, &now);
	if (container->successors == 0 ||
	    now - container->successors_since_usec > SUCCESSORS_USEC) {
		container->successors = 0;
		container->successors_since_usec = now;
	}
	if (++container->successors <= SUCCESSORS_MAX)
		return 0;
	return err_set(
		err, ERR_UNAVAILABLE, EAGAIN,
		"%d monitors of it have died in %llu s: for a while it goes on without one, and its output is dropped",
		SUCCESSORS_MAX, SUCCESSORS_USEC / 1000000);
}

static void take_place(struct monitor *monitor)
{
	monitor->control_source = sd_event_source_disable_unref(monitor->control_source);
	fd_close(&monitor->control_fd);
	monitor->first_source = sd_event_source_disable_unref(monitor->first_source);
	monitor->lost = false;
}

int successor_begin(struct container *container, struct err *err)
{
	struct monitor *monitor = &container->monitor;
	struct sandboxd *host = monitor->host;
	struct launched launched = { .pidfd = -1, .control_fd = -1 };
	struct heir heir = { .container = container, .filter_image_fd = -1 };
	cleanup_fd int listen_fd = -1;
	cleanup_fd int page_fd = -1;
	cleanup_fd int log_dir_fd = -1;
	int r = check_pace(container, err);

	FAILPOINT_RETURN("sandboxd.lost.successor", err);
	if (r < 0)
		return r;
	if (!container->group)
		return err_set(err, ERR_UNAVAILABLE, ENOENT, "its cgroup could not be opened");
	listen_fd = listen_for_daemon(container, err);
	if (listen_fd < 0)
		return listen_fd;
	page_fd = page_file_open_writable(container->run_fd);
	log_dir_fd = open_log_dir(container);
	settings_filter_request(&container->settings, &heir.filter_request);
	heir.filter = filter_cache_get(host->filters, &heir.filter_request, &heir.filter_image_fd);
	heir.listen_fd = listen_fd;
	heir.page_fd = page_fd < 0 ? -1 : page_fd;
	heir.log_dir_fd = log_dir_fd < 0 ? -1 : log_dir_fd;
	FAILPOINT_RETURN("sandboxd.succeed.fork", err);
	r = birth_fork(host->monitors_fd, inherit, &heir, &launched, err);
	if (r < 0)
		return r;
	take_place(monitor);
	r = monitors_adopt(monitor, launched.pid, launched.control_fd, err);
	if (r < 0) /* nobody would know of it, and two would read the container's output */
		(void)pidfd_send_signal(launched.pidfd, SIGKILL, NULL, 0);
	fd_close(&launched.pidfd);
	return r;
}
