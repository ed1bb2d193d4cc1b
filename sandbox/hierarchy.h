/*
 * The host's control group hierarchies, found once at start, and the tree of groups that Berth keeps
 * in them:
 *
 *	<base>/supervisor                          the daemons, where systemd delegated <base>
 *	<base>/monitors                            all monitors
 *	<base>/workloads                           cpu weight 1000, the two others 100
 *	<base>/workloads/critical/...              cpu weight 1000
 *	<base>/workloads/production/...            cpu weight 100
 *	<base>/workloads/batch/...                 cpu weight 30
 *	<base>/workloads/best-effort/...           cpu weight 5
 *
 * below a band come the groups of sandbox/taskgroup.h. The same <base> is used in every hierarchy:
 * one cgroup2 mount (unified), one mount per v1 controller or set of controllers (legacy), or both
 * (hybrid). Hybrid hosts have the tree in cgroup2 too, even where no controller is left for it: that
 * is what gives atomic kill, freeze, events, pressure and device filters there.
 *
 * libcgroup's state is initialised here, once: call hierarchy_discover() before any thread starts and
 * before forking monitors, which may then use everything below and in sandbox/taskgroup.h.
 *
 * cgroups(7), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the kernel,
 * systemd's CGROUP_DELEGATION.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cleanup.h"
#include "proto/err.h"

enum hierarchy_layout {
	HIERARCHY_UNIFIED, /* cgroup2 holds every controller */
	HIERARCHY_HYBRID,  /* controllers on v1, and a cgroup2 mount beside them */
	HIERARCHY_LEGACY,  /* v1 only, or a cgroup2 without cgroup.kill (Linux before 5.14) */
};

enum hierarchy_controller {
	CONTROLLER_CPU,
	CONTROLLER_CPUACCT, /* v1; part of cpu in v2 */
	CONTROLLER_CPUSET,
	CONTROLLER_MEMORY,
	CONTROLLER_PIDS,
	CONTROLLER_IO,      /* "blkio" in v1 */
	CONTROLLER_DEVICES, /* v1 in legacy; a BPF program elsewhere */
	CONTROLLER_FREEZER, /* v1 in legacy; part of the core elsewhere */
	CONTROLLER_COUNT,
};

enum hierarchy_band {
	BAND_CRITICAL,
	BAND_PRODUCTION,
	BAND_BATCH,
	BAND_BEST_EFFORT,
	BAND_COUNT,
};

#define HIERARCHY_MOUNTS_MAX   (CONTROLLER_COUNT + 1)
#define HIERARCHY_FEATURES_MAX 20

/* One mounted hierarchy that is used. */
struct hierarchy_mount {
	char *path;      /* mount point, absolute */
	uint32_t in_use; /* bit i: enum hierarchy_controller i is taken from here */
	int base_fd;     /* the directory <base>, O_PATH */
	bool v2;
};

/* One thing that groups on this host can or cannot do, for the node's list of capabilities. */
struct hierarchy_feature {
	const char *name; /* "cgroup.memory.high" */
	bool supported;
	char sentence[224]; /* why not, and what follows; or what it rests on */
};

/* Read-only for everyone but hierarchy.c. */
struct hierarchy {
	enum hierarchy_layout layout;
	char *base;                 /* "/berth", "/system.slice/x.service": below each mount */
	bool delegated;             /* <base> is a unit's group: its directory is systemd's */
	bool clone_after_kill_dies; /* the kernel kills what is cloned into a killed group */
	size_t mount_count;
	struct hierarchy_mount mounts[HIERARCHY_MOUNTS_MAX];
	int unified;                 /* index of the cgroup2 mount, -1 in legacy */
	int where[CONTROLLER_COUNT]; /* index of the controller's mount, -1: not usable here */
	char *cpuset_cpus;           /* what workloads may use: "0-7"; NULL without cpuset */
	char *cpuset_mems;
	size_t feature_count;
	struct hierarchy_feature features[HIERARCHY_FEATURES_MAX];
};

struct hierarchy_options {
	/*
	 * Absolute below each mount, components of [A-Za-z0-9_.@:-]. NULL: under systemd the group of
	 * the calling service, elsewhere "/berth".
	 */
	const char *base;
	/* Take <base>, though systemd runs and has not marked it as delegated. For tests. */
	bool trust_base;
};

/*
 * Find the mounts, choose the base, make the tree of the head of this file with its weights, and probe
 * what the kernel can do. Directories that exist are kept with what is in them: it is also what
 * follows a restart. Where the caller's own process is in <base> itself in cgroup2 it is moved to
 * <base>/supervisor first, because a group with processes cannot have controllers for its children.
 * The calling process must have one thread. About 10 ms.
 *
 * On success *ret_hierarchy is the caller's, to end with hierarchy_free(). On failure it is untouched;
 * directories that were made stay, and the next start uses them.
 *
 *   ERR_UNSUPPORTED   no cgroup file system is mounted, or it lacks memory, cpu or pids
 *   ERR_PRECONDITION  systemd runs and the unit has no Delegate=yes; other processes are in <base>
 *   ERR_INVALID       @options->base is not a path as above
 *   ERR_INTERNAL      the kernel refused; the sentence has the file
 */
int hierarchy_discover(const struct hierarchy_options *options, struct hierarchy **ret_hierarchy,
		       struct err *err);

/* Accepts NULL. Removes nothing from the kernel. */
void hierarchy_free(struct hierarchy *hierarchy);
DEFINE_CLEANUP(struct hierarchy *, hierarchy_free)

/*
 * Remove the tree, leaf to root, as far as it is empty: groups of workloads that still exist stay,
 * with all that leads to them, and processes are never moved. <base> itself goes too unless it is a
 * unit's. For shutdown of a host without workloads, and for uninstalling.
 *
 * Returns 0 when all of it is gone (or never was), -EBUSY when something is left, another negative
 * errno with @err filled in when the kernel refused.
 */
int hierarchy_remove_if_empty(const struct hierarchy *hierarchy, struct err *err);

/* The directory <base>/workloads in the hierarchy of the memory controller, a new descriptor; -errno. */
int hierarchy_open_workloads(const struct hierarchy *hierarchy);

enum hierarchy_pressure { HIERARCHY_PRESSURE_WORKLOADS, HIERARCHY_PRESSURE_HOST };

/*
 * A new descriptor that polls with POLLPRI when some tasks, of the workloads or of the whole host, waited
 * for memory for *@stall_us within *@window_us, and that is read for the averages (PSI). Both are changed
 * to what the kernel took: without CAP_SYS_RESOURCE the same share of a multiple of 2 s. -errno where the
 * kernel has no PSI, or no cgroup2 for that of the workloads.
 */
int hierarchy_watch_pressure(const struct hierarchy *hierarchy, enum hierarchy_pressure which,
			     uint64_t *stall_us, uint64_t *window_us);

/* Whether what is in the group @dir_fd of the memory controller fits below @limit: 0, or ERR_PRECONDITION. */
int hierarchy_check_workloads_fit(int dir_fd, bool v2, uint64_t limit, struct err *err);

/*
 * The directory <base>/monitors in cgroup2, for clone3(CLONE_INTO_CGROUP): a new descriptor that is
 * the caller's, close-on-exec. -EOPNOTSUPP in legacy, where monitors stay in the group of their parent.
 */
int hierarchy_open_monitors(const struct hierarchy *hierarchy);

/*
 * Make the tree this process's alone, until it ends or the returned descriptor (close-on-exec) is
 * closed: a POSIX lock, which forked monitors do not inherit. Negative: ERR_PRECONDITION where another
 * process has it.
 */
int hierarchy_lock(const struct hierarchy *hierarchy, struct err *err);

/* "critical", "production", "batch", "best-effort": also the directory's name. Never NULL. */
const char *hierarchy_band_name(enum hierarchy_band band);

/* "unified", "hybrid", "legacy". */
const char *hierarchy_layout_name(enum hierarchy_layout layout);

/* Whether @controller is in the hands of a v2 mount here; false too where it is not usable. */
bool hierarchy_is_v2(const struct hierarchy *hierarchy, enum hierarchy_controller controller);

/* The row of the list by its name, NULL if there is none. */
const struct hierarchy_feature *hierarchy_feature(const struct hierarchy *hierarchy,
						  const char *name);
