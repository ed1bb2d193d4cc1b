/* What a group used in its life, for the record of its end. Sampling while it runs is not done here:
 * that is telemetry's, through the directories of taskgroup_open_dirs(). */
#include "sandbox/taskgroup_internal.h"

#include <errno.h>
#include <string.h>

#include "sandbox/group_file.h"

/* The number in the file, left alone where the host does not have it. */
static int read_number(const struct taskgroup *group, enum hierarchy_controller controller,
		       const char *file, uint64_t *value)
{
	int r = taskgroup_file_read_u64(group, controller, file, value);

	return r == -ENOENT || r == -EOPNOTSUPP ? 0 : r;
}

/* The number behind @key in the file. */
static int read_key(const struct taskgroup *group, enum hierarchy_controller controller,
		    const char *file, const char *key, uint64_t *value)
{
	char text[GROUP_FILE_MAX];
	ssize_t n = taskgroup_file_read(group, controller, file, text, sizeof(text));

	if (n == -ENOENT || n == -EOPNOTSUPP)
		return 0;
	if (n < 0)
		return (int)n;
	(void)group_file_find_u64(text, key, value);
	return 0;
}

static int read_cpu(const struct taskgroup *group, struct taskgroup_totals *totals)
{
	const enum hierarchy_controller v1 = CONTROLLER_CPUACCT;
	uint64_t usage = TASKGROUP_UNSET, user = TASKGROUP_UNSET, system = TASKGROUP_UNSET;
	char text[GROUP_FILE_MAX];
	int r;

	if (group->hierarchy->where[v1] >= 0) {
		r = read_number(group, v1, "cpuacct.usage", &totals->cpu_usage_ns);
		if (r == 0)
			r = read_number(group, v1, "cpuacct.usage_user", &totals->cpu_user_ns);
		if (r == 0)
			r = read_number(group, v1, "cpuacct.usage_sys", &totals->cpu_system_ns);
		return r;
	}
	r = (int)group_file_read(taskgroup_clone_fd(group), "cpu.stat", text, sizeof(text));
	if (r < 0)
		return r;
	if (group_file_find_u64(text, "usage_usec", &usage))
		totals->cpu_usage_ns = usage * 1000;
	if (group_file_find_u64(text, "user_usec", &user))
		totals->cpu_user_ns = user * 1000;
	if (group_file_find_u64(text, "system_usec", &system))
		totals->cpu_system_ns = system * 1000;
	return 0;
}

static int read_memory(const struct taskgroup *group, struct taskgroup_totals *totals)
{
	const enum hierarchy_controller memory = CONTROLLER_MEMORY;
	int r;

	if (hierarchy_is_v2(group->hierarchy, CONTROLLER_MEMORY)) {
		r = read_number(group, memory, "memory.peak", &totals->memory_peak_bytes);
		if (r == 0)
			r = read_number(group, memory, "memory.max", &totals->memory_limit_bytes);
		return r < 0 ? r
			     : read_key(group, memory, "memory.events", "oom_kill",
					&totals->oom_kills);
	}
	r = read_number(group, memory, "memory.max_usage_in_bytes", &totals->memory_peak_bytes);
	if (r == 0)
		r = read_number(group, memory, "memory.limit_in_bytes",
				&totals->memory_limit_bytes);
	/* v1 has no word for "none": it is the largest number of whole pages. */
	if (r == 0 && totals->memory_limit_bytes >= INT64_MAX - 65536 &&
	    totals->memory_limit_bytes <= INT64_MAX)
		totals->memory_limit_bytes = TASKGROUP_UNLIMITED;
	return r < 0 ? r
		     : read_key(group, memory, "memory.oom_control", "oom_kill",
				&totals->oom_kills);
}

/* Add up what stands behind @key on every line. */
static uint64_t sum_lines(const char *text, const char *key)
{
	size_t length = strlen(key);
	uint64_t sum = 0;

	for (const char *at = strstr(text, key); at; at = strstr(at + length, key))
		sum += strtoull(at + length, NULL, 10);
	return sum;
}

static int read_io(const struct taskgroup *group, struct taskgroup_totals *totals)
{
	bool v2 = hierarchy_is_v2(group->hierarchy, CONTROLLER_IO);
	char text[GROUP_FILE_MAX];
	ssize_t n;

	n = taskgroup_file_read(group, CONTROLLER_IO,
				v2 ? "io.stat" : "blkio.throttle.io_service_bytes_recursive", text,
				sizeof(text));
	if (n == -ENOENT)
		return 0;
	if (n < 0)
		return (int)n;
	totals->io_read_bytes = sum_lines(text, v2 ? " rbytes=" : " Read ");
	totals->io_write_bytes = sum_lines(text, v2 ? " wbytes=" : " Write ");
	return 0;
}

int taskgroup_read_totals(const struct taskgroup *group, struct taskgroup_totals *ret_totals,
			  struct err *err)
{
	struct taskgroup_totals totals;
	int r;

	memset(&totals, 0xff, sizeof(totals)); /* each TASKGROUP_UNSET */
	r = read_cpu(group, &totals);
	if (r == 0)
		r = read_memory(group, &totals);
	if (r == 0)
		r = read_io(group, &totals);
	if (r == 0)
		r = read_key(group, CONTROLLER_PIDS, "pids.events", "max", &totals.pids_refused);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot read what cgroup %s used: %m",
			       group->path);
	*ret_totals = totals;
	return 0;
}
