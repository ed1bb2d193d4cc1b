/* Groups on the running kernel: made, found again, frozen, killed, removed, and nothing left. */
#include "tests/system/cgroup/groups.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/device_filter.h"

/* ---- the tree ------------------------------------------------------------------------------ */

static void the_tree_is_made_with_the_weights_of_the_bands(void **state)
{
	static const char *const weights[][2] = {
		{ "1000", "10240" }, { "100", "1024" }, { "30", "307" }, { "5", "51" }
	};
	const struct hierarchy_mount *mount = &hierarchy->mounts[hierarchy->where[CONTROLLER_CPU]];
	bool v2 = hierarchy_is_v2(hierarchy, CONTROLLER_CPU);

	for (int i = 0; i < BAND_COUNT; i++) {
		char file[128], text[64];

		(void)snprintf(file, sizeof(file), "workloads/%s/%s", hierarchy_band_name(i),
			       v2 ? "cpu.weight" : "cpu.shares");
		assert_true(group_file_read(mount->base_fd, file, text, sizeof(text)) > 0);
		assert_string_equal(text, weights[i][!v2]);
	}
	for (size_t i = 0; i < hierarchy->mount_count; i++) {
		assert_true(group_file_exists(hierarchy->mounts[i].base_fd, "supervisor"));
		assert_true(group_file_exists(hierarchy->mounts[i].base_fd, "monitors"));
	}
}

static void a_restart_keeps_what_runs(void **state)
{
	struct hierarchy_options options = { .base = hierarchy->base, .trust_base = true };
	struct taskgroup_limits limits;
	struct hierarchy *again = NULL;
	struct taskgroup *found = NULL;
	struct err err = { 0 };
	struct pair pair;
	pid_t pid;

	taskgroup_limits_init(&limits);
	limits.pids_max = 17;
	make_pair(&limits, &pair);
	pid = start(pair.container, run_forever, NULL);
	must(hierarchy_discover(&options, &again, &err));
	must(taskgroup_open(again, taskgroup_name(pair.container), TASKGROUP_CONTAINER,
			    taskgroup_id(pair.container), &found, &err));
	assert_file(found, CONTROLLER_PIDS, "pids.max", "pids.max", "17", "17");
	assert_int_equal(kill(pid, 0), 0);
	taskgroup_free(found);
	hierarchy_free(again);
	end_pair(&pair);
}

static void every_feature_has_a_sentence(void **state)
{
	print_message("layout %s, base %s, delegated %d\n",
		      hierarchy_layout_name(hierarchy->layout), hierarchy->base,
		      hierarchy->delegated);
	for (size_t i = 0; i < hierarchy->feature_count; i++) {
		const struct hierarchy_feature *feature = &hierarchy->features[i];

		assert_true(feature->sentence[0]);
		print_message("  %-26s %-3s %s\n", feature->name, feature->supported ? "yes" : "no",
			      feature->sentence);
	}
}

/* ---- making and removing ------------------------------------------------------------------- */

static void assert_absent_everywhere(const char *path)
{
	for (size_t i = 0; i < hierarchy->mount_count; i++)
		assert_false(group_file_exists(hierarchy->mounts[i].base_fd, path));
}

static void a_failed_create_leaves_nothing(void **state)
{
	static const char path[] = "workloads/batch/nothing.1";
	struct taskgroup_limits limits;
	struct taskgroup *group = NULL;
	struct err err = { 0 };

	taskgroup_limits_init(&limits);
	limits.io_limit_count = 1;
	limits.io_limits[0] = (struct taskgroup_io_limit){ .major = 4000,
							   .minor = 1,
							   .read_bytes_per_s = 1000,
							   .write_bytes_per_s = TASKGROUP_UNSET,
							   .read_ops_per_s = TASKGROUP_UNSET,
							   .write_ops_per_s = TASKGROUP_UNSET };
	assert_true(taskgroup_create(hierarchy, path, TASKGROUP_WORKLOAD, &limits, &group, &err) <
		    0);
	print_message("  %s\n", err.text);
	assert_null(group);
	assert_absent_everywhere(path);
	taskgroup_limits_init(&limits);
	assert_true(taskgroup_create(hierarchy, "workloads/batch/absent.1/app.1",
				     TASKGROUP_CONTAINER, &limits, &group, &err) < 0);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void a_group_that_is_there_is_refused_and_stays(void **state)
{
	struct taskgroup_limits limits;
	struct taskgroup *second = NULL;
	struct err err = { 0 };
	struct pair pair;
	bool populated = false;

	taskgroup_limits_init(&limits);
	make_pair(NULL, &pair);
	(void)start(pair.container, run_forever, NULL);
	assert_true(taskgroup_create(hierarchy, taskgroup_name(pair.container), TASKGROUP_CONTAINER,
				     &limits, &second, &err) < 0);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(taskgroup_is_populated(pair.container, &populated), 0);
	assert_true(populated);
	end_pair(&pair);
}

static void a_group_with_processes_is_not_removed_nor_are_they_moved(void **state)
{
	char file[64], before[4096], after[4096];
	struct err err = { 0 };
	struct pair pair;
	pid_t pid;

	make_pair(NULL, &pair);
	pid = start(pair.container, run_forever, NULL);
	(void)snprintf(file, sizeof(file), "/proc/%d/cgroup", (int)pid);
	assert_true(group_file_read(AT_FDCWD, file, before, sizeof(before)) > 0);
	assert_int_equal(taskgroup_remove(pair.container, &err), -EBUSY);
	assert_int_equal(taskgroup_remove(pair.workload, &err), -EBUSY);
	assert_true(group_file_read(AT_FDCWD, file, after, sizeof(after)) > 0);
	assert_string_equal(before, after);
	end_pair(&pair);
}

static void a_process_is_in_the_group_in_every_hierarchy(void **state)
{
	char file[64], text[4096];
	struct pair pair;
	size_t seen = 0;
	pid_t pid;

	make_pair(NULL, &pair);
	pid = start(pair.container, run_forever, NULL);
	(void)snprintf(file, sizeof(file), "/proc/%d/cgroup", (int)pid);
	assert_true(group_file_read(AT_FDCWD, file, text, sizeof(text)) > 0);
	for (char *at = strstr(text, taskgroup_name(pair.container)); at;
	     at = strstr(at + 1, taskgroup_name(pair.container)))
		seen++;
	assert_int_equal(seen, hierarchy->mount_count);
	end_pair(&pair);
}

static void an_opened_group_is_the_recorded_one_or_none(void **state)
{
	char path[TASKGROUP_PATH_MAX];
	struct taskgroup *found = NULL;
	struct err err = { 0 };
	struct pair pair;
	uint64_t id;

	make_pair(NULL, &pair);
	id = taskgroup_id(pair.container);
	assert_true(id != 0);
	strcpy(path, taskgroup_name(pair.container));
	must(taskgroup_open(hierarchy, path, TASKGROUP_CONTAINER, id, &found, &err));
	taskgroup_free(found);
	assert_true(taskgroup_open(hierarchy, path, TASKGROUP_CONTAINER, id + 1, &found, &err) < 0);
	assert_int_equal(err.kind, ERR_PRECONDITION);
	end_pair(&pair);
	assert_true(taskgroup_open(hierarchy, path, TASKGROUP_CONTAINER, id, &found, &err) < 0);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void a_half_made_group_can_be_opened_and_removed(void **state)
{
	static const char path[] = "workloads/batch/half.1";
	const struct hierarchy_mount *first = &hierarchy->mounts[0];
	struct taskgroup *found = NULL;
	struct err err = { 0 };
	bool populated = true;

	assert_int_equal(mkdirat(first->base_fd, path, 0755), 0);
	must(taskgroup_open(hierarchy, path, TASKGROUP_WORKLOAD, 0, &found, &err));
	must(taskgroup_kill(found, &err));
	assert_int_equal(taskgroup_is_populated(found, &populated), 0);
	assert_false(populated);
	assert_int_equal(taskgroup_remove(found, &err), 0);
	assert_absent_everywhere(path);
	taskgroup_free(found);
}

static int make_use_and_remove(void *argument)
{
	char path[TASKGROUP_PATH_MAX];
	struct taskgroup_limits limits;
	struct taskgroup *group = NULL;
	struct err err = { 0 };
	pid_t pid;
	int r;

	taskgroup_limits_init(&limits);
	limits.pids_max = 10;
	if (taskgroup_path(path, BAND_PRODUCTION, argument, "app.2", &err) < 0 ||
	    taskgroup_create(hierarchy, path, TASKGROUP_CONTAINER, &limits, &group, &err) < 0)
		return 1;
	pid = start(group, run_forever, NULL);
	limits.pids_max = 20;
	if (taskgroup_update(group, &limits, &err) < 0)
		return 2;
	do
		r = taskgroup_kill(group, &err);
	while (r == 0 && taskgroup_wait(group, TASKGROUP_EMPTY, 100) == -ETIME);
	if (r < 0 || waitpid(pid, NULL, 0) != pid || taskgroup_remove(group, &err) != 0)
		return 3;
	taskgroup_free(group);
	return 0;
}

/* libcgroup was initialised by the parent only. */
static void a_forked_monitor_can_do_all_of_it(void **state)
{
	struct pair pair;
	char name[32];
	pid_t pid;

	make_pair(NULL, &pair);
	(void)snprintf(name, sizeof(name), "w%u.1", last_pair());
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(make_use_and_remove(name));
	assert_int_equal(end_of(pid).si_status, 0);
	end_pair(&pair);
}

/* ---- freezing, killing, knowing ------------------------------------------------------------ */

static int count_for_ever(void *argument)
{
	for (volatile uint64_t *count = argument;;)
		++*count;
	return 0;
}

static void a_frozen_group_does_nothing_until_it_is_thawed(void **state)
{
	volatile uint64_t *count = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct err err = { 0 };
	struct pair pair;
	uint64_t seen;

	make_pair(NULL, &pair);
	(void)start(pair.container, count_for_ever, (void *)count);
	while (*count == 0)
		(void)sched_yield();
	must(taskgroup_freeze(pair.container, true, &err));
	assert_int_equal(taskgroup_wait(pair.container, TASKGROUP_FROZEN, WAIT_MS), 0);
	seen = *count;
	/* It is populated, so this looks on for 100 ms. */
	assert_int_equal(taskgroup_wait(pair.container, TASKGROUP_EMPTY, 100), -ETIME);
	assert_int_equal(*count, seen);
	must(taskgroup_freeze(pair.container, false, &err));
	assert_int_equal(taskgroup_wait(pair.container, TASKGROUP_THAWED, WAIT_MS), 0);
	while (*count == seen)
		(void)sched_yield();
	end_pair(&pair);
	(void)munmap((void *)count, 4096);
}

static void a_frozen_group_can_be_killed(void **state)
{
	struct err err = { 0 };
	struct pair pair;

	make_pair(NULL, &pair);
	(void)start(pair.container, run_forever, NULL);
	must(taskgroup_freeze(pair.container, true, &err));
	assert_int_equal(taskgroup_wait(pair.container, TASKGROUP_FROZEN, WAIT_MS), 0);
	end_pair(&pair);
}

/* Sixteen processes that each make a new one and end, so that no list of them is ever complete. */
static int fork_for_ever(void *argument)
{
	for (int i = 0; i < 4; i++)
		(void)fork();
	for (;;) {
		pid_t pid = fork();

		if (pid > 0)
			_exit(0);
	}
}

static void a_kill_ends_those_that_fork_and_only_those(void **state)
{
	struct taskgroup_limits limits;
	struct pair forkers, bystander;
	siginfo_t info = { 0 };
	pid_t other;

	taskgroup_limits_init(&limits);
	limits.pids_max = 64;
	make_pair(&limits, &forkers);
	make_pair(NULL, &bystander);
	other = start(bystander.container, run_forever, NULL);
	(void)end_of(start(forkers.container, fork_for_ever, NULL));
	end_pair(&forkers);
	assert_int_equal(waitid(P_PID, (id_t)other, &info, WEXITED | WNOHANG), 0);
	assert_int_equal(info.si_pid, 0);
	end_pair(&bystander);
}

static void killing_a_workload_kills_its_containers(void **state)
{
	struct err err = { 0 };
	struct pair pair;
	pid_t pid;

	make_pair(NULL, &pair);
	pid = start(pair.container, run_forever, NULL);
	must(taskgroup_kill(pair.workload, &err));
	assert_int_equal(end_of(pid).si_status, SIGKILL);
	end_pair(&pair);
}

static void that_a_group_is_empty_is_told(void **state)
{
	bool populated = true, frozen = true;
	struct pollfd wait = { .events = POLLPRI };
	struct pair pair;
	struct err err = { 0 };
	pid_t pid;

	make_pair(NULL, &pair);
	pid = start(pair.container, run_forever, NULL);
	wait.fd = taskgroup_wait_fd(pair.container);
	if (hierarchy->layout == HIERARCHY_LEGACY) {
		assert_int_equal(wait.fd, -EOPNOTSUPP);
		end_pair(&pair);
		return;
	}
	assert_true(wait.fd >= 0);
	assert_int_equal(taskgroup_read_events(wait.fd, &populated, &frozen), 0);
	assert_true(populated);
	assert_false(frozen);
	assert_int_equal(poll(&wait, 1, 0), 0);
	must(taskgroup_kill(pair.container, &err));
	assert_int_equal(end_of(pid).si_status, SIGKILL);
	assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
	assert_int_equal(taskgroup_read_events(wait.fd, &populated, &frozen), 0);
	assert_false(populated);
	(void)close(wait.fd);
	end_pair(&pair);
}

static void telemetry_reads_by_the_directories(void **state)
{
	int fds[TASKGROUP_DIR_COUNT];
	struct err err = { 0 };
	struct pair pair;
	char text[4096];

	make_pair(NULL, &pair);
	must(taskgroup_open_dirs(pair.container, fds, &err));
	if (hierarchy->layout == HIERARCHY_UNIFIED) {
		assert_true(group_file_read(fds[TASKGROUP_DIR_UNIFIED], "memory.current", text,
					    64) > 0);
		assert_int_equal(fds[TASKGROUP_DIR_MEMORY], -1);
	} else {
		assert_true(group_file_read(fds[TASKGROUP_DIR_MEMORY], "memory.usage_in_bytes",
					    text, 64) > 0);
		assert_true(group_file_read(fds[TASKGROUP_DIR_CPUACCT], "cpuacct.usage", text, 64) >
			    0);
		assert_true(group_file_read(fds[TASKGROUP_DIR_PIDS], "pids.current", text, 64) > 0);
	}
	if (hierarchy_feature(hierarchy, "cgroup.psi.group")->supported)
		assert_true(group_file_read(fds[TASKGROUP_DIR_UNIFIED], "memory.pressure", text,
					    sizeof(text)) > 0);
	for (int i = 0; i < TASKGROUP_DIR_COUNT; i++)
		fd_close(&fds[i]);
	end_pair(&pair);
}

/* ---- devices ------------------------------------------------------------------------------- */

/* null may be all, full may be made, and all else nothing: of what opens without any privilege. */
static const struct device_rule two_devices[] = {
	{ 'c', DEVICE_READ | DEVICE_WRITE | DEVICE_MKNOD, 1, 3 },
	{ 'c', DEVICE_MKNOD, 1, 7 },
};

static int try_devices(void *argument)
{
	if (fchdir(*(int *)argument) < 0 || open("null", O_RDWR | O_CLOEXEC) < 0)
		return 1;
	if (open("zero", O_RDONLY | O_CLOEXEC) >= 0)
		return 2;
	if (errno != EPERM)
		return 3;
	if (mknod("made", S_IFCHR | 0600, makedev(1, 5)) == 0 || errno != EPERM)
		return 4;
	if (mknod("made", S_IFCHR | 0600, makedev(1, 7)) < 0)
		return 5;
	return open("made", O_RDONLY | O_CLOEXEC) < 0 && errno == EPERM ? 0 : 6;
}

static void devices_that_are_not_allowed_do_not_open(void **state)
{
	static const char *const names[] = { "null", "zero", "made" };
	char path[] = "/var/tmp/berth-test-XXXXXX";
	cleanup(device_filters_free_p) struct device_filters *filters = NULL;
	cleanup_fd int dir = -1;
	struct err err = { 0 };
	struct pair pair;
	siginfo_t info;

	assert_non_null(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mknodat(dir, "null", S_IFCHR | 0600, makedev(1, 3)), 0);
	assert_int_equal(mknodat(dir, "zero", S_IFCHR | 0600, makedev(1, 5)), 0);

	must(device_filters_new(&filters, &err));
	must(device_filters_prepare(filters, hierarchy, two_devices, ARRAY_SIZE(two_devices),
				    &err));
	make_pair(NULL, &pair);
	info = end_of(start(pair.container, try_devices, &dir));
	assert_int_equal(info.si_status, 2); /* without a filter zero opens */
	must(device_filters_apply(filters, hierarchy, pair.container, two_devices,
				  ARRAY_SIZE(two_devices), &err));
	info = end_of(start(pair.container, try_devices, &dir));
	assert_int_equal(info.si_code, CLD_EXITED);
	assert_int_equal(info.si_status, 0);
	end_pair(&pair);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(unlinkat(dir, names[i], 0), 0);
	assert_int_equal(rmdir(path), 0);
}

static void the_default_list_loads(void **state)
{
	cleanup(device_filters_free_p) struct device_filters *filters = NULL;
	struct err err = { 0 };
	struct pair pair;

	must(device_filters_new(&filters, &err));
	make_pair(NULL, &pair);
	must(device_filters_apply(filters, hierarchy, pair.container, device_filter_default,
				  device_filter_default_count, &err));
	end_pair(&pair);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_feature_has_a_sentence),
		cmocka_unit_test(the_tree_is_made_with_the_weights_of_the_bands),
		cmocka_unit_test(a_restart_keeps_what_runs),
		cmocka_unit_test(a_failed_create_leaves_nothing),
		cmocka_unit_test(a_group_that_is_there_is_refused_and_stays),
		cmocka_unit_test(a_group_with_processes_is_not_removed_nor_are_they_moved),
		cmocka_unit_test(a_process_is_in_the_group_in_every_hierarchy),
		cmocka_unit_test(an_opened_group_is_the_recorded_one_or_none),
		cmocka_unit_test(a_half_made_group_can_be_opened_and_removed),
		cmocka_unit_test(a_forked_monitor_can_do_all_of_it),
		cmocka_unit_test(a_frozen_group_does_nothing_until_it_is_thawed),
		cmocka_unit_test(a_frozen_group_can_be_killed),
		cmocka_unit_test(a_kill_ends_those_that_fork_and_only_those),
		cmocka_unit_test(killing_a_workload_kills_its_containers),
		cmocka_unit_test(that_a_group_is_empty_is_told),
		cmocka_unit_test(telemetry_reads_by_the_directories),
		cmocka_unit_test(devices_that_are_not_allowed_do_not_open),
		cmocka_unit_test(the_default_list_loads),
	};

	return run_cgroup_tests(argc, argv, tests, ARRAY_SIZE(tests));
}
