/*
 * One launch of a container: from what the daemon has checked to a program that runs, and a monitor
 * that is its parent.
 *
 * launch_fork() forks the monitor, which does all the work while the daemon goes on:
 *
 *	as root of the host   the cgroup with its limits; detached mounts of the root file system (id-mapped),
 *	                      /dev and volumes; the streams; the filter, where it must be compiled
 *	clone3                the first process, born inside the cgroup and a new pid namespace
 *	in the first process  detached /proc and /sys; into the workload's namespaces; as their root a new
 *	                      mount namespace, put together from the detached mounts; pivot_root; the gate;
 *	                      identity, filter, execve
 *
 * Then it says MONITOR_STARTED and becomes the small program of sandbox/monitor/, keeping its child and
 * its descriptors. sandbox/monitor_wire.h is what is said. A failure undoes every step and names it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"
#include "sandbox/filter.h"
#include "sandbox/hierarchy.h"
#include "sandbox/identity.h"
#include "sandbox/layer_root.h"
#include "sandbox/taskgroup.h"

struct device_filters;

/* The workload's, as descriptors; -1: the host's, by policy. The monitor only borrows them. */
struct launch_namespaces {
	int user_fd;
	int net_fd;
	int ipc_fd;
	int uts_fd;
};

struct launch_mount {
	int source_fd; /* O_PATH directory (or file) of the host, policy-checked, not id-mapped yet; -1: */
	const char *const
		*layers; /* instead of it, as struct layer_root has them, with read_only */
	size_t layer_count;
	const char *target; /* in the container; names_check_path() and !path_is_reserved() */
	const char *
		sub_path; /* below the source, "" or NULL for all of it; no symlink is followed out */
	bool read_only;
	/* false for a volume that was made for the workload and is owned by its ids already (a tmpfs
	 * mounted with the range's uid and gid): then it is mounted as it is. */
	bool map_ids;
};

struct launch_log {
	int dir_fd; /* of this container, O_DIRECTORY; files <9 digits>.log are made in it */
	uint64_t max_file_bytes;
	uint32_t max_files; /* at least 1 */
};

/*
 * All of it is checked and stays the caller's; the monitor works on its copy of the address space.
 * Descriptors are close-on-exec. Start from launch_spec_init().
 */
struct launch_spec {
	const char *workload; /* for sentences and log lines */
	const char *container;
	uint32_t attempt;

	struct launch_namespaces namespaces;
	uint32_t host_id_first; /* of the 65,536 host ids that user_fd maps; 0 with user_fd -1 */

	/* The cgroup: created here, below the workload's group, which exists. */
	const struct hierarchy *hierarchy;
	const char *group_path; /* taskgroup_path() */
	const struct taskgroup_limits *limits;
	struct device_filters *device_filters; /* NULL: no device filter, for tests without BPF */
	int monitors_fd;                       /* hierarchy_open_monitors(), or -1 */

	int root_fd; /* O_PATH directory of the host, policy-checked; or -1, and layers: */
	struct layer_root root_layers;
	int store_fd;       /* of all layers: sandbox/layer_store.h; -1 */
	bool root_writable; /* of root_fd */
	const struct launch_mount *mounts;
	size_t mount_count;
	uint64_t shm_bytes; /* of /dev/shm; 0: 64 MiB */
	bool strict_proc;   /* /proc with hidepid=ptraceable,subset=pid */

	const char *const
		*argv; /* ends in NULL; argv[0] is searched in PATH of env inside the root */
	const char *const
		*env; /* "NAME=value", ends in NULL; HOME and PATH are added when missing */
	const char *working_dir; /* NULL or "": "/" */
	const char *user;        /* as identity_resolve() takes it */
	const char *const *groups;
	size_t group_count;
	uint64_t capabilities; /* bit CAP_x, checked */
	const struct identity_limit *rlimits;
	size_t rlimit_count;
	int oom_score_adj;

	/* @filter where the cache has it, with the image it came from; else NULL, and @filter_request is
	 * compiled in the monitor, which sends MONITOR_FILTER_IMAGE. */
	const struct filter *filter;
	int filter_image_fd;
	struct filter_request filter_request;
	filter_compile_func *compile; /* filter_compile(); NULL where @filter is given */

	struct launch_log log;
	bool tty;
	uint16_t rows, columns; /* of the terminal; 0: 24 x 80 */
	bool stdin_open; /* stdin is a pipe (or the terminal) for attached clients; else /dev/null */
	bool gate_open;
	int page_fd; /* PAGE_BYTES long, read-write; the monitor fills it in from PAGE_STARTING on */
	int run_dir_fd; /* 0700, root's: MONITOR_SOCKET_NAME is made in it */

	/* Of berth-sandboxd, kept since its start: launch_open_monitor_program(). -1: the caller of launch_monitor()
	 * is that program. */
	int monitor_program_fd;
};

void launch_spec_init(struct launch_spec *spec);

struct launched {
	pid_t pid;      /* of the monitor, the caller's child */
	int pidfd;      /* of the monitor: becomes readable when it ended; waitid(P_PIDFD) then */
	int control_fd; /* non-blocking; sandbox/monitor_wire.h. Closing it after STARTED is harmless. */
};

/*
 * Fork the monitor and let it begin. Costs a fork and nothing else: what can fail later is told by
 * MONITOR_START_FAILED, except that a monitor that is killed says nothing: then pidfd tells. The
 * caller must have one thread. On success the two descriptors are the caller's.
 *
 *   ERR_EXHAUSTED  no processes, no descriptors, no memory
 */
int launch_fork(const struct launch_spec *spec, struct launched *ret, struct err *err);

/*
 * The monitor's own life, in a process of its own that is nobody else's yet: the launch, then whatever the
 * container does until its end. Its memory and all that is open end with it. Returns the exit status.
 */
int launch_monitor(const struct launch_spec *spec, int control_fd);

/*
 * Open the program that monitors become, by absolute path, once at start: a sealed copy in memory, so that
 * an upgrade of the file changes no monitor half-way and nothing that a workload can reach is the
 * file itself. Also reserves a low descriptor for launches, so call it before opening much else. Returns
 * the descriptor (close-on-exec), or a negative errno with @err.
 */
int launch_open_monitor_program(const char *path, struct err *err);

/*
 * Whether @program_fd is the monitors' program of this build, by MONITOR_MARK in it: 0, or ERR_PRECONDITION
 * with the sentence for whoever wants to launch.
 */
int launch_check_monitor_program(int program_fd, const char *path, struct err *err);

/*
 * To be called first of all by the daemon's main(): execute the running program again, from a read-only mount
 * that exists nowhere else, so that no container that meets it as /proc/PID/exe (CVE-2019-5736) can
 * write to its file. Returns 0 in a program that was executed so already; otherwise does not return,
 * except with a negative errno and @err.
 */
int launch_protect_program(char *const argv[], struct err *err);

/* A setting of a namespace, names_check_sysctl()'s: "net.ipv4.ip_forward" = "1". */
struct launch_sysctl {
	const char *name;
	const char *value;
};

/*
 * To be called by a child that was born in the workload's user namespace and is root there: nothing
 * in the workload can make another one (user.max_user_namespaces = 0). @proc_fd is the host's /proc.
 * System calls only.
 */
int launch_forbid_nested(int proc_fd, struct err *err);

/*
 * To be called once for each workload, by a child that has entered the workload's namespaces and is
 * root in its user namespace, and then exits: sets the hostname and the sysctls. Where the UTS namespace is the
 * host's @hostname must be NULL. @proc_fd is the host's /proc. System calls only.
 */
int launch_prepare_workload(int proc_fd, const char *hostname, const struct launch_sysctl *sysctls,
			    size_t sysctl_count, struct err *err);
