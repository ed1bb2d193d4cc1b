#include "tests/system/cgroup/groups.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct hierarchy *hierarchy;

static unsigned int group_count;

void fail_err(const struct err *err)
{
	fail_msg("%s: %s", err_kind_name(err->kind), err->text);
}

void make_pair(const struct taskgroup_limits *limits, struct pair *pair)
{
	char path[TASKGROUP_PATH_MAX], name[32];
	struct taskgroup_limits none;
	struct err err = { 0 };

	taskgroup_limits_init(&none);
	(void)snprintf(name, sizeof(name), "w%u.1", ++group_count);
	must(taskgroup_path(path, BAND_PRODUCTION, name, NULL, &err));
	must(taskgroup_create(hierarchy, path, TASKGROUP_WORKLOAD, &none, &pair->workload, &err));
	must(taskgroup_path(path, BAND_PRODUCTION, name, "app.1", &err));
	must(taskgroup_create(hierarchy, path, TASKGROUP_CONTAINER, limits ? limits : &none,
			      &pair->container, &err));
}

unsigned int last_pair(void)
{
	return group_count;
}

void end_pair(struct pair *pair)
{
	struct err err = { 0 };
	int r;

	do {
		must(taskgroup_kill(pair->container, &err));
		r = taskgroup_wait(pair->container, TASKGROUP_EMPTY, 100);
	} while (r == -ETIME);
	assert_int_equal(r, 0);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	assert_int_equal(taskgroup_remove(pair->container, &err), 0);
	assert_int_equal(taskgroup_remove(pair->workload, &err), 0);
	taskgroup_free(pair->container);
	taskgroup_free(pair->workload);
}

pid_t start(const struct taskgroup *group, int (*run)(void *), void *argument)
{
	int clone_fd = taskgroup_clone_fd(group), gate[2];
	struct clone_args args = { .exit_signal = SIGCHLD };
	struct err err = { 0 };
	char byte = 0;
	pid_t pid;

	if (clone_fd >= 0) {
		args.flags = CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)clone_fd;
	}
	assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	assert_true(pid >= 0);
	if (pid == 0) {
		if (taskgroup_enter(group, &err) < 0 || write(gate[1], &byte, 1) != 1)
			_exit(99);
		_exit(run(argument));
	}
	(void)close(gate[1]);
	assert_int_equal(read(gate[0], &byte, 1), 1);
	(void)close(gate[0]);
	return pid;
}

siginfo_t end_of(pid_t pid)
{
	siginfo_t info = { 0 };

	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED), 0);
	return info;
}

int run_forever(void *argument)
{
	for (;;)
		(void)pause();
	return 0;
}

/* The controller's directory of a group, for looking at its files. */
static int dir_of(const struct taskgroup *group, enum hierarchy_controller controller)
{
	const struct hierarchy_mount *mount = &hierarchy->mounts[hierarchy->where[controller]];

	return openat(mount->base_fd, taskgroup_name(group), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void assert_file(const struct taskgroup *group, enum hierarchy_controller controller,
		 const char *v2_file, const char *v1_file, const char *v2_text, const char *v1_text)
{
	bool v2 = hierarchy_is_v2(hierarchy, controller);
	cleanup_fd int dir = dir_of(group, controller);
	char text[4096];

	assert_true(group_file_read(dir, v2 ? v2_file : v1_file, text, sizeof(text)) >= 0);
	assert_string_equal(text, v2 ? v2_text : v1_text);
}

/* NULL: one of the test's own. "unit": that which systemd delegated to the test's unit. */
static const char *wanted_base;

static int open_descriptors;

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (dir && readdir(dir))
		count++;
	(void)closedir(dir);
	return count;
}

static int set_up(void **state)
{
	char base[64];
	struct hierarchy_options options = { .base = base, .trust_base = true };
	struct err err = { 0 };

	open_descriptors = count_descriptors();
	(void)snprintf(base, sizeof(base), "/berth-test-%d", (int)getpid());
	if (wanted_base) {
		options.base = strcmp(wanted_base, "unit") == 0 ? NULL : wanted_base;
		options.trust_base = false;
	}
	if (hierarchy_discover(&options, &hierarchy, &err) == 0)
		return 0;
	print_error("hierarchy_discover: %s: %s\n", err_kind_name(err.kind), err.text);
	return -1;
}

/* A unit's own directory and supervisor group are systemd's to remove; nothing else may be left. */
static int tear_down(void **state)
{
	struct err err = { 0 };
	int r = hierarchy_remove_if_empty(hierarchy, &err);

	for (size_t i = 0; i < hierarchy->mount_count; i++) {
		char path[512];

		(void)snprintf(path, sizeof(path), "%s%s%s", hierarchy->mounts[i].path,
			       hierarchy->base, hierarchy->delegated ? "/workloads" : "");
		if (access(path, F_OK) == 0) {
			print_error("left behind: %s\n", path);
			r = -1;
		}
	}
	hierarchy_free(hierarchy);
	if (count_descriptors() != open_descriptors) {
		print_error("%d descriptors were open, now %d\n", open_descriptors,
			    count_descriptors());
		r = -1;
	}
	return r;
}

int run_cgroup_tests(int argc, char **argv, const struct CMUnitTest *tests, size_t count)
{
	if (geteuid() != 0) {
		(void)fprintf(stderr, "SKIPPED: making cgroups needs root\n");
		return 77;
	}
	if (argc > 1)
		wanted_base = argv[1];
	return _cmocka_run_group_tests("cgroup", tests, count, set_up, tear_down);
}
