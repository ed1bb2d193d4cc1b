/*
 * What a monitor that has launched a container hands to the program that it becomes: this structure in a
 * memfd at MONITOR_SETUP_FD, and the descriptors that it names, at the numbers that it names. Both programs
 * are of one build, so it needs no compatibility: the version only guards against a broken installation.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "sandbox/monitor_wire.h"

#define MONITOR_SETUP_FD      3
#define LAUNCHER_FD           3 /* a socket there: the launcher's, sandbox/launcher.h */
#define MONITOR_SETUP_VERSION 5u

/* The launcher's environment, for the titles of its forks. */
#define LAUNCHER_TITLE_PADDING "TITLE=" LAUNCHER_BLANKS LAUNCHER_BLANKS LAUNCHER_BLANKS
#define LAUNCHER_BLANKS        "                                                "

/* In the program's file, so that the daemon can tell whether it is of its own build. */
#define MONITOR_MARK_PREFIX   "berth-monitor of setup "
#define MONITOR_MARK_TEXT_(n) #n
#define MONITOR_MARK_TEXT(n)  MONITOR_MARK_TEXT_(n)
#define MONITOR_MARK                                                                              \
	MONITOR_MARK_PREFIX MONITOR_MARK_TEXT(MONITOR_SETUP_VERSION) ", wire " MONITOR_MARK_TEXT( \
		MONITOR_WIRE_VERSION) "."

struct monitor_setup {
	uint32_t version;
	bool session;  /* an exec session: no log, the page is the container's */
	bool terminal; /* terminal_fd carries everything; stdout_fd and stderr_fd are -1 */
	/* The one before us died: the first process is not our child. */
	bool successor;
	bool is_collected;   /* and has ended already, as collected says (0: nobody knows how) */
	bool kill_by_cgroup; /* dirs[MONITOR_FD_UNIFIED] has cgroup.kill */

	int32_t control_fd;  /* of the daemon; -1: gone already */
	int32_t listen_fd;   /* of MONITOR_SOCKET_NAME; -1 where it could not be made */
	int32_t child_pidfd; /* whose parent we are, unless successor; -1 only where is_collected */
	int32_t stdin_fd;    /* write end; -1 */
	int32_t stdout_fd;   /* read ends; -1 */
	int32_t stderr_fd;
	int32_t terminal_fd;           /* master; -1 */
	int32_t listener_fd;           /* of the filter; -1 */
	int32_t attach_fd;             /* of the client that the one before us had; -1 */
	int32_t estate_fd;             /* estate_make()'s; -1: nobody succeeds us */
	int32_t image_fd;              /* of the filter, for its table of errnos; -1 */
	int32_t layer_fd;              /* only kept open: see layer_root_mount(); -1 */
	int32_t page_fd;               /* -1 */
	int32_t log_dir_fd;            /* -1 */
	int32_t run_dir_fd;            /* where the socket is, to remove it in the end; -1 */
	int32_t dirs[MONITOR_FDS_MAX]; /* the cgroup, by enum monitor_fd; -1 */
	int32_t freezer_fd;            /* the group's directory of the v1 freezer; -1 */

	struct monitor_collected collected;

	/* Of a session that is a probe: dirs or freezer_fd are those of a group of its own, which is
	 * killed with it, and removed. */
	int32_t above_fd;     /* the directory that has it; -1: the session is no probe */
	char own_group[40];   /* its name there */
	uint32_t deadline_ms; /* from the start on */
	uint32_t reserved;

	uint64_t log_max_file_bytes;
	uint32_t log_max_files;
	char socket_name[40];
	struct monitor_started started; /* to be told again; without steps */
};

/* The whole life of the monitor from here on. Returns the exit status of the process. */
int monitor_run(struct monitor_setup *setup);
