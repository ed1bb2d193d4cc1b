/*
 * The daemon's side of each monitor: the conversation of sandbox/monitor_wire.h, what it changes in the
 * registry, and what is done in a monitor's place when it dies before its container.
 */
#pragma once

#include <sys/types.h>

#include "proto/err.h"
#include "sandbox/registry.h"

/*
 * The monitor @pid (a child of ours; 0: from before) talks on @control_fd, which becomes its, also on
 * failure. From here on the loop drives it.
 */
int monitors_adopt(struct monitor *monitor, pid_t pid, int control_fd, struct err *err);

/* Connect to the monitor from before whose socket is in the container's run directory.
 * ERR_UNAVAILABLE when nobody is there any more. */
int monitors_reconnect(struct monitor *monitor, const char *socket_name, struct err *err);

/* Send a message without anything but its kind, or with @message. ERR_UNAVAILABLE when the monitor is
 * gone or does not read. */
int monitors_send(struct monitor *monitor, uint32_t kind, struct monitor_message *message,
		  const int *fds, size_t n_fds, struct err *err);

/* The container's monitor is gone, and its first process may live on, or have ended already: do what
 * the monitor would have. */
void monitors_lost(struct monitor *monitor, const char *why);

/* Told in the log, and to berthd with what it is told of the container's start. */
void monitors_warn(struct container *container, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* An exec session's monitor died before its program was started. */
void monitors_session_cut_off(struct session *session, const char *why);

/* The names that the group of a container has: taskgroup_path()'s. ERR_INVALID never, since both were
 * checked when they came. */
int monitors_group_path(const struct container *container, char path[static TASKGROUP_PATH_MAX],
			struct err *err);

/* Open the container's group by its name, if it is the one that container->group_id says. A failure is
 * told in the log, and container->group stays NULL. */
void monitors_open_group(struct container *container);
