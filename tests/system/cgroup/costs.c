/*
 * What the cgroup layer costs beside the plain system calls and beside libcgroup, on the running
 * kernel: create with a container's usual limits, attach, kill until empty, remove. Prints minimum and
 * median in microseconds; judges nothing. Needs root; works in /berth-test-<pid>.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/group_file.h"
#include "sandbox/taskgroup_internal.h"

#define ROUNDS_MAX 1000

static size_t rounds = 300;

struct series {
	const char *name;
	size_t count;
	double us[ROUNDS_MAX];
};

static double now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print(struct series *series)
{
	qsort(series->us, series->count, sizeof(series->us[0]), compare);
	(void)printf("%-34s %8.1f %8.1f\n", series->name, series->us[0],
		     series->us[series->count / 2]);
}

static void add(struct series *series, double t0)
{
	series->us[series->count++] = now_us() - t0;
}

static void must(int r, const struct err *err)
{
	if (r >= 0)
		return;
	(void)fprintf(stderr, "costs: %s\n", err->text);
	exit(1);
}

static void usual_limits(struct taskgroup_limits *limits)
{
	taskgroup_limits_init(limits);
	limits->cpu_millis = 500;
	limits->cpu_weight = 100;
	limits->memory_max_bytes = 64 << 20;
	limits->memory_swap_bytes = 0;
	limits->pids_max = 100;
}

/* mkdir and one open, write, close for each value: what any program has to do. */
static void create_plainly(const struct hierarchy *hierarchy, const char *path,
			   const struct settings *settings)
{
	for (size_t i = 0; i < hierarchy->mount_count; i++) {
		if (mkdirat(hierarchy->mounts[i].base_fd, path, 0755) < 0)
			perror("mkdirat");
	}
	for (size_t i = 0; i < settings->count; i++) {
		const struct setting *row = &settings->rows[i];
		char file[1024];

		(void)snprintf(file, sizeof(file), "%s/%s", path, row->file);
		if (group_file_write(hierarchy->mounts[hierarchy->where[row->controller]].base_fd,
				     file, row->value) < 0)
			perror(file);
	}
}

static void remove_plainly(const struct hierarchy *hierarchy, const char *path)
{
	for (size_t i = 0; i < hierarchy->mount_count; i++) {
		if (unlinkat(hierarchy->mounts[i].base_fd, path, AT_REMOVEDIR) < 0)
			perror("unlinkat");
	}
}

static void attach_plainly(const struct hierarchy *hierarchy, const char *path, pid_t pid)
{
	char file[1024], text[32];

	(void)snprintf(file, sizeof(file), "%s/tasks", path);
	(void)snprintf(text, sizeof(text), "%d", (int)pid);
	for (size_t i = 0; i < hierarchy->mount_count; i++) {
		if (!hierarchy->mounts[i].v2 &&
		    group_file_write(hierarchy->mounts[i].base_fd, file, text) < 0)
			perror(file);
	}
}

static pid_t start(const struct taskgroup *group)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	pid_t pid;

	if (taskgroup_clone_fd(group) >= 0) {
		args.flags = CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)taskgroup_clone_fd(group);
	}
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0) {
		for (;;)
			(void)pause();
	}
	return pid;
}

static void end(const struct taskgroup *group, pid_t pid)
{
	struct err err;

	/* Reaped first: cgroup.events tells late of a group that became populated just now. */
	must(taskgroup_kill(group, &err), &err);
	(void)waitpid(pid, NULL, 0);
	while (taskgroup_wait(group, TASKGROUP_EMPTY, 100) == -ETIME)
		must(taskgroup_kill(group, &err), &err);
}

/* Make and remove the same group in the three ways, in turn, so that each meets the same weather. */
static void compare_making(const struct hierarchy *hierarchy, const char *workload)
{
	static struct series ours = { "create: taskgroup" }, plain = { "create: plain calls" },
			     library = { "create: libcgroup" }, remove = { "remove: taskgroup" },
			     rmdirs = { "remove: plain calls" };
	struct taskgroup_limits limits;
	struct settings settings;
	struct err err = { 0 };

	usual_limits(&limits);
	taskgroup_translate(hierarchy, &limits, NULL, &settings);
	for (size_t i = 0; i < rounds; i++) {
		char path[TASKGROUP_PATH_MAX], full[1024];
		struct taskgroup *group = NULL;
		double t0;

		(void)snprintf(path, sizeof(path), "%s/plain.%zu", workload, i);
		t0 = now_us();
		create_plainly(hierarchy, path, &settings);
		add(&plain, t0);
		t0 = now_us();
		remove_plainly(hierarchy, path);
		add(&rmdirs, t0);

		(void)snprintf(path, sizeof(path), "%s/ours.%zu", workload, i);
		t0 = now_us();
		must(taskgroup_create(hierarchy, path, TASKGROUP_CONTAINER, &limits, &group, &err),
		     &err);
		add(&ours, t0);
		t0 = now_us();
		must(taskgroup_remove(group, &err), &err);
		add(&remove, t0);
		taskgroup_free(group);

		(void)snprintf(full, sizeof(full), "%s/%s/lib.%zu", hierarchy->base + 1, workload,
			       i);
		t0 = now_us();
		must(lcg_create(hierarchy, full, UINT32_MAX, settings.rows, settings.count, &err),
		     &err);
		add(&library, t0);
		for (size_t k = 0; k < hierarchy->mount_count; k++)
			must(lcg_remove(hierarchy, full, k, &err), &err);
	}
	print(&plain);
	print(&ours);
	print(&library);
	print(&rmdirs);
	print(&remove);
}

static void compare_running(const struct hierarchy *hierarchy, const char *workload)
{
	static struct series attach = { "attach by another process" },
			     killing = { "kill until empty and reaped" };
	struct taskgroup_limits limits;
	struct err err = { 0 };

	usual_limits(&limits);
	for (size_t i = 0; i < rounds; i++) {
		char path[TASKGROUP_PATH_MAX];
		struct taskgroup *group = NULL;
		double t0;
		pid_t pid;

		(void)snprintf(path, sizeof(path), "%s/run.%zu", workload, i);
		must(taskgroup_create(hierarchy, path, TASKGROUP_CONTAINER, &limits, &group, &err),
		     &err);
		pid = start(group);
		t0 = now_us();
		attach_plainly(hierarchy, path, pid);
		add(&attach, t0);
		t0 = now_us();
		end(group, pid);
		add(&killing, t0);
		must(taskgroup_remove(group, &err), &err);
		taskgroup_free(group);
	}
	if (hierarchy->layout != HIERARCHY_UNIFIED)
		print(&attach);
	print(&killing);
}

int main(int argc, char **argv)
{
	static const char workload[] = "workloads/production/costs.1";
	char base[64];
	struct hierarchy_options options = { .base = base, .trust_base = true };
	struct hierarchy *hierarchy = NULL;
	struct taskgroup *group = NULL;
	struct taskgroup_limits none;
	struct err err = { 0 };
	double t0;

	if (geteuid() != 0) {
		(void)fprintf(stderr, "SKIPPED: making cgroups needs root\n");
		return 77;
	}
	if (argc > 1)
		rounds = (size_t)strtoul(argv[1], NULL, 10);
	if (rounds < 4 || rounds > ROUNDS_MAX)
		rounds = ROUNDS_MAX;
	(void)snprintf(base, sizeof(base), "/berth-test-%d", (int)getpid());
	t0 = now_us();
	must(hierarchy_discover(&options, &hierarchy, &err), &err);
	(void)printf("%s, %zu mounts, %zu rounds: minimum, median (us)\n%-34s %8.1f\n",
		     hierarchy_layout_name(hierarchy->layout), hierarchy->mount_count, rounds,
		     "discover, once", now_us() - t0);
	taskgroup_limits_init(&none);
	must(taskgroup_create(hierarchy, workload, TASKGROUP_WORKLOAD, &none, &group, &err), &err);
	compare_making(hierarchy, workload);
	compare_running(hierarchy, workload);
	must(taskgroup_remove(group, &err), &err);
	taskgroup_free(group);
	must(hierarchy_remove_if_empty(hierarchy, &err), &err);
	hierarchy_free(hierarchy);
	return 0;
}
