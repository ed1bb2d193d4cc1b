/*
 * A group's making, changing and removing where each step fails in turn, and the files that limits
 * become in each layout. The hierarchies are temporary directories; what would reach cgroup files is
 * recorded. tests/system/cgroup has the real ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <libcgroup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/group_file.h"
#include "sandbox/taskgroup_internal.h"

#define WORKLOAD "workloads/batch/t-42.1"

/* ---- what is called ------------------------------------------------------------------------ */

static struct {
	char log[4096]; /* "file=value;" of each write */
	int fail_at;    /* the write with this number, from 0, fails; -1: none does */
	int count;
} writes;

static int modify_fails_at = -1, modify_count, modify_code;

int __wrap_group_file_write(int dir_fd, const char *file, const char *value)
{
	size_t used = strlen(writes.log);

	assert_true(dir_fd >= 0);
	if (writes.count++ == writes.fail_at)
		return -ENOSPC;
	(void)snprintf(writes.log + used, sizeof(writes.log) - used, "%s=%s;", file, value);
	return 0;
}

int __wrap_cgroup_modify_cgroup(struct cgroup *group)
{
	assert_non_null(group);
	return modify_count++ == modify_fails_at ? modify_code : 0;
}

/* ---- hosts --------------------------------------------------------------------------------- */

static char root[] = "/tmp/berth-taskgroup-XXXXXX";
static struct hierarchy unified, hybrid;

static void add_mount(struct hierarchy *hierarchy, const char *name, bool v2)
{
	struct hierarchy_mount *mount = &hierarchy->mounts[hierarchy->mount_count++];
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", root, name);
	assert_int_equal(mkdir(path, 0755), 0);
	mount->path = strdup(path);
	mount->v2 = v2;
	strcat(path, "/berth");
	assert_int_equal(mkdir(path, 0755), 0);
	mount->base_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(mount->base_fd, "workloads", 0755), 0);
	assert_int_equal(mkdirat(mount->base_fd, "workloads/batch", 0755), 0);
}

static void add_feature(struct hierarchy *hierarchy, const char *name, bool supported,
			const char *sentence)
{
	struct hierarchy_feature *feature = &hierarchy->features[hierarchy->feature_count++];

	feature->name = name;
	feature->supported = supported;
	strcpy(feature->sentence, sentence);
}

static int make_hosts(void **state)
{
	assert_non_null(mkdtemp(root));
	unified = (struct hierarchy){ .layout = HIERARCHY_UNIFIED, .base = (char *)"/berth" };
	add_mount(&unified, "v2", true);
	unified.where[CONTROLLER_CPUACCT] = unified.where[CONTROLLER_DEVICES] =
		unified.where[CONTROLLER_FREEZER] = -1;
	unified.cpuset_cpus = (char *)"0-3";
	unified.cpuset_mems = (char *)"0";
	add_feature(&unified, "cgroup.memory.high", true, "memory.high");
	add_feature(&unified, "cgroup.memory.low", true, "memory.low");
	add_feature(&unified, "cgroup.memory.swap", true, "memory.swap.max");
	add_feature(&unified, "cgroup.cpu.burst", true, "cpu.max.burst");
	add_feature(&unified, "cgroup.cpuset", true, "cpuset.cpus");
	add_feature(&unified, "cgroup.io.max", true, "io.max");
	add_feature(&unified, "cgroup.io.weight", true, "io.bfq.weight");

	hybrid = (struct hierarchy){ .layout = HIERARCHY_HYBRID, .base = (char *)"/berth" };
	add_mount(&hybrid, "cpu", false);
	add_mount(&hybrid, "memory", false);
	add_mount(&hybrid, "pids", false);
	add_mount(&hybrid, "blkio", false);
	add_mount(&hybrid, "bare", true);
	for (int i = 0; i < CONTROLLER_COUNT; i++)
		hybrid.where[i] = -1;
	hybrid.where[CONTROLLER_CPU] = hybrid.where[CONTROLLER_CPUACCT] = 0;
	hybrid.where[CONTROLLER_MEMORY] = 1;
	hybrid.where[CONTROLLER_PIDS] = 2;
	hybrid.where[CONTROLLER_IO] = 3;
	hybrid.unified = 4;
	add_feature(&hybrid, "cgroup.memory.high", false, "v1 has none");
	add_feature(&hybrid, "cgroup.memory.swap", true, "memory.memsw.limit_in_bytes");
	add_feature(&hybrid, "cgroup.cpu.burst", true, "cpu.cfs_burst_us");
	add_feature(&hybrid, "cgroup.cpuset", false, "no cpuset controller");
	add_feature(&hybrid, "cgroup.io.max", true, "blkio.throttle.read_bps_device");
	return 0;
}

static int remove_hosts(void **state)
{
	char command[128];

	for (size_t i = 0; i < hybrid.mount_count; i++) {
		(void)close(hybrid.mounts[i].base_fd);
		free(hybrid.mounts[i].path);
	}
	(void)close(unified.mounts[0].base_fd);
	free(unified.mounts[0].path);
	(void)snprintf(command, sizeof(command), "rm -r %s", root);
	return system(command);
}

static int reset(void **state)
{
	memset(&writes, 0, sizeof(writes));
	writes.fail_at = modify_fails_at = -1;
	modify_count = 0;
	return 0;
}

static bool anywhere(const struct hierarchy *hierarchy, const char *path)
{
	for (size_t i = 0; i < hierarchy->mount_count; i++) {
		if (group_file_exists(hierarchy->mounts[i].base_fd, path))
			return true;
	}
	return false;
}

/* rmdir works here as on cgroupfs: the directories have no files unless a test makes some. */
static void remove_dirs(const struct hierarchy *hierarchy, const char *path)
{
	for (size_t i = 0; i < hierarchy->mount_count; i++)
		(void)unlinkat(hierarchy->mounts[i].base_fd, path, AT_REMOVEDIR);
}

/* ---- limits become files ------------------------------------------------------------------- */

static struct taskgroup_limits many_limits(void)
{
	struct taskgroup_limits limits;

	taskgroup_limits_init(&limits);
	limits.cpu_millis = 1500;
	limits.cpu_burst_us = 5000;
	limits.cpu_weight = 200;
	limits.memory_max_bytes = 1000;
	limits.memory_swap_bytes = 500;
	limits.pids_max = 10;
	limits.io_limit_count = 1;
	limits.io_limits[0] = (struct taskgroup_io_limit){ .major = 8,
							   .minor = 16,
							   .read_bytes_per_s = 1000,
							   .write_bytes_per_s = TASKGROUP_UNLIMITED,
							   .read_ops_per_s = TASKGROUP_UNSET,
							   .write_ops_per_s = 7 };
	return limits;
}

static void assert_translates(const struct hierarchy *hierarchy,
			      const struct taskgroup_limits *limits,
			      const struct taskgroup_v1_memory *memory, const char *expected)
{
	struct settings settings;
	char text[4096] = "";

	taskgroup_translate(hierarchy, limits, memory, &settings);
	for (size_t i = 0; i < settings.count; i++) {
		strcat(text, settings.rows[i].file);
		strcat(text, "=");
		strcat(text, settings.rows[i].value);
		strcat(text, ";");
	}
	assert_string_equal(text, expected);
}

static void limits_become_v2_files(void **state)
{
	struct taskgroup_limits limits = many_limits();

	limits.memory_high_bytes = 900;
	limits.memory_low_bytes = 100;
	limits.io_weight = 5000; /* bfq ends at 1000 */
	strcpy(limits.cpuset_cpus, "0-1");
	strcpy(limits.cpuset_mems, "0");
	assert_translates(&unified, &limits, NULL,
			  "memory.max=1000;memory.swap.max=500;memory.high=900;memory.low=100;"
			  "pids.max=10;cpu.weight=200;cpu.max.burst=0;cpu.max=150000 100000;"
			  "cpu.max.burst=5000;cpuset.cpus=0-1;cpuset.mems=0;io.bfq.weight=1000;"
			  "io.max=8:16 rbps=1000 wbps=max wiops=7;");
}

static void limits_become_v1_files(void **state)
{
	struct taskgroup_limits limits = many_limits();

	assert_translates(&hybrid, &limits, NULL,
			  "memory.limit_in_bytes=1000;memory.memsw.limit_in_bytes=1500;pids.max=10;"
			  "cpu.shares=2048;cpu.cfs_burst_us=0;cpu.cfs_quota_us=150000;"
			  "cpu.cfs_burst_us=5000;blkio.throttle.read_bps_device=8:16 1000;"
			  "blkio.throttle.write_bps_device=8:16 0;"
			  "blkio.throttle.write_iops_device=8:16 7;");
}

static void nothing_set_writes_nothing(void **state)
{
	struct taskgroup_limits limits;

	taskgroup_limits_init(&limits);
	assert_translates(&unified, &limits, NULL, "");
	assert_translates(&hybrid, &limits, NULL, "");
}

static void no_limit_is_said_in_each_files_own_words(void **state)
{
	struct taskgroup_limits limits;

	taskgroup_limits_init(&limits);
	limits.cpu_millis = limits.memory_max_bytes = limits.memory_swap_bytes = limits.pids_max =
		TASKGROUP_UNLIMITED;
	assert_translates(&unified, &limits, NULL,
			  "memory.max=max;memory.swap.max=max;pids.max=max;cpu.max=max 100000;");
	assert_translates(&hybrid, &limits, &(struct taskgroup_v1_memory){ 1000, 1500 },
			  "memory.memsw.limit_in_bytes=-1;memory.limit_in_bytes=-1;pids.max=max;"
			  "cpu.cfs_quota_us=-1;");
}

static void v1_memory_is_raised_from_above_and_lowered_from_below(void **state)
{
	const struct taskgroup_v1_memory now = { 1000, 1500 };
	struct taskgroup_limits limits;

	taskgroup_limits_init(&limits);
	limits.memory_max_bytes = 2000; /* and 500 of swap as before */
	assert_translates(&hybrid, &limits, &now,
			  "memory.memsw.limit_in_bytes=2500;memory.limit_in_bytes=2000;");
	limits.memory_max_bytes = 200;
	assert_translates(&hybrid, &limits, &now,
			  "memory.limit_in_bytes=200;memory.memsw.limit_in_bytes=700;");
	taskgroup_limits_init(&limits);
	limits.memory_swap_bytes = 0;
	assert_translates(&hybrid, &limits, &now,
			  "memory.limit_in_bytes=1000;memory.memsw.limit_in_bytes=1000;");
}

static void what_a_host_cannot_enforce_is_named(void **state)
{
	struct taskgroup_limits limits;
	struct err err = { 0 };

	taskgroup_limits_init(&limits);
	limits.memory_high_bytes = 1 << 20;
	assert_int_equal(taskgroup_limits_check(&unified, &limits, &err), 0);
	assert_int_equal(taskgroup_limits_check(&hybrid, &limits, &err), -EOPNOTSUPP);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_string_equal(err.text,
			    "cannot enforce memory_high_bytes on this hybrid host: v1 has none");
	taskgroup_limits_init(&limits);
	strcpy(limits.cpuset_cpus, "0");
	assert_int_equal(taskgroup_limits_check(&hybrid, &limits, &err), -EOPNOTSUPP);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
}

static void a_value_that_is_none_is_invalid(void **state)
{
	const struct {
		size_t offset;
		uint64_t value;
	} rows[] = {
		{ offsetof(struct taskgroup_limits, cpu_millis), 9 },
		{ offsetof(struct taskgroup_limits, cpu_millis), RANGE_CPU_MILLIS_MAX + 1 },
		{ offsetof(struct taskgroup_limits, cpu_weight), 0 },
		{ offsetof(struct taskgroup_limits, cpu_weight), TASKGROUP_UNLIMITED },
		{ offsetof(struct taskgroup_limits, memory_max_bytes), 0 },
		{ offsetof(struct taskgroup_limits, memory_swap_bytes), UINT64_C(1) << 63 },
		{ offsetof(struct taskgroup_limits, pids_max), 0 },
		{ offsetof(struct taskgroup_limits, pids_max), RANGE_PIDS_MAX + 1 },
	};
	struct taskgroup_limits limits;
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		taskgroup_limits_init(&limits);
		memcpy((char *)&limits + rows[i].offset, &rows[i].value, sizeof(rows[i].value));
		if (taskgroup_limits_check(&unified, &limits, &err) != -EINVAL)
			fail_msg("row %zu was taken", i);
		assert_int_equal(err.kind, ERR_INVALID);
	}
	taskgroup_limits_init(&limits);
	strcpy(limits.cpuset_cpus, "4");
	assert_int_equal(taskgroup_limits_check(&unified, &limits, &err), -EINVAL);
	assert_string_equal(err.text, "cpuset_cpus is 4, but this host has 0-3");
	taskgroup_limits_init(&limits);
	limits.cpu_millis = 100;
	limits.cpu_burst_us = 10001;
	assert_int_equal(taskgroup_limits_check(&unified, &limits, &err), -EINVAL);
	limits = many_limits();
	limits.io_limits[0].read_ops_per_s = 0;
	assert_int_equal(taskgroup_limits_check(&unified, &limits, &err), -EINVAL);
}

/* ---- paths --------------------------------------------------------------------------------- */

static void a_name_is_one_harmless_component(void **state)
{
	static const char *const bad[] = { "",         "..", ".",  "a/b", "-x", "a b", "a\n",
					   "\xc3\xa9", "A",  "a_", "a*",  ".a", "a..b" };
	char path[TASKGROUP_PATH_MAX], longest[130];
	struct err err = { 0 };

	assert_int_equal(taskgroup_path(path, BAND_BEST_EFFORT, "t-42.1", "app.1", &err), 0);
	assert_string_equal(path, "workloads/best-effort/t-42.1/app.1");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(taskgroup_path(path, BAND_BATCH, bad[i], NULL, &err), -EINVAL);
		assert_int_equal(taskgroup_path(path, BAND_BATCH, "a", bad[i], &err), -EINVAL);
		assert_int_equal(err.kind, ERR_INVALID);
	}
	memset(longest, 'a', sizeof(longest));
	longest[129] = '\0';
	assert_int_equal(taskgroup_path(path, BAND_BATCH, longest, NULL, &err), -EINVAL);
	assert_int_equal(taskgroup_path(path, BAND_COUNT, "a", NULL, &err), -EINVAL);
}

static void only_paths_of_the_tree_are_made(void **state)
{
	static const struct {
		const char *path;
		enum taskgroup_level level;
	} bad[] = {
		{ "workloads/batch", TASKGROUP_WORKLOAD },
		{ "workloads/batch/", TASKGROUP_WORKLOAD },
		{ "workloads/batch/..", TASKGROUP_WORKLOAD },
		{ "workloads/batch/../../x", TASKGROUP_CONTAINER },
		{ "workloads/other/a", TASKGROUP_WORKLOAD },
		{ "workloads/batch/a/b/c", TASKGROUP_CONTAINER },
		{ "workloads/batch/a", TASKGROUP_CONTAINER },
		{ "workloads/batch/a/b", TASKGROUP_WORKLOAD },
		{ "monitors/a", TASKGROUP_WORKLOAD },
		{ "/workloads/batch/a", TASKGROUP_WORKLOAD },
		{ "", TASKGROUP_WORKLOAD },
	};
	struct taskgroup_limits limits;
	struct taskgroup *group = NULL;
	struct err err = { 0 };

	taskgroup_limits_init(&limits);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (taskgroup_create(&unified, bad[i].path, bad[i].level, &limits, &group, &err) !=
		    -EINVAL)
			fail_msg("%s was made", bad[i].path);
		assert_int_equal(
			taskgroup_open(&unified, bad[i].path, bad[i].level, 0, &group, &err),
			-EINVAL);
	}
	assert_null(group);
}

/* ---- making -------------------------------------------------------------------------------- */

static void a_group_is_made_with_its_limits_and_controllers(void **state)
{
	struct taskgroup_limits limits;
	struct taskgroup *group = NULL;
	struct err err = { 0 };

	taskgroup_limits_init(&limits);
	limits.pids_max = 5;
	assert_int_equal(
		taskgroup_create(&unified, WORKLOAD, TASKGROUP_WORKLOAD, &limits, &group, &err), 0);
	assert_string_equal(writes.log, "pids.max=5;"
					"cgroup.subtree_control=+cpu +cpuset +memory +pids +io;");
	assert_true(taskgroup_clone_fd(group) >= 0);
	assert_true(taskgroup_id(group) != 0);
	taskgroup_free(group);
	remove_dirs(&unified, WORKLOAD);
}

/* What is only called as one is not. */
static void a_group_that_was_made_is_marked(void **state)
{
	const struct hierarchy *hosts[] = { &unified, &hybrid };
	struct taskgroup_limits limits;
	struct err err = { 0 };

	if (geteuid() != 0)
		skip(); /* only root can mark */
	taskgroup_limits_init(&limits);
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct taskgroup *group = NULL;

		assert_int_equal(taskgroup_create(hosts[i], WORKLOAD, TASKGROUP_WORKLOAD, &limits,
						  &group, &err),
				 0);
		assert_true(taskgroup_is_marked(group));
		taskgroup_free(group);
		remove_dirs(hosts[i], WORKLOAD);

		for (size_t j = 0; j < hosts[i]->mount_count; j++)
			assert_int_equal(mkdirat(hosts[i]->mounts[j].base_fd, WORKLOAD, 0755), 0);
		assert_int_equal(
			taskgroup_open(hosts[i], WORKLOAD, TASKGROUP_WORKLOAD, 0, &group, &err), 0);
		assert_false(taskgroup_is_marked(group));
		taskgroup_mark(group);
		assert_true(taskgroup_is_marked(group));
		taskgroup_free(group);
		remove_dirs(hosts[i], WORKLOAD);
	}
}

/* Fail the first write, then the second, until none is left to fail. */
static void whichever_write_fails_nothing_is_left(void **state)
{
	struct taskgroup_limits limits = many_limits();
	struct taskgroup *group = NULL;
	int failed = 0, r;

	limits.memory_max_bytes = 1 << 20;
	for (;;) {
		struct err err = { 0 };

		reset(state);
		writes.fail_at = failed;
		r = taskgroup_create(&hybrid, WORKLOAD, TASKGROUP_WORKLOAD, &limits, &group, &err);
		if (r == 0)
			break;
		failed++;
		assert_int_equal(r, -ENOSPC);
		assert_int_equal(err.kind, ERR_INTERNAL);
		assert_non_null(strstr(err.text, "t-42.1"));
		assert_null(group);
		assert_false(anywhere(&hybrid, WORKLOAD));
	}
	assert_int_equal(failed, 10);
	taskgroup_free(group);
	remove_dirs(&hybrid, WORKLOAD);
}

static void a_leftover_in_one_hierarchy_is_refused_and_stays(void **state)
{
	struct taskgroup_limits limits;

	taskgroup_limits_init(&limits);
	for (size_t i = 0; i < hybrid.mount_count; i++) {
		struct taskgroup *group = NULL;
		struct err err = { 0 };

		assert_int_equal(mkdirat(hybrid.mounts[i].base_fd, WORKLOAD, 0755), 0);
		assert_int_equal(taskgroup_create(&hybrid, WORKLOAD, TASKGROUP_WORKLOAD, &limits,
						  &group, &err),
				 -EEXIST);
		assert_int_equal(err.kind, ERR_EXISTS);
		assert_null(group);
		/* This one and no other. */
		assert_int_equal(unlinkat(hybrid.mounts[i].base_fd, WORKLOAD, AT_REMOVEDIR), 0);
		assert_false(anywhere(&hybrid, WORKLOAD));
	}
}

/* ---- the library's answers ----------------------------------------------------------------- */

static struct taskgroup *make_group(const struct hierarchy *hierarchy)
{
	struct taskgroup_limits limits;
	struct taskgroup *group = NULL;
	struct err err = { 0 };

	taskgroup_limits_init(&limits);
	assert_int_equal(
		taskgroup_create(hierarchy, WORKLOAD, TASKGROUP_WORKLOAD, &limits, &group, &err),
		0);
	memset(&writes, 0, sizeof(writes));
	writes.fail_at = -1;
	return group;
}

static void what_is_in_use_is_not_removed(void **state)
{
	struct taskgroup *group = make_group(&hybrid);
	const struct hierarchy_mount *identity = &hybrid.mounts[hybrid.unified];
	const struct hierarchy_mount *other = &hybrid.mounts[hybrid.unified == 0];
	struct err err = { 0 };

	assert_int_equal(mkdirat(identity->base_fd, WORKLOAD "/below", 0755), 0);
	assert_int_equal(taskgroup_remove(group, &err), -EBUSY);
	assert_int_equal(faccessat(other->base_fd, WORKLOAD, F_OK, 0), 0);
	assert_int_equal(unlinkat(identity->base_fd, WORKLOAD "/below", AT_REMOVEDIR), 0);
	assert_int_equal(mkdirat(other->base_fd, WORKLOAD "/below", 0755), 0);
	assert_int_equal(taskgroup_remove(group, &err), -EBUSY);
	assert_int_equal(faccessat(identity->base_fd, WORKLOAD, F_OK, 0), -1);
	assert_int_equal(unlinkat(other->base_fd, WORKLOAD "/below", AT_REMOVEDIR), 0);
	assert_int_equal(taskgroup_remove(group, &err), 0);
	assert_int_equal(taskgroup_remove(group, &err), 0); /* gone is what was asked for */
	taskgroup_free(group);
}

static void a_process_enters_each_v1_mount_by_itself(void **state)
{
	struct taskgroup *group = make_group(&hybrid);
	struct err err = { 0 };

	assert_int_equal(taskgroup_enter(group, &err), 0);
	assert_string_equal(writes.log, WORKLOAD "/tasks=0;" WORKLOAD "/tasks=0;" WORKLOAD
						 "/tasks=0;" WORKLOAD "/tasks=0;");
	writes.fail_at = writes.count + 2;
	assert_int_equal(taskgroup_enter(group, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "/pids/berth/" WORKLOAD));
	taskgroup_free(group);
	remove_dirs(&hybrid, WORKLOAD);
}

static void in_unified_there_is_nothing_to_enter(void **state)
{
	struct taskgroup *group = make_group(&unified);
	struct err err = { 0 };

	assert_int_equal(taskgroup_enter(group, &err), 0);
	assert_int_equal(writes.count, 0);
	taskgroup_free(group);
	remove_dirs(&unified, WORKLOAD);
}

static void put_file(const struct taskgroup *group, const char *file, const char *text)
{
	cleanup_fd int fd = openat(group->dir_fds[0], file, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static const char *const group_files[] = { "memory.current", "memory.stat", "memory.max",
					   "pids.max",       "cpu.max",     "io.max",
					   "cpuset.cpus" };

static struct taskgroup *make_group_with_files(void)
{
	static const char *const texts[] = {
		"500\n", "anon 100\nfile 400\n", "2097152\n",
		"50\n",  "max 100000\n",         "8:0 rbps=1 wbps=max riops=max wiops=max\n",
		"\n"
	};
	struct taskgroup *group = make_group(&unified);

	for (size_t i = 0; i < ARRAY_SIZE(group_files); i++)
		put_file(group, group_files[i], texts[i]);
	return group;
}

static void end_group_with_files(struct taskgroup *group)
{
	for (size_t i = 0; i < ARRAY_SIZE(group_files); i++)
		(void)unlinkat(group->dir_fds[0], group_files[i], 0);
	taskgroup_free(group);
	remove_dirs(&unified, WORKLOAD);
}

static void a_refused_change_sets_back_what_went_before_in_reverse(void **state)
{
	struct taskgroup *group = make_group_with_files();
	struct taskgroup_limits limits;
	struct err err = { 0 };

	taskgroup_limits_init(&limits);
	limits.memory_max_bytes = 1 << 20;
	limits.pids_max = 7;
	limits.cpu_millis = 100;
	strcpy(limits.cpuset_cpus, "1");
	limits.io_limit_count = 2;
	for (uint32_t i = 0; i < 2; i++)
		limits.io_limits[i] = (struct taskgroup_io_limit){
			8, i, 9, TASKGROUP_UNSET, TASKGROUP_UNSET, TASKGROUP_UNSET
		};
	limits.io_limits[1].minor = 16;
	modify_fails_at = 5;
	modify_code = ECGROUPVALUENOTEXIST;
	assert_true(taskgroup_update(group, &limits, &err) < 0);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.text, "io.max"));
	assert_string_equal(writes.log,
			    "io.max=8:0 rbps=1 wbps=max riops=max wiops=max;cpuset.cpus=\n;"
			    "cpu.max=max 100000;pids.max=50;memory.max=2097152;");
	end_group_with_files(group);
}

static void limits_that_stay_mixed_are_said(void **state)
{
	struct taskgroup *group = make_group_with_files();
	struct taskgroup_limits limits;
	struct err err = { 0 };

	taskgroup_limits_init(&limits);
	limits.memory_max_bytes = 1 << 20;
	limits.pids_max = 7;
	modify_fails_at = 1;
	modify_code = ECGROUPVALUENOTEXIST;
	writes.fail_at = 0;
	assert_true(taskgroup_update(group, &limits, &err) < 0);
	assert_int_equal(err.kind, ERR_INTERNAL);
	assert_non_null(strstr(err.text, "its limits are mixed"));
	end_group_with_files(group);
}

static void memory_that_cannot_be_reclaimed_is_not_taken(void **state)
{
	struct taskgroup *group = make_group_with_files();
	struct taskgroup_limits limits;
	struct err err = { 0 };

	put_file(group, "memory.current", "9000000");
	taskgroup_limits_init(&limits);
	limits.memory_max_bytes = 1 << 20;
	assert_int_equal(taskgroup_update(group, &limits, &err), -EBUSY);
	assert_int_equal(err.kind, ERR_PRECONDITION);
	assert_int_equal(modify_count, 0);
	put_file(group, "memory.stat", "anon 100\nfile 8500000\n");
	assert_int_equal(taskgroup_update(group, &limits, &err), 0);
	assert_int_equal(modify_count, 1);
	end_group_with_files(group);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(limits_become_v2_files, reset),
		cmocka_unit_test_setup(limits_become_v1_files, reset),
		cmocka_unit_test_setup(nothing_set_writes_nothing, reset),
		cmocka_unit_test_setup(no_limit_is_said_in_each_files_own_words, reset),
		cmocka_unit_test_setup(v1_memory_is_raised_from_above_and_lowered_from_below,
				       reset),
		cmocka_unit_test_setup(what_a_host_cannot_enforce_is_named, reset),
		cmocka_unit_test_setup(a_value_that_is_none_is_invalid, reset),
		cmocka_unit_test_setup(a_name_is_one_harmless_component, reset),
		cmocka_unit_test_setup(only_paths_of_the_tree_are_made, reset),
		cmocka_unit_test_setup(a_group_is_made_with_its_limits_and_controllers, reset),
		cmocka_unit_test_setup(a_group_that_was_made_is_marked, reset),
		cmocka_unit_test_setup(whichever_write_fails_nothing_is_left, reset),
		cmocka_unit_test_setup(a_leftover_in_one_hierarchy_is_refused_and_stays, reset),
		cmocka_unit_test_setup(what_is_in_use_is_not_removed, reset),
		cmocka_unit_test_setup(a_process_enters_each_v1_mount_by_itself, reset),
		cmocka_unit_test_setup(in_unified_there_is_nothing_to_enter, reset),
		cmocka_unit_test_setup(a_refused_change_sets_back_what_went_before_in_reverse,
				       reset),
		cmocka_unit_test_setup(limits_that_stay_mixed_are_said, reset),
		cmocka_unit_test_setup(memory_that_cannot_be_reclaimed_is_not_taken, reset),
	};

	return cmocka_run_group_tests(tests, make_hosts, remove_hosts);
}
