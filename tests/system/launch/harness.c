#include "tests/system/launch/harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/cleanup.h"

/* The ranges of the daemon itself begin below; nobody else's workload is up here. */
#define TEST_ID_FIRST 0x6fff0000u

bool harness_possible(void)
{
	if (geteuid() == 0)
		return true;
	(void)fprintf(stderr, "SKIP: launches need root\n");
	return false;
}

static void check(int r, const struct err *err)
{
	if (r < 0)
		fail_msg("%s (%d)", err->text, r);
}

/* Where the programs are on a machine that they were not built on. */
static const char *program_path(const char *built, char path[static 128])
{
	const char *directory = getenv("BERTH_TEST_PROGRAMS");

	if (!directory)
		return built;
	(void)snprintf(path, 128, "%s/%s", directory, strrchr(built, '/') + 1);
	return path;
}

static void copy_file(const char *from, int dir_fd, const char *to)
{
	cleanup_fd int in = open(from, O_RDONLY | O_CLOEXEC);
	cleanup_fd int out = openat(dir_fd, to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	char buffer[65536];
	ssize_t n;

	if (in < 0 || out < 0)
		fail_msg("cannot copy %s to %s: %m", from, to);
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		assert_int_equal(write(out, buffer, (size_t)n), n);
}

static void write_file(int dir_fd, const char *name, const char *text, mode_t mode)
{
	cleanup_fd int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
}

static void make_rootfs(int dir_fd)
{
	char path[128];

	static const char *const directories[] = { "bin", "proc", "sys", "dev",  "etc",
						   "tmp", "data", "ro",  "home", "noentry" };
	static const char *const applets[] = { "sh",    "ls",       "cat",   "echo", "id",
					       "sleep", "mount",    "mkdir", "ln",   "stty",
					       "yes",   "head",     "dd",    "true", "kill",
					       "tty",   "hostname", "grep",  "od",   "wc",
					       "mknod" };

	for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
		assert_int_equal(mkdirat(dir_fd, directories[i], 0755), 0);
	copy_file(program_path("/bin/busybox", path), dir_fd, "bin/busybox");
	copy_file(program_path(LAUNCH_PROBE, path), dir_fd, "bin/probe");
	for (size_t i = 0; i < ARRAY_SIZE(applets); i++) {
		(void)snprintf(path, sizeof(path), "bin/%s", applets[i]);
		assert_int_equal(symlinkat("busybox", dir_fd, path), 0);
	}
	write_file(dir_fd, "etc/passwd",
		   "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home:/bin/sh\n", 0644);
	write_file(dir_fd, "etc/group", "root:x:0:\nweb:x:1000:\nlogs:x:2000:web\n", 0644);
	write_file(dir_fd, "bin/notexec", "#!/bin/sh\n", 0644);
	write_file(dir_fd, "bin/nointerp", "#!/bin/nothing\n", 0755);
	write_file(dir_fd, "bin/text", "just text\n", 0755);
	assert_int_equal(fchmodat(dir_fd, "tmp", 01777, 0), 0);
	assert_int_equal(fchmodat(dir_fd, "noentry", 0700, 0), 0);
}

static int open_directory(struct harness *harness, const char *name)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", harness->directory, name);
	if (mkdir(path, 0755) < 0)
		assert_int_equal(errno, EEXIST);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

/* As the daemon does it for each workload, in a child inside its namespaces. */
static void prepare_workload(struct harness *harness, bool own_users)
{
	static const struct launch_sysctl sysctls[] = {
		{ "net.ipv4.ip_unprivileged_port_start", "81" }, { "kernel.shm_rmid_forced", "1" }
	};
	const struct namespace_set *set = &harness->namespaces;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		cleanup_fd int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		struct err err = { 0 };

		if (setns(set->net_fd, CLONE_NEWNET) < 0 || setns(set->ipc_fd, CLONE_NEWIPC) < 0 ||
		    setns(set->uts_fd, CLONE_NEWUTS) < 0 ||
		    (own_users &&
		     (setns(set->user_fd, CLONE_NEWUSER) < 0 || setgid(0) < 0 || setuid(0) < 0)))
			_exit(2);
		if (launch_prepare_workload(proc_fd, "tested", sysctls, ARRAY_SIZE(sysctls), &err) <
		    0) {
			(void)fprintf(stderr, "%s\n", err.text);
			_exit(1);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

void harness_begin(struct harness *harness, bool host_ids)
{
	char base[64], workload[64], path[128];
	struct hierarchy_options options = { .base = base, .trust_base = true };
	struct filter_request request = { .source = FILTER_DEFAULT, .listener = true };
	struct taskgroup_limits limits;
	struct err err = { 0 };
	cleanup_fd int root_fd = -1, proc_fd = -1;

	*harness = (struct harness){ .namespaces = NAMESPACE_SET_EMPTY,
				     .monitors_fd = -1,
				     .program_fd = -1,
				     .root_fd = -1,
				     .filter_image_fd = -1 };
	harness->program_fd = launch_open_monitor_program(program_path(LAUNCH_MONITOR, path), &err);
	check(harness->program_fd, &err);
	(void)snprintf(harness->directory, sizeof(harness->directory), "/tmp/berth-launch.XXXXXX");
	assert_non_null(mkdtemp(harness->directory));
	assert_int_equal(chmod(harness->directory, 0755), 0);
	/* A name that nobody has; a pid is not, in a pid namespace. */
	(void)snprintf(base, sizeof(base), "%s/berth-test-launch-%s",
		       getenv("BERTH_TEST_BASE") ?: "", strrchr(harness->directory, '.') + 1);
	check(hierarchy_discover(&options, &harness->hierarchy, &err), &err);
	check(device_filters_new(&harness->filters, &err), &err);
	taskgroup_limits_init(&limits);
	(void)snprintf(workload, sizeof(workload), "w-%d.1", getpid());
	check(taskgroup_path(harness->workload_path, BAND_BATCH, workload, NULL, &err), &err);
	check(taskgroup_create(harness->hierarchy, harness->workload_path, TASKGROUP_WORKLOAD,
			       &limits, &harness->workload_group, &err),
	      &err);
	harness->monitors_fd = hierarchy_open_monitors(harness->hierarchy);
	proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	check(namespace_pool_make(NULL, proc_fd, host_ids ? 0 : TEST_ID_FIRST, false, host_ids,
				  &harness->namespaces, &err),
	      &err);
	prepare_workload(harness, !host_ids);
	check(filter_compile(&request, &harness->filter, &err), &err);
	harness->filter_image_fd = filter_serialize(harness->filter, &err);
	check(harness->filter_image_fd, &err);
	check(device_filters_prepare(harness->filters, harness->hierarchy, device_filter_default,
				     device_filter_default_count, &err),
	      &err);
	if (strcmp(getenv("LAUNCH_TEST_LAUNCHER") ?: "yes", "no") != 0) {
		check(launcher_new(harness->program_fd, harness->hierarchy, harness->monitors_fd,
				   true, NULL, &harness->launcher, &err),
		      &err);
		assert_int_not_equal(launcher_pid(harness->launcher), 0);
	}
	root_fd = open_directory(harness, "rootfs");
	make_rootfs(root_fd);
	harness->root_fd = open_directory(harness, "rootfs");
}

static void remove_tree(const char *path)
{
	char command[256];

	(void)snprintf(command, sizeof(command), "rm -rf --one-file-system '%s'", path);
	assert_int_equal(system(command), 0);
}

void harness_end(struct harness *harness)
{
	struct err err = { 0 };

	launcher_free(harness->launcher);
	check(taskgroup_remove(harness->workload_group, &err), &err);
	taskgroup_free(harness->workload_group);
	fd_close(&harness->monitors_fd);
	assert_int_equal(hierarchy_remove_if_empty(harness->hierarchy, &err), 0);
	device_filters_free(harness->filters);
	hierarchy_free(harness->hierarchy);
	namespace_set_done(&harness->namespaces);
	filter_free(harness->filter);
	fd_close(&harness->filter_image_fd);
	fd_close(&harness->program_fd);
	fd_close(&harness->root_fd);
	remove_tree(harness->directory);
}

void container_init(struct container *container, struct harness *harness, const char *const *argv)
{
	struct launch_spec *spec = &container->spec;
	char name[64], workload[64];
	struct err err = { 0 };

	*container = (struct container){ .run_fd = -1, .log_fd = -1, .page_fd = -1 };
	(void)snprintf(container->name, sizeof(container->name), "c%u", ++harness->launches);
	(void)snprintf(name, sizeof(name), "run-%s", container->name);
	container->run_fd = open_directory(harness, name);
	(void)snprintf(name, sizeof(name), "logs-%s", container->name);
	container->log_fd = open_directory(harness, name);
	container->page_fd = openat(container->run_fd, "page", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(container->page_fd >= 0);
	assert_int_equal(ftruncate(container->page_fd, PAGE_BYTES), 0);
	container->page = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, container->page_fd, 0);
	assert_ptr_not_equal(container->page, MAP_FAILED);
	(void)snprintf(workload, sizeof(workload), "w-%d.1", getpid());
	(void)snprintf(name, sizeof(name), "%s.1", container->name);
	check(taskgroup_path(container->group_path, BAND_BATCH, workload, name, &err), &err);
	taskgroup_limits_init(&container->limits);
	container->limits.memory_max_bytes = 64 << 20;
	container->limits.pids_max = 64;
	container->limits.cpu_millis = 1000;

	launch_spec_init(spec);
	spec->workload = "tested";
	spec->container = container->name;
	spec->attempt = 1;
	spec->namespaces = (struct launch_namespaces){ harness->namespaces.user_fd,
						       harness->namespaces.net_fd,
						       harness->namespaces.ipc_fd,
						       harness->namespaces.uts_fd };
	spec->host_id_first = harness->namespaces.id_first;
	spec->hierarchy = harness->hierarchy;
	spec->group_path = container->group_path;
	spec->limits = &container->limits;
	spec->device_filters = harness->filters;
	spec->monitors_fd = harness->monitors_fd;
	spec->root_fd = harness->root_fd;
	spec->argv = argv;
	spec->user = "";
	spec->filter = harness->filter;
	spec->filter_image_fd = harness->filter_image_fd;
	spec->compile = filter_compile;
	spec->log.dir_fd = container->log_fd;
	spec->page_fd = container->page_fd;
	spec->run_dir_fd = container->run_fd;
	spec->monitor_program_fd = harness->program_fd;
	spec->gate_open = true;
}

void container_launch(struct container *container, struct harness *harness)
{
	struct err err = { 0 };

	check(harness->launcher ? launcher_fork(harness->launcher, &container->spec,
						&container->launched, &err)
				: launch_fork(&container->spec, &container->launched, &err),
	      &err);
}

static void take(struct container *container, const int *fds, size_t fd_count)
{
	struct monitor_message *message = &container->last;
	size_t length = strlen(container->warnings);

	switch (message->header.kind) {
	case MONITOR_STARTED:
		container->started = message->started;
		container->started_fd_count = fd_count;
		memcpy(container->started_fds, fds, fd_count * sizeof(*fds));
		return;
	case MONITOR_DENIED:
		container->denied = message->denied;
		container->saw_denied = true;
		break;
	case MONITOR_WARNING:
		(void)snprintf(container->warnings + length, sizeof(container->warnings) - length,
			       "%s\n", message->text.text);
		break;
	default:
		break;
	}
	for (size_t i = 0; i < fd_count; i++)
		(void)close(fds[i]);
}

uint32_t container_expect_either(struct container *container, uint32_t kind, uint32_t other)
{
	for (;;) {
		struct pollfd polled = { container->launched.control_fd, POLLIN, 0 };
		int fds[MONITOR_FDS_MAX];
		size_t fd_count;
		int r;

		if (poll(&polled, 1, HARNESS_TIMEOUT_MS) != 1)
			fail_msg("no message of kind %u in time", kind);
		r = monitor_receive(container->launched.control_fd, &container->last, fds,
				    &fd_count);
		if (r == 0)
			fail_msg("the monitor went away before a message of kind %u", kind);
		assert_int_equal(r, 1);
		take(container, fds, fd_count);
		if (container->last.header.kind == kind || container->last.header.kind == other)
			return container->last.header.kind;
		if (container->last.header.kind == MONITOR_START_FAILED)
			fail_msg("step %s: %s", container->last.failed.step,
				 container->last.failed.err.text);
	}
}

void container_expect(struct container *container, uint32_t kind)
{
	(void)container_expect_either(container, kind, kind);
}

void container_tell(struct container *container, uint32_t kind, struct monitor_message *message,
		    int fd)
{
	struct monitor_message empty = { 0 };

	assert_int_equal(monitor_send(container->launched.control_fd, kind,
				      message ? message : &empty, &fd, fd >= 0 ? 1 : 0),
			 0);
}

int container_wait_monitor(struct container *container)
{
	int status;

	assert_int_equal(waitpid(container->launched.pid, &status, 0), container->launched.pid);
	fd_close(&container->launched.pidfd);
	fd_close(&container->launched.control_fd);
	return status;
}

void container_finish(struct container *container)
{
	container_expect(container, MONITOR_EXITED);
	container_tell(container, MONITOR_ACK_EXIT, NULL, -1);
	assert_int_equal(container_wait_monitor(container), 0);
}

void container_run(struct container *container, struct harness *harness)
{
	container_launch(container, harness);
	container_expect(container, MONITOR_STARTED);
	container_finish(container);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* "<time> <stream> <F|P> <content>" of one file, appended to @out. */
static void read_records(int fd, const char *stream, FILE *out)
{
	cleanup_file FILE *file = fdopen(fd, "r");
	char *line = NULL;
	size_t size = 0;
	ssize_t n;

	while ((n = getline(&line, &size, file)) > 0) {
		char *name = strchr(line, ' ') + 1;
		char *tag = strchr(name, ' ') + 1;

		assert_int_equal(line[n - 1], '\n');
		if (strncmp(name, stream, strlen(stream)))
			continue;
		(void)fwrite(tag + 2, 1, (size_t)(line + n - 1 - (tag + 2)), out);
		if (*tag == 'F')
			(void)fputc('\n', out);
	}
	free(line);
}

char *container_log(struct container *container, const char *stream)
{
	struct dirent **names = NULL;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int n = scandirat(container->log_fd, ".", &names, NULL, by_name);

	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.')
			read_records(
				openat(container->log_fd, names[i]->d_name, O_RDONLY | O_CLOEXEC),
				stream, out);
		free(names[i]);
	}
	free(names);
	(void)fclose(out);
	return text;
}

void container_done(struct container *container, struct harness *harness)
{
	struct taskgroup *group = NULL;
	char path[160];
	struct err err = { 0 };

	for (size_t i = 0; i < container->started_fd_count; i++)
		(void)close(container->started_fds[i]);
	if (taskgroup_open(harness->hierarchy, container->group_path, TASKGROUP_CONTAINER, 0,
			   &group, &err) == 0) {
		(void)taskgroup_wait(group, TASKGROUP_EMPTY, 5000);
		check(taskgroup_remove(group, &err), &err);
		taskgroup_free(group);
	}
	(void)munmap((void *)container->page, PAGE_BYTES);
	fd_close(&container->page_fd);
	fd_close(&container->run_fd);
	fd_close(&container->log_fd);
	(void)snprintf(path, sizeof(path), "%s/run-%s", harness->directory, container->name);
	remove_tree(path);
	(void)snprintf(path, sizeof(path), "%s/logs-%s", harness->directory, container->name);
	remove_tree(path);
}
