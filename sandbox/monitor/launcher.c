/*
 * The launcher's own side: a loop that forks. What it keeps true: it holds no descriptor of a launch longer than
 * it takes to fork, and it ends with the daemon.
 */
#include "sandbox/monitor/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "sandbox/device_filter.h"
#include "sandbox/launch.h"
#include "sandbox/launch_birth.h"
#include "sandbox/launch_process.h"
#include "sandbox/launcher_wire.h"
#include "sandbox/monitor/setup.h"

/* Static: what a fork does not touch it shares with the launcher. */
static struct launcher_packet packet;
static struct launcher_host host;
static struct device_filters *device_filters;

/* All that follows are ours or the daemon's mistakes: it forks by itself then. */
static int learn_host(void)
{
	struct err err = { 0 };
	int r = launcher_receive(LAUNCHER_FD, &packet);

	if (r <= 0)
		return r < 0 ? r : -EPIPE;
	/* What it borrows must outlive the packet. */
	static struct launcher_packet kept;

	memcpy(&kept, &packet, sizeof(kept));
	r = launcher_unpack_host(&kept, &host);
	if (r < 0 || !host.device_filters)
		return r;
	r = device_filters_new(&device_filters, &err);
	if (r == 0)
		r = device_filters_prepare(device_filters, &host.hierarchy, device_filter_default,
					   device_filter_default_count, &err);
	return r;
}

/* Past the end of the arguments, into the padding of the environment: what ps(1) shows. */
static void set_title(char *title, const struct launch_spec *spec)
{
	size_t room = strlen("berth-launcher") + 1 + strlen(LAUNCHER_TITLE_PADDING);

	memset(title, 0, room);
	(void)snprintf(title, room, "berth-monitor: %s/%s", spec->workload, spec->container);
}

/* In the fork. */
static _Noreturn void monitor(char *title)
{
	struct filter *filter = NULL;
	struct launch_spec spec;
	struct err err = { 0 };
	int control_fd = -1;

	(void)close(LAUNCHER_FD);
	birth_detach();
	if (launcher_unpack_launch(&packet, &spec, &control_fd) < 0)
		_exit(1);
	if (filter_deserialize(spec.filter_image_fd, &filter, &err) < 0)
		_exit(1);
	spec.hierarchy = &host.hierarchy;
	spec.device_filters = device_filters;
	spec.filter = filter;
	set_title(title, &spec);
	_exit(launch_monitor(&spec, control_fd));
}

/* A child of the daemon: CLONE_PARENT takes the signal of its end from us. */
static long clone_monitor(void)
{
	struct clone_args args = { .flags = CLONE_PARENT };

	if (host.monitors_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)host.monitors_fd;
	}
	return syscall(SYS_clone3, &args, sizeof(args));
}

int launcher_run(char *title)
{
	birth_quiet();
	(void)launch_low_fd();
	if (learn_host() < 0)
		return 1;
	for (;;) {
		struct launcher_answer answer = { 0 };
		int r = launcher_receive(LAUNCHER_FD, &packet);
		long pid;

		if (r <= 0)
			return r < 0;
		FAILPOINT("launcher.fork.asked");
		pid = clone_monitor();
		if (pid == 0)
			monitor(title);
		if (pid < 0)
			answer.errnum = errno;
		else
			answer.pid = (int32_t)pid;
		while (packet.fd_count > 0)
			(void)close(packet.fds[--packet.fd_count]);
		FAILPOINT("launcher.fork.forked");
		if (send(LAUNCHER_FD, &answer, sizeof(answer), MSG_NOSIGNAL) < 0)
			return 1;
	}
}
