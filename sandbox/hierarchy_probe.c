/*
 * What groups can do here. Files are looked for in a band's group, where the kernel shows what a
 * workload's will have; behaviour that no file tells is tried on a group of its own.
 */
#include "sandbox/hierarchy_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/group_file.h"

#define PROBED_BAND HIERARCHY_WORKLOADS "/production"

/* A feature that rests on one file of one controller, by version: NULL, never there. */
static const struct file_feature {
	const char *name;
	enum hierarchy_controller controller;
	const char *v2_file;
	const char *v1_file;
	const char *without; /* what follows */
} file_features[] = {
	{ "cgroup.memory.high", CONTROLLER_MEMORY, "memory.high", NULL,
	  "memory_high_bytes is refused: throttling before the limit is a matter of cgroup v2" },
	{ "cgroup.memory.reclaim", CONTROLLER_MEMORY, "memory.reclaim", "memory.force_empty",
	  "a host that is short of memory takes none back from a workload before it squeezes it (Linux 5.19 has it)" },
	{ "cgroup.memory.low", CONTROLLER_MEMORY, "memory.low", NULL,
	  "memory_low_bytes is refused: v1's soft limit does not protect" },
	{ "cgroup.memory.swap", CONTROLLER_MEMORY, "memory.swap.max", "memory.memsw.limit_in_bytes",
	  "memory_swap_bytes is refused: the kernel does not count swap (swapaccount=1)" },
	{ "cgroup.memory.oom_group", CONTROLLER_MEMORY, "memory.oom.group", NULL,
	  "an out-of-memory kill takes one process of a container, not all of it" },
	{ "cgroup.memory.peak", CONTROLLER_MEMORY, "memory.peak", "memory.max_usage_in_bytes",
	  "exit records have no memory peak (Linux 5.19 has it)" },
	{ "cgroup.cpu.burst", CONTROLLER_CPU, "cpu.max.burst", "cpu.cfs_burst_us",
	  "cpu_burst_us is refused" },
	{ "cgroup.cpuset", CONTROLLER_CPUSET, "cpuset.cpus", "cpuset.cpus",
	  "cpuset_cpus and cpuset_mems are refused: no cpuset controller" },
	{ "cgroup.io.max", CONTROLLER_IO, "io.max", "blkio.throttle.read_bps_device",
	  "io_limits are refused: no io controller with throttling" },
};

static struct hierarchy_feature *add_feature(struct hierarchy *hierarchy, const char *name,
					     bool supported)
{
	struct hierarchy_feature *feature = &hierarchy->features[hierarchy->feature_count];

	if (hierarchy->feature_count < HIERARCHY_FEATURES_MAX - 1)
		hierarchy->feature_count++;
	feature->name = name;
	feature->supported = supported;
	feature->sentence[0] = '\0';
	return feature;
}

static void say(struct hierarchy_feature *feature, const char *sentence)
{
	(void)snprintf(feature->sentence, sizeof(feature->sentence), "%s", sentence);
}

/* Whether a workload's group has @file of the controller. */
static bool band_has(const struct hierarchy *hierarchy, enum hierarchy_controller controller,
		     const char *file)
{
	int where = hierarchy->where[controller];
	char path[256];

	if (where < 0 || !file)
		return false;
	(void)snprintf(path, sizeof(path), PROBED_BAND "/%s", file);
	return group_file_exists(hierarchy->mounts[where].base_fd, path);
}

/*
 * memory.low protects no more than each group above does. Up to <base> that is taken care of
 * (taskgroup_protection.c), and <base> too unless it is a unit's; what lies above is the operator's.
 */
static void probe_protection(struct hierarchy *hierarchy, struct hierarchy_feature *feature)
{
	const char *mount = hierarchy->mounts[hierarchy->where[CONTROLLER_MEMORY]].path;
	bool skip = !hierarchy->delegated;
	char path[512], *slash;

	(void)snprintf(path, sizeof(path), "%s", hierarchy->base);
	for (; (slash = strrchr(path, '/')) != NULL; *slash = '\0', skip = false) {
		char file[1024];
		uint64_t low = 0;

		(void)snprintf(file, sizeof(file), "%s%s/memory.low", mount, path);
		if (!path[0] || skip || (group_file_read_u64(AT_FDCWD, file, &low) == 0 && low > 0))
			continue;
		feature->supported = false;
		(void)snprintf(
			feature->sentence, sizeof(feature->sentence),
			"memory_low_bytes is refused: cgroup %.100s above it protects nothing (MemoryLow= in its unit)",
			path);
		return;
	}
}

static void probe_files(struct hierarchy *hierarchy)
{
	for (size_t i = 0; i < ARRAY_SIZE(file_features); i++) {
		const struct file_feature *row = &file_features[i];
		const char *file = hierarchy_is_v2(hierarchy, row->controller) ? row->v2_file
									       : row->v1_file;
		bool has = band_has(hierarchy, row->controller, file);

		struct hierarchy_feature *feature = add_feature(hierarchy, row->name, has);

		say(feature, has ? file : row->without);
		if (has && strcmp(row->name, "cgroup.memory.low") == 0)
			probe_protection(hierarchy, feature);
	}
}

/* Which file holds the weight depends on the scheduler of the block layer. */
static void probe_io_weight(struct hierarchy *hierarchy)
{
	static const char *const files[2][2] = { { "blkio.bfq.weight", "blkio.weight" },
						 { "io.weight", "io.bfq.weight" } };
	bool v2 = hierarchy_is_v2(hierarchy, CONTROLLER_IO);
	const char *file = NULL;

	for (size_t i = 0; i < 2 && !file; i++) {
		if (band_has(hierarchy, CONTROLLER_IO, files[v2][i]))
			file = files[v2][i];
	}
	say(add_feature(hierarchy, "cgroup.io.weight", file != NULL),
	    file ? file : "io_weight is refused: neither iocost nor bfq is in this kernel");
}

static void probe_unified(struct hierarchy *hierarchy)
{
	bool has = hierarchy->unified >= 0;

	say(add_feature(hierarchy, "cgroup.kill", has),
	    has ? "cgroup.kill"
		: "no cgroup2: a group is killed by freezing, signalling and thawing it, until empty");
	say(add_feature(hierarchy, "cgroup.events", has),
	    has ? "cgroup.events"
		: "no cgroup2: that a group is empty is seen by asking every 10 ms");
	say(add_feature(hierarchy, "cgroup.clone_into", has),
	    hierarchy->layout == HIERARCHY_UNIFIED
		    ? "CLONE_INTO_CGROUP"
		    : "processes are attached to v1 hierarchies while they wait to start, which may take some milliseconds");
}

static void probe_pressure(struct hierarchy *hierarchy)
{
	static const char off[] = "no pressure readings: the kernel has PSI off (psi=1)";
	bool unified = hierarchy->unified >= 0;
	char text[512];
	bool host = group_file_read(AT_FDCWD, "/proc/pressure/memory", text, sizeof(text)) > 0;
	bool group = unified &&
		     group_file_read(hierarchy->mounts[hierarchy->unified].base_fd,
				     PROBED_BAND "/memory.pressure", text, sizeof(text)) > 0;

	say(add_feature(hierarchy, "cgroup.psi.host", host), host ? "/proc/pressure" : off);
	say(add_feature(hierarchy, "cgroup.psi.group", group),
	    group     ? "*.pressure"
	    : unified ? off
		      : "no pressure readings of workloads: v1 has none");
}

/* Clone a child that ends at once into the group: its exit status as of waitid(2), or -errno. */
static int clone_into(int group_fd)
{
	struct clone_args args = { .flags = CLONE_INTO_CGROUP,
				   .exit_signal = SIGCHLD,
				   .cgroup = (uint64_t)group_fd };
	siginfo_t info = { 0 };
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(0);
	while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return info.si_code == CLD_EXITED ? 0 : info.si_status;
}

/* Seen on Linux 6.1 and 6.18: whatever is cloned into a group after its first cgroup.kill gets SIGKILL
 * too. The new task's count of kills seems to be that of its parent's group. */
static int try_clone_after_kill(int base_fd, const char *name)
{
	cleanup_fd int fd = -1;
	int r;

	(void)unlinkat(base_fd, name, AT_REMOVEDIR); /* left by a start that was cut short */
	if (mkdirat(base_fd, name, 0755) < 0)
		return -errno;
	fd = openat(base_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? -errno : group_file_write(fd, "cgroup.kill", "1");
	if (r == 0)
		r = clone_into(fd);
	if (unlinkat(base_fd, name, AT_REMOVEDIR) < 0 && r >= 0)
		r = -errno;
	return r;
}

static int probe_clone_after_kill(struct hierarchy *hierarchy, struct err *err)
{
	static const char name[] = "probe";
	int r;

	if (hierarchy->unified < 0)
		return 0;
	r = try_clone_after_kill(hierarchy->mounts[hierarchy->unified].base_fd, name);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r,
			       "cannot start a process in cgroup %s/%s with CLONE_INTO_CGROUP: %m",
			       hierarchy->base, name);
	hierarchy->clone_after_kill_dies = r == SIGKILL;
	say(add_feature(hierarchy, "cgroup.clone_after_kill", r == 0),
	    r == 0 ? "a group that was killed can be used again"
		   : "this kernel kills what is started in a group that was killed before; groups are never used twice");
	return 0;
}

int hierarchy_probe(struct hierarchy *hierarchy, struct err *err)
{
	probe_files(hierarchy);
	probe_io_weight(hierarchy);
	probe_unified(hierarchy);
	probe_pressure(hierarchy);
	return probe_clone_after_kill(hierarchy, err);
}
