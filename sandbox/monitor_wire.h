/*
 * What berth-sandboxd and a monitor say to each other, over a SOCK_SEQPACKET socket: fixed structures, one
 * a packet, descriptors beside it (SCM_RIGHTS) where a kind says so. Both ends are root's own
 * processes on one host, but not of one release: a monitor lives as long as its container, through
 * upgrades of the daemon. So a kind never changes its meaning or its fields; new fields go to the
 * end, and a receiver takes a shorter packet as one whose last fields are zero and ignores what a longer
 * one has beyond its own. An unknown kind is ignored.
 *
 * The first conversation is over the descriptor that launch_fork() or exec_fork() gives. When it ends
 * after the gate was opened the monitor goes on, and listens on MONITOR_SOCKET_NAME in the container's run
 * directory: the next daemon connects there, is told by MONITOR_STARTED (and by MONITOR_EXITED, if so) how things
 * stand, and the conversation goes on. One at a time: a new connection ends the old one. When it
 * ends while the gate is closed the launch is given up and undone, since nobody stands for it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"

#define MONITOR_WIRE_VERSION 2u /* 2: MONITOR_KEEP and MONITOR_COLLECTED */
#define MONITOR_WIRE_KEEPS   2u /* from this version on MONITOR_KEEP is sent */
#define MONITOR_SOCKET_NAME  "monitor.sock"
#define MONITOR_STEPS_MAX    40
#define MONITOR_FDS_MAX      8

enum monitor_kind {
	/* To the monitor. */
	MONITOR_OPEN_GATE =
		1,          /* the intent is durable: exec. No answer but STARTED or START_FAILED */
	MONITOR_ABORT = 2,  /* before STARTED: give up, undo, START_FAILED; after it: kill all */
	MONITOR_SIGNAL = 3, /* struct monitor_signal */
	MONITOR_ATTACH = 4, /* one descriptor: the monitor's end of a socket of proto/attach.h */
	MONITOR_ACK_EXIT = 5, /* the EXITED record is in safe hands: the monitor may go */
	MONITOR_RESIZE = 6,   /* struct monitor_resize: of the terminal */
	MONITOR_COLLECTED =
		7, /* struct monitor_collected: to one that is not the parent of the first process */

	/* From the monitor. */
	MONITOR_READY = 65,        /* at the closed gate; not sent where the gate was open */
	MONITOR_STARTED = 66,      /* struct monitor_started; descriptors as it says */
	MONITOR_START_FAILED = 67, /* struct monitor_failed; the monitor exits, no ACK is needed */
	MONITOR_EXITED = 68, /* struct monitor_exited; again on each connection until ACK_EXIT */
	MONITOR_DENIED = 69, /* struct monitor_denied: the first of its syscall number */
	MONITOR_FILTER_IMAGE =
		70,           /* one descriptor, filter_serialize()'s: for the daemon's cache */
	MONITOR_WARNING = 71, /* struct monitor_text: what this host could not do, before STARTED */
	MONITOR_UNKILLABLE = 72, /* struct monitor_text: one process that SIGKILL did not end */
	MONITOR_TERMINAL = 73, /* one descriptor: the master, of an exec session with a terminal */
	MONITOR_STREAMS =
		74, /* after STARTED, of a container: descriptors of the read ends of stdout and
			       * stderr, or of the terminal's master, to be kept and not read */
	MONITOR_KEEP =
		75, /* struct monitor_keep, with descriptors as it says: all that a successor would
			       * need, to be kept and not used. Takes the place of what an earlier one, or
			       * MONITOR_STREAMS, brought. */
};

struct monitor_header {
	uint32_t version; /* MONITOR_WIRE_VERSION of the sender */
	uint32_t kind;    /* enum monitor_kind */
};

struct monitor_signal {
	int32_t number;
	uint32_t
		all; /* 0: the first process; 1: every process of the container (SIGKILL: by its cgroup) */
};

struct monitor_resize {
	uint16_t rows;
	uint16_t columns;
	uint32_t reserved;
};

/* The first process has ended, and was collected by the daemon: as waitid(2) told it. */
struct monitor_collected {
	int32_t exit_si_code;
	int32_t exit_si_status;
};

struct monitor_step {
	char name[24]; /* NUL-terminated */
	uint64_t ns;
};

/* What the descriptors of MONITOR_STARTED are, in their order. Directories are O_RDONLY. */
enum monitor_fd {
	MONITOR_FD_NONE = 0,
	MONITOR_FD_PIDFD = 1, /* of the first process, always the first descriptor */
	MONITOR_FD_UNIFIED = 2,
	MONITOR_FD_MEMORY = 3,
	MONITOR_FD_CPU = 4,
	MONITOR_FD_CPUACCT = 5,
	MONITOR_FD_IO = 6,
	MONITOR_FD_PIDS = 7,
};

/* The program was exec'd. */
struct monitor_started {
	int32_t pid;         /* of the first process, on the host */
	int32_t monitor_pid; /* the sender's */
	uint64_t started_wall_ns;
	uint64_t started_boot_ns;
	uint64_t group_id; /* taskgroup_id() of the container's group; 0 in an exec session */
	uint32_t fd_count;
	uint32_t fds[MONITOR_FDS_MAX]; /* enum monitor_fd */
	uint32_t step_count;           /* 0 when it is told again */
	struct monitor_step steps[MONITOR_STEPS_MAX];
};

/* It was never exec'd and all that was made is gone. */
struct monitor_failed {
	char step[24];
	struct err err;
};

/* The first process ended, and all others of the container with it: as waitid(2) told it. */
struct monitor_exited {
	int32_t exit_si_code;   /* CLD_EXITED, CLD_KILLED, CLD_DUMPED */
	int32_t exit_si_status; /* signal.h has a macro of the bare name */
	uint64_t finished_wall_ns;
	uint64_t finished_boot_ns;
	/* As in proto/page.h; 0 in an exec session. */
	uint64_t total_cpu_ns;
	uint64_t total_memory_peak_bytes;
	uint64_t total_io_read_bytes;
	uint64_t total_io_write_bytes;
	uint64_t total_oom_kills;
	uint64_t log_bytes;
	uint64_t log_dropped_bytes;
	uint32_t killed_processes;
	uint32_t reserved;
};

struct monitor_denied {
	uint32_t nr;
	uint32_t errnum;
	char program[256];
};

/* What the descriptors of MONITOR_KEEP are, in their order. */
enum monitor_keep_fd {
	MONITOR_KEEP_NONE = 0,
	MONITOR_KEEP_STDIN = 1, /* write end; only as long as the process's input is open */
	MONITOR_KEEP_STDOUT = 2,
	MONITOR_KEEP_STDERR = 3,
	MONITOR_KEEP_TERMINAL = 4, /* master */
	MONITOR_KEEP_LISTENER = 5, /* of the filter */
	MONITOR_KEEP_ESTATE = 6,   /* sandbox/monitor/estate.h */
	MONITOR_KEEP_COUNT = 7,
};

struct monitor_keep {
	uint32_t fd_count;
	uint32_t fds[MONITOR_FDS_MAX]; /* enum monitor_keep_fd */
};

struct monitor_text {
	char text[256];
};

struct monitor_message {
	struct monitor_header header;
	union {
		struct monitor_signal signal;
		struct monitor_resize resize;
		struct monitor_collected collected;
		struct monitor_started started;
		struct monitor_failed failed;
		struct monitor_exited exited;
		struct monitor_denied denied;
		struct monitor_text text;
		struct monitor_keep keep;
	};
};

/* The length of a packet of @kind as this release sends it; 0 for an unknown kind. */
size_t monitor_message_length(uint32_t kind);

/*
 * Send @message (whose header is filled in here from @kind) with @fd_count descriptors, which stay the
 * caller's. Never blocks, never raises SIGPIPE. Returns 0 or a negative errno: EPIPE where the other
 * side is gone, EAGAIN where its queue is full.
 */
int monitor_send(int socket_fd, uint32_t kind, struct monitor_message *message, const int *fds,
		 size_t fd_count);

/* Send MONITOR_STREAMS with those of the three descriptors that are not -1. */
int monitor_send_streams(int socket_fd, int stdout_fd, int stderr_fd, int terminal_fd);

/* Send MONITOR_KEEP with those of @fds, by enum monitor_keep_fd, that are not -1. */
int monitor_send_keep(int socket_fd, const int fds[static MONITOR_KEEP_COUNT]);

/*
 * Receive one message, without blocking where the socket does not. What the packet lacks is zero,
 * strings end in NUL. Descriptors are close-on-exec and the caller's: *ret_fd_count of them.
 *
 * Returns 1; 0 when the other side is gone; or a negative errno: EAGAIN when there is none, EBADMSG for
 * a packet too short for its kind's first field or with more than MONITOR_FDS_MAX descriptors, all of
 * which are closed.
 */
int monitor_receive(int socket_fd, struct monitor_message *ret, int ret_fds[static MONITOR_FDS_MAX],
		    size_t *ret_fd_count);
