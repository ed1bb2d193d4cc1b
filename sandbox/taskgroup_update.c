/*
 * Changing limits under a running group: value by value through libcgroup, each remembered as it was,
 * so that what cannot be done as a whole is not done at all.
 */
#include "sandbox/taskgroup_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sandbox/group_file.h"

#define OLD_VALUE_MAX 4096

/*
 * Lowering memory.max below what cannot be reclaimed has the kernel kill processes of the group, which
 * nobody asked for. What v1 refuses with EBUSY we refuse here.
 */
static int check_memory_fits(const struct taskgroup *group, uint64_t limit, struct err *err)
{
	const enum hierarchy_controller memory = CONTROLLER_MEMORY;
	uint64_t current = 0, file = 0;
	char text[GROUP_FILE_MAX];

	if (limit >= TASKGROUP_UNLIMITED || !hierarchy_is_v2(group->hierarchy, memory))
		return 0;
	if (taskgroup_file_read_u64(group, memory, "memory.current", &current) < 0 ||
	    taskgroup_file_read(group, memory, "memory.stat", text, sizeof(text)) < 0)
		return 0; /* nothing to know; the write tells */
	(void)group_file_find_u64(text, "file", &file);
	if (current <= limit || current - (file < current ? file : current) <= limit)
		return 0;
	return err_set(err, ERR_PRECONDITION, EBUSY,
		       "cannot limit memory of cgroup %s to %" PRIu64 ": it uses %" PRIu64
		       " bytes that cannot be reclaimed",
		       group->path, limit, current - file);
}

static int read_v1_memory(const struct taskgroup *group, struct taskgroup_v1_memory *memory,
			  struct err *err)
{
	const enum hierarchy_controller controller = CONTROLLER_MEMORY;
	int r;

	*memory = (struct taskgroup_v1_memory){ TASKGROUP_UNLIMITED, TASKGROUP_UNLIMITED };
	if (hierarchy_is_v2(group->hierarchy, controller))
		return 0;
	r = taskgroup_file_read_u64(group, controller, "memory.limit_in_bytes",
				    &memory->limit_bytes);
	if (r == 0)
		r = taskgroup_file_read_u64(group, controller, "memory.memsw.limit_in_bytes",
					    &memory->limit_with_swap_bytes);
	if (r < 0 && r != -ENOENT)
		return err_set(err, ERR_INTERNAL, -r,
			       "cannot read the memory limit of cgroup %s: %m", group->path);
	/* The largest number of whole pages is v1's "none". */
	if (memory->limit_bytes >= INT64_MAX - 65536)
		memory->limit_bytes = TASKGROUP_UNLIMITED;
	if (memory->limit_with_swap_bytes >= INT64_MAX - 65536)
		memory->limit_with_swap_bytes = TASKGROUP_UNLIMITED;
	return 0;
}

/* The file's text with one line a device, cut to what sets @device back to what the line says. */
static void keep_device(char *text, size_t size, const char *device, const char *absent)
{
	size_t length = strcspn(device, " ");
	char *line = text, kept[256];

	while (line && !(strncmp(line, device, length) == 0 && line[length] == ' ')) {
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	if (line)
		(void)snprintf(kept, sizeof(kept), "%.*s", (int)strcspn(line, "\n"), line);
	else
		(void)snprintf(kept, sizeof(kept), "%.*s %s", (int)length, device, absent);
	(void)snprintf(text, size, "%s", kept);
}

/* What to write to have the file as it is now. */
static int remember(const struct taskgroup *group, const struct setting *setting,
		    char old[static OLD_VALUE_MAX], struct err *err)
{
	ssize_t n = taskgroup_file_read(group, setting->controller, setting->file, old,
					OLD_VALUE_MAX);

	if (n < 0)
		return err_set(err, n == -ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, (int)-n,
			       "cannot read %s of cgroup %s: %m", setting->file, group->path);
	if (strcmp(setting->file, "io.max") == 0)
		keep_device(old, OLD_VALUE_MAX, setting->value,
			    "rbps=max wbps=max riops=max wiops=max");
	else if (strncmp(setting->file, "blkio.throttle.", 15) == 0)
		keep_device(old, OLD_VALUE_MAX, setting->value, "0");
	if (!old[0]) /* an unset cpuset */
		(void)snprintf(old, OLD_VALUE_MAX, "\n");
	return 0;
}

/* By hand: libcgroup has no way to write an empty line. */
static int set_back(const struct taskgroup *group, const struct settings *settings, size_t count,
		    char *const *old)
{
	int first = 0;

	while (count-- > 0) {
		const struct setting *row = &settings->rows[count];
		int r = taskgroup_file_write(group, row->controller, row->file, old[count]);

		if (r < 0 && !first)
			first = r;
	}
	return first;
}

static int write_all(const struct taskgroup *group, const struct settings *settings, char **old,
		     struct err *err)
{
	char path[1024];
	int r = 0, back;

	(void)snprintf(path, sizeof(path), "%s/%s", group->hierarchy->base + 1, group->path);
	for (size_t i = 0; i < settings->count; i++) {
		old[i] = malloc(OLD_VALUE_MAX);
		r = old[i] ? remember(group, &settings->rows[i], old[i], err) : err_oom(err);
		if (r == 0)
			r = lcg_set(group->hierarchy, path, &settings->rows[i], err);
		if (r == 0)
			continue;
		back = set_back(group, settings, i, old);
		if (back < 0)
			return err_set(
				err, ERR_INTERNAL, -back,
				"cannot set %s of cgroup %s, nor set back what was changed before it: %m; its limits are mixed",
				settings->rows[i].file, group->path);
		return r;
	}
	return 0;
}

int taskgroup_update(const struct taskgroup *group, const struct taskgroup_limits *limits,
		     struct err *err)
{
	char *old[SETTINGS_MAX] = { NULL };
	struct taskgroup_v1_memory memory;
	struct settings settings;
	int r;

	r = taskgroup_limits_check(group->hierarchy, limits, err);
	if (r < 0)
		return r;
	r = check_memory_fits(group, limits->memory_max_bytes, err);
	if (r < 0)
		return r;
	r = read_v1_memory(group, &memory, err);
	if (r < 0)
		return r;
	taskgroup_translate(group->hierarchy, limits, &memory, &settings);
	r = write_all(group, &settings, old, err);
	if (r == 0 && limits->memory_low_bytes != TASKGROUP_UNSET) {
		r = taskgroup_protect_above(group, err);
		if (r < 0)
			(void)set_back(group, &settings, settings.count, old);
	}
	for (size_t i = 0; i < ARRAY_SIZE(old); i++)
		free(old[i]);
	return r;
}
