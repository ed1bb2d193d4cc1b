/* Limits on the running kernel, in whatever layout it has: in force, changed, and taken back. */
#include "tests/system/cgroup/groups.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- limits -------------------------------------------------------------------------------- */

static void limits_stand_in_the_kernels_files(void **state)
{
	struct taskgroup_limits limits;
	struct pair pair;

	taskgroup_limits_init(&limits);
	limits.cpu_millis = 250;
	limits.cpu_weight = 300;
	limits.memory_max_bytes = 64 * MIB;
	limits.memory_swap_bytes = 16 * MIB;
	limits.pids_max = 100;
	if (hierarchy->cpuset_cpus) {
		strcpy(limits.cpuset_cpus, "0");
		strcpy(limits.cpuset_mems, "0");
	}
	make_pair(&limits, &pair);
	assert_file(pair.container, CONTROLLER_CPU, "cpu.max", "cpu.cfs_quota_us", "25000 100000",
		    "25000");
	assert_file(pair.container, CONTROLLER_CPU, "cpu.weight", "cpu.shares", "300", "3072");
	assert_file(pair.container, CONTROLLER_MEMORY, "memory.max", "memory.limit_in_bytes",
		    "67108864", "67108864");
	assert_file(pair.container, CONTROLLER_MEMORY, "memory.swap.max",
		    "memory.memsw.limit_in_bytes", "16777216", "83886080");
	assert_file(pair.container, CONTROLLER_PIDS, "pids.max", "pids.max", "100", "100");
	if (hierarchy->cpuset_cpus)
		assert_file(pair.container, CONTROLLER_CPUSET, "cpuset.cpus", "cpuset.cpus", "0",
			    "0");
	end_pair(&pair);
}

static void what_the_layout_cannot_enforce_is_refused_by_name(void **state)
{
	const struct hierarchy_feature *high = hierarchy_feature(hierarchy, "cgroup.memory.high");
	struct taskgroup_limits limits;
	struct err err = { 0 };
	int r;

	taskgroup_limits_init(&limits);
	limits.memory_high_bytes = 32 * MIB;
	r = taskgroup_limits_check(hierarchy, &limits, &err);
	assert_non_null(high);
	if (high->supported) {
		assert_int_equal(r, 0);
		return;
	}
	assert_true(r < 0);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.text, "memory_high_bytes"));
}

static uint64_t low_of(const char *path)
{
	const struct hierarchy_mount *mount =
		&hierarchy->mounts[hierarchy->where[CONTROLLER_MEMORY]];
	char file[TASKGROUP_PATH_MAX + 16];
	uint64_t low = 0;

	(void)snprintf(file, sizeof(file), "%s/memory.low", path);
	assert_int_equal(group_file_read_u64(mount->base_fd, file, &low), 0);
	return low;
}

static void protected_memory_is_protected_from_the_base_down(void **state)
{
	struct taskgroup_limits limits;
	struct pair first, second;
	struct err err = { 0 };

	if (!hierarchy_feature(hierarchy, "cgroup.memory.low")->supported) {
		print_message("  not here: %s\n",
			      hierarchy_feature(hierarchy, "cgroup.memory.low")->sentence);
		skip();
	}
	taskgroup_limits_init(&limits);
	limits.memory_low_bytes = 8 * MIB;
	make_pair(&limits, &first);
	make_pair(&limits, &second);
	assert_int_equal(low_of(taskgroup_name(first.workload)), 8 * MIB);
	assert_int_equal(low_of("workloads/production"), 16 * MIB);
	assert_int_equal(low_of("workloads"), 16 * MIB);
	limits.memory_low_bytes = 4 * MIB;
	must(taskgroup_update(first.container, &limits, &err));
	assert_int_equal(low_of("workloads/production"), 16 * MIB); /* a workload's never shrinks */
	if (!hierarchy->delegated)
		assert_int_equal(low_of("."), 16 * MIB);
	end_pair(&first);
	assert_int_equal(low_of("workloads"), 8 * MIB);
	end_pair(&second);
	assert_int_equal(low_of("workloads/production"), 0);
	assert_int_equal(low_of("workloads"), 0);
}

static int touch_64_mib(void *argument)
{
	char *memory = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0);

	if (memory == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < 64 * MIB; i += 4096)
		((volatile char *)memory)[i] = 1;
	return 0;
}

static void beyond_its_memory_a_process_is_killed_and_that_is_known(void **state)
{
	struct taskgroup_limits limits;
	struct taskgroup_totals totals;
	struct err err = { 0 };
	struct pair pair;
	siginfo_t info;

	taskgroup_limits_init(&limits);
	limits.memory_max_bytes = 16 * MIB;
	limits.memory_swap_bytes = 0;
	make_pair(&limits, &pair);
	info = end_of(start(pair.container, touch_64_mib, NULL));
	assert_int_equal(info.si_code, CLD_KILLED);
	assert_int_equal(info.si_status, SIGKILL);
	must(taskgroup_read_totals(pair.container, &totals, &err));
	assert_int_equal(totals.oom_kills, 1);
	assert_int_equal(totals.memory_limit_bytes, 16 * MIB);
	if (totals.memory_peak_bytes != TASKGROUP_UNSET)
		assert_in_range(totals.memory_peak_bytes, 8 * MIB, 16 * MIB);
	assert_true(totals.cpu_usage_ns > 0 && totals.cpu_usage_ns != TASKGROUP_UNSET);
	end_pair(&pair);
}

static int fork_until_refused(void *argument)
{
	int children = 0;

	for (;;) {
		pid_t pid = fork();

		if (pid < 0)
			return errno == EAGAIN ? children : 98;
		if (pid == 0)
			run_forever(NULL);
		children++;
	}
}

static void forks_stop_at_the_limit(void **state)
{
	struct taskgroup_limits limits;
	struct taskgroup_totals totals;
	struct err err = { 0 };
	struct pair pair;
	siginfo_t info;

	taskgroup_limits_init(&limits);
	limits.pids_max = 6;
	make_pair(&limits, &pair);
	info = end_of(start(pair.container, fork_until_refused, NULL));
	assert_int_equal(info.si_code, CLD_EXITED);
	assert_int_equal(info.si_status, 5);
	must(taskgroup_read_totals(pair.container, &totals, &err));
	assert_true(totals.pids_refused >= 1);
	end_pair(&pair);
}

static int64_t read_clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int burn_60_ms_of_cpu(void *argument)
{
	int64_t start_ns = read_clock_ns(CLOCK_MONOTONIC);

	while (read_clock_ns(CLOCK_PROCESS_CPUTIME_ID) < 60000000)
		;
	return read_clock_ns(CLOCK_MONOTONIC) - start_ns >= 200000000 ? 0 : 1;
}

static void the_cpu_quota_stretches_work(void **state)
{
	struct taskgroup_limits limits;
	struct pair pair;
	siginfo_t info;

	taskgroup_limits_init(&limits);
	limits.cpu_millis = 100; /* 10 ms in each 100 */
	make_pair(&limits, &pair);
	info = end_of(start(pair.container, burn_60_ms_of_cpu, NULL));
	assert_int_equal(info.si_code, CLD_EXITED);
	assert_int_equal(info.si_status, 0);
	end_pair(&pair);
}

/* ---- changing limits ----------------------------------------------------------------------- */

static void limits_go_up_and_down(void **state)
{
	static const uint64_t steps[][2] = { { 64, 0 },  { 256, 64 }, { 128, 0 },
					     { 32, 32 }, { 48, 0 },   { 16, 0 } };
	struct taskgroup_limits limits;
	struct err err = { 0 };
	struct pair pair;

	make_pair(NULL, &pair);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		char bytes[32], swap[32], sum[32];

		taskgroup_limits_init(&limits);
		limits.memory_max_bytes = steps[i][0] * MIB;
		limits.memory_swap_bytes = steps[i][1] * MIB;
		limits.cpu_millis = 100 + 100 * (i % 3);
		if (hierarchy_feature(hierarchy, "cgroup.cpu.burst")->supported)
			limits.cpu_burst_us = limits.cpu_millis * 50;
		must(taskgroup_update(pair.container, &limits, &err));
		(void)snprintf(bytes, sizeof(bytes), "%ju", (uintmax_t)(steps[i][0] * MIB));
		(void)snprintf(swap, sizeof(swap), "%ju", (uintmax_t)(steps[i][1] * MIB));
		(void)snprintf(sum, sizeof(sum), "%ju",
			       (uintmax_t)((steps[i][0] + steps[i][1]) * MIB));
		assert_file(pair.container, CONTROLLER_MEMORY, "memory.max",
			    "memory.limit_in_bytes", bytes, bytes);
		assert_file(pair.container, CONTROLLER_MEMORY, "memory.swap.max",
			    "memory.memsw.limit_in_bytes", swap, sum);
	}
	end_pair(&pair);
}

static void a_change_that_fails_half_way_is_taken_back(void **state)
{
	struct taskgroup_limits limits;
	struct err err = { 0 };
	struct pair pair;

	taskgroup_limits_init(&limits);
	limits.memory_max_bytes = 64 * MIB;
	limits.pids_max = 50;
	limits.cpu_millis = 500;
	make_pair(&limits, &pair);
	limits.memory_max_bytes = 32 * MIB;
	limits.pids_max = 20;
	limits.cpu_millis = 200;
	limits.io_limit_count = 1;
	limits.io_limits[0] = (struct taskgroup_io_limit){ .major = 4000,
							   .minor = 1,
							   .read_bytes_per_s = 1000,
							   .write_bytes_per_s = TASKGROUP_UNSET,
							   .read_ops_per_s = TASKGROUP_UNSET,
							   .write_ops_per_s = TASKGROUP_UNSET };
	assert_true(taskgroup_update(pair.container, &limits, &err) < 0);
	print_message("  %s\n", err.text);
	assert_file(pair.container, CONTROLLER_MEMORY, "memory.max", "memory.limit_in_bytes",
		    "67108864", "67108864");
	assert_file(pair.container, CONTROLLER_PIDS, "pids.max", "pids.max", "50", "50");
	assert_file(pair.container, CONTROLLER_CPU, "cpu.max", "cpu.cfs_quota_us", "50000 100000",
		    "50000");
	end_pair(&pair);
}

static int hold_24_mib(void *argument)
{
	char byte = 0;
	char *memory = mmap(NULL, 24 * MIB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED || write(*(int *)argument, &byte, 1) != 1)
		return 1;
	return run_forever(NULL);
}

static void memory_in_use_cannot_be_taken_away(void **state)
{
	struct taskgroup_limits limits;
	struct err err = { 0 };
	int ready[2];
	struct pair pair;
	char byte;
	pid_t pid;

	taskgroup_limits_init(&limits);
	limits.memory_max_bytes = 64 * MIB;
	limits.memory_swap_bytes = 0;
	make_pair(&limits, &pair);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = start(pair.container, hold_24_mib, &ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	limits.memory_max_bytes = 8 * MIB;
	assert_true(taskgroup_update(pair.container, &limits, &err) < 0);
	print_message("  %s\n", err.text);
	assert_int_equal(err.kind, ERR_PRECONDITION);
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	assert_file(pair.container, CONTROLLER_MEMORY, "memory.max", "memory.limit_in_bytes",
		    "67108864", "67108864");
	(void)close(ready[0]);
	(void)close(ready[1]);
	end_pair(&pair);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_stand_in_the_kernels_files),
		cmocka_unit_test(what_the_layout_cannot_enforce_is_refused_by_name),
		cmocka_unit_test(protected_memory_is_protected_from_the_base_down),
		cmocka_unit_test(beyond_its_memory_a_process_is_killed_and_that_is_known),
		cmocka_unit_test(forks_stop_at_the_limit),
		cmocka_unit_test(the_cpu_quota_stretches_work),
		cmocka_unit_test(limits_go_up_and_down),
		cmocka_unit_test(a_change_that_fails_half_way_is_taken_back),
		cmocka_unit_test(memory_in_use_cannot_be_taken_away),
	};

	return run_cgroup_tests(argc, argv, tests, ARRAY_SIZE(tests));
}
