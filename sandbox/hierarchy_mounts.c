/*
 * Which hierarchies are mounted, from /proc/self/mountinfo: libcgroup hides a cgroup2 mount that has
 * no controllers, which is what a hybrid host has, and cannot tell which of two mounts it took.
 */
#include "sandbox/hierarchy_internal.h"

#include <errno.h>
#include <string.h>

static const char *const v1_names[CONTROLLER_COUNT] = {
	[CONTROLLER_CPU] = "cpu",         [CONTROLLER_CPUACCT] = "cpuacct",
	[CONTROLLER_CPUSET] = "cpuset",   [CONTROLLER_MEMORY] = "memory",
	[CONTROLLER_PIDS] = "pids",       [CONTROLLER_IO] = "blkio",
	[CONTROLLER_DEVICES] = "devices", [CONTROLLER_FREEZER] = "freezer",
};

/* Whether @word is one of the words of @list, which @separator stands between. */
static bool has_word(const char *list, const char *word, char separator)
{
	size_t length = strlen(word);

	while (list) {
		if (strncmp(list, word, length) == 0 &&
		    (list[length] == separator || list[length] == '\0' || list[length] == '\n'))
			return true;
		list = strchr(list, separator);
		if (list)
			list++;
	}
	return false;
}

/* Space, tab, newline and backslash are \ooo in mountinfo. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] && from[3]) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

struct mount_line {
	char *root;
	char *path;
	char *type;
	char *super_options;
};

/* Cut the line in place: id parent dev root path options [tags] - type source super_options. */
static bool split_line(char *line, struct mount_line *ret_line)
{
	char *fields[5], *rest = line, *dash = strstr(line, " - ");

	if (!dash)
		return false;
	*dash = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		fields[i] = strsep(&rest, " ");
		if (!fields[i])
			return false;
	}
	ret_line->root = fields[3];
	ret_line->path = fields[4];
	rest = dash + 3;
	rest[strcspn(rest, "\n")] = '\0';
	ret_line->type = strsep(&rest, " ");
	(void)strsep(&rest, " ");
	ret_line->super_options = rest;
	unescape(ret_line->path);
	return rest != NULL;
}

static int add_mount(struct hierarchy *hierarchy, const struct mount_line *line, bool v2,
		     uint32_t controllers, struct err *err)
{
	struct hierarchy_mount *mount = &hierarchy->mounts[hierarchy->mount_count];

	if (hierarchy->mount_count == ARRAY_SIZE(hierarchy->mounts))
		return err_set(err, ERR_INTERNAL, E2BIG, "too many cgroup mounts");
	*mount = (struct hierarchy_mount){ .base_fd = -1, .v2 = v2, .in_use = controllers };
	mount->path = strdup(line->path);
	if (!mount->path)
		return err_oom(err);
	if (v2)
		hierarchy->unified = (int)hierarchy->mount_count;
	for (int i = 0; i < CONTROLLER_COUNT; i++) {
		if (controllers & (1u << i))
			hierarchy->where[i] = (int)hierarchy->mount_count;
	}
	hierarchy->mount_count++;
	return 0;
}

/* The bits of those controllers of a v1 mount that are ours to use and were not seen before. */
static uint32_t new_controllers(const struct hierarchy *hierarchy, const char *super_options)
{
	uint32_t bits = 0;

	for (int i = 0; i < CONTROLLER_COUNT; i++) {
		if (hierarchy->where[i] < 0 && has_word(super_options, v1_names[i], ','))
			bits |= 1u << i;
	}
	return bits;
}

int hierarchy_read_mounts(struct hierarchy *hierarchy, FILE *mountinfo, char **ret_systemd_mount,
			  struct err *err)
{
	cleanup_free char *text = NULL, *systemd_mount = NULL;
	struct mount_line line;
	size_t size = 0;
	int r = 0;

	while (r == 0 && getline(&text, &size, mountinfo) > 0) {
		/* A part of a hierarchy (a bind mount, a container's) is not the hierarchy. */
		if (!split_line(text, &line) || strcmp(line.root, "/") != 0)
			continue;
		if (strcmp(line.type, "cgroup2") == 0 && hierarchy->unified < 0) {
			r = add_mount(hierarchy, &line, true, 0, err);
		} else if (strcmp(line.type, "cgroup") == 0) {
			uint32_t bits = new_controllers(hierarchy, line.super_options);

			if (bits)
				r = add_mount(hierarchy, &line, false, bits, err);
			else if (!systemd_mount &&
				 has_word(line.super_options, "name=systemd", ','))
				systemd_mount = strdup(line.path);
		}
	}
	if (r < 0)
		return r;
	if (ferror(mountinfo))
		return err_set(err, ERR_INTERNAL, EIO, "cannot read the table of mounts");
	if (!hierarchy->mount_count)
		return err_set(err, ERR_UNSUPPORTED, ENODEV,
			       "no cgroup hierarchy is mounted: mount cgroup2 at /sys/fs/cgroup");
	*ret_systemd_mount = take_ptr(&systemd_mount);
	return 0;
}

void hierarchy_take_v2_controllers(struct hierarchy *hierarchy, const char *available)
{
	static const enum hierarchy_controller v2[] = { CONTROLLER_CPU, CONTROLLER_CPUSET,
							CONTROLLER_MEMORY, CONTROLLER_PIDS,
							CONTROLLER_IO };
	struct hierarchy_mount *mount;

	if (hierarchy->unified < 0)
		return;
	mount = &hierarchy->mounts[hierarchy->unified];
	for (size_t i = 0; i < ARRAY_SIZE(v2); i++) {
		const char *name = v2[i] == CONTROLLER_IO ? "io" : v1_names[v2[i]];

		if (hierarchy->where[v2[i]] >= 0 || !has_word(available, name, ' '))
			continue;
		hierarchy->where[v2[i]] = hierarchy->unified;
		mount->in_use |= 1u << v2[i];
	}
}

static void forget_controller(struct hierarchy *hierarchy, enum hierarchy_controller controller)
{
	int where = hierarchy->where[controller];

	if (where < 0)
		return;
	hierarchy->mounts[where].in_use &= ~(1u << controller);
	hierarchy->where[controller] = -1;
}

static void forget_mount(struct hierarchy *hierarchy, size_t index)
{
	struct hierarchy_mount *mount = &hierarchy->mounts[index];

	free(mount->path);
	fd_close(&mount->base_fd);
	hierarchy->mount_count--;
	memmove(mount, mount + 1, (hierarchy->mount_count - index) * sizeof(*mount));
	for (int i = 0; i < CONTROLLER_COUNT; i++) {
		if (hierarchy->where[i] == (int)index)
			hierarchy->where[i] = -1;
		else if (hierarchy->where[i] > (int)index)
			hierarchy->where[i]--;
	}
	if (hierarchy->unified > (int)index)
		hierarchy->unified--;
	else if (hierarchy->unified == (int)index)
		hierarchy->unified = -1;
}

void hierarchy_forget_unified(struct hierarchy *hierarchy)
{
	forget_mount(hierarchy, (size_t)hierarchy->unified);
}

void hierarchy_settle_layout(struct hierarchy *hierarchy)
{
	bool v1 = false;

	if (hierarchy->unified >= 0) {
		/* cgroup2 freezes by itself, and a BPF program guards devices better than v1 does. */
		forget_controller(hierarchy, CONTROLLER_DEVICES);
		forget_controller(hierarchy, CONTROLLER_FREEZER);
	}
	for (size_t i = hierarchy->mount_count; i-- > 0;) {
		if (!hierarchy->mounts[i].v2 && !hierarchy->mounts[i].in_use)
			forget_mount(hierarchy, i);
		else if (!hierarchy->mounts[i].v2)
			v1 = true;
	}
	hierarchy->layout = hierarchy->unified < 0 ? HIERARCHY_LEGACY
			    : v1                   ? HIERARCHY_HYBRID
						   : HIERARCHY_UNIFIED;
}
