/* Exec sessions, and containers that share the host's ids by policy. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/cleanup.h"
#include "tests/system/launch/harness.h"

static struct harness harness;

#define ARGV(...)                 \
	(const char *const[])     \
	{                         \
		__VA_ARGS__, NULL \
	}

struct session {
	struct exec_spec spec;
	struct exec_forked forked;
	struct monitor_message last;
	int terminal_fd;
};

static void session_start(struct session *session, const struct container *container,
			  const char *const *argv)
{
	struct err err = { 0 };
	struct exec_spec *spec = &session->spec;

	session->terminal_fd = -1;
	spec->workload = "tested";
	spec->container = container->name;
	spec->session = spec->session ? spec->session : 77;
	spec->init_pidfd = container->started_fds[0];
	spec->own_users = container->spec.namespaces.user_fd >= 0;
	spec->hierarchy = harness.hierarchy;
	spec->group_path = container->group_path;
	spec->group_id = container->started.group_id;
	spec->monitors_fd = harness.monitors_fd;
	spec->argv = argv;
	spec->user = spec->user ? spec->user : "";
	spec->filter = harness.filter;
	spec->filter_image_fd = harness.filter_image_fd;
	spec->page_fd = container->page_fd;
	spec->run_dir_fd = container->run_fd;
	spec->monitor_program_fd = harness.program_fd;
	if (exec_fork(spec, &session->forked, &err) < 0)
		fail_msg("%s", err.text);
}

static void session_expect(struct session *session, uint32_t kind)
{
	do {
		struct pollfd polled = { session->forked.monitor.control_fd, POLLIN, 0 };
		int fds[MONITOR_FDS_MAX];
		size_t fd_count;

		assert_int_equal(poll(&polled, 1, HARNESS_TIMEOUT_MS), 1);
		assert_int_equal(monitor_receive(polled.fd, &session->last, fds, &fd_count), 1);
		for (size_t i = 0; i < fd_count; i++) {
			if (session->last.header.kind == MONITOR_TERMINAL)
				session->terminal_fd = fds[i];
			else
				(void)close(fds[i]);
		}
		if (session->last.header.kind == MONITOR_START_FAILED &&
		    kind != MONITOR_START_FAILED)
			fail_msg("step %s: %s", session->last.failed.step,
				 session->last.failed.err.text);
	} while (session->last.header.kind != kind);
}

static void session_end(struct session *session)
{
	struct monitor_message message = { 0 };
	int status;

	if (session->last.header.kind != MONITOR_START_FAILED)
		assert_int_equal(monitor_send(session->forked.monitor.control_fd, MONITOR_ACK_EXIT,
					      &message, NULL, 0),
				 0);
	assert_int_equal(waitpid(session->forked.monitor.pid, &status, 0),
			 session->forked.monitor.pid);
	fd_close(&session->forked.monitor.pidfd);
	fd_close(&session->forked.monitor.control_fd);
	fd_close(&session->forked.stdin_fd);
	fd_close(&session->forked.stdout_fd);
	fd_close(&session->forked.stderr_fd);
	fd_close(&session->terminal_fd);
}

/* Until the other side lets go. */
static void read_all(int fd, char *text, size_t size)
{
	size_t length = 0;

	for (;;) {
		struct pollfd polled = { fd, POLLIN, 0 };
		ssize_t n;

		assert_int_equal(poll(&polled, 1, HARNESS_TIMEOUT_MS), 1);
		n = read(fd, text + length, size - 1 - length);
		if (n <= 0)
			break;
		length += (size_t)n;
	}
	text[length] = '\0';
}

static void read_line(int fd, char *text, size_t size)
{
	size_t length = 0;

	do {
		struct pollfd polled = { fd, POLLIN, 0 };

		assert_true(length < size - 1);
		assert_int_equal(poll(&polled, 1, HARNESS_TIMEOUT_MS), 1);
		assert_int_equal(read(fd, text + length, 1), 1);
	} while (text[length++] != '\n');
	text[length] = '\0';
}

static void sleeper(struct container *container)
{
	container_init(container, &harness, ARGV("sleep", "1000"));
	container_launch(container, &harness);
	container_expect(container, MONITOR_STARTED);
}

static void end_sleeper(struct container *container)
{
	container_tell(container, MONITOR_ABORT, NULL, -1);
	container_finish(container);
	container_done(container, &harness);
}

static void a_session_runs_inside_with_pipes_and_an_exit_code(void **state)
{
	struct container container;
	struct session session = { 0 };
	char text[4096], errors[256];

	sleeper(&container);
	exec_spec_init(&session.spec);
	session.spec.stdin_open = true;
	session.spec.user = "web";
	session.spec.working_dir = "/tmp";
	session_start(&session, &container,
		      ARGV("sh", "-c",
			   "cat; id -u; pwd; hostname; cat /proc/1/comm; echo err >&2; "
			   "grep -c . /proc/self/mountinfo; exit 33"));
	assert_int_equal(write(session.forked.stdin_fd, "in\n", 3), 3);
	fd_close(&session.forked.stdin_fd);
	session_expect(&session, MONITOR_STARTED);
	session_expect(&session, MONITOR_EXITED);
	assert_int_equal(session.last.exited.exit_si_code, CLD_EXITED);
	assert_int_equal(session.last.exited.exit_si_status, 33);
	read_all(session.forked.stdout_fd, text, sizeof(text));
	read_all(session.forked.stderr_fd, errors, sizeof(errors));
	assert_int_equal(strncmp(text, "in\n1000\n/tmp\ntested\nsleep\n", 26), 0);
	assert_true(atoi(text + 26) < 60);
	assert_string_equal(errors, "err\n");
	session_end(&session);
	end_sleeper(&container);
}

static void a_session_sees_the_containers_root_and_not_the_hosts(void **state)
{
	struct container container;
	struct session session = { 0 };
	char text[4096];

	sleeper(&container);
	exec_spec_init(&session.spec);
	session_start(&session, &container,
		      ARGV("sh", "-c",
			   "ls /; ls /..; ls -d /usr /root 2>/dev/null; probe fds NEWUSER mount"));
	session_expect(&session, MONITOR_EXITED);
	read_all(session.forked.stdout_fd, text, sizeof(text));
	assert_string_equal(text, "bin\ndata\ndev\netc\nhome\nnoentry\nproc\nro\nsys\ntmp\n"
				  "bin\ndata\ndev\netc\nhome\nnoentry\nproc\nro\nsys\ntmp\n"
				  "fd 0\nfd 1\nfd 2\nNEWUSER EPERM\nmount EPERM\n");
	assert_int_equal(container.page->denied_total, 2); /* counted in the container's page */
	session_end(&session);
	end_sleeper(&container);
}

static void a_session_with_a_terminal_gets_one_of_the_containers(void **state)
{
	struct container container;
	struct session session = { 0 };
	char text[4096];

	sleeper(&container);
	exec_spec_init(&session.spec);
	session.spec.tty = true;
	session.spec.rows = 33;
	session.spec.columns = 99;
	session_start(&session, &container, ARGV("sh", "-c", "tty; stty size; read x; exit 4"));
	session_expect(&session, MONITOR_STARTED);
	assert_true(session.terminal_fd >= 0);
	read_line(session.terminal_fd, text, sizeof(text));
	assert_string_equal(text, "/dev/pts/0\r\n");
	read_line(session.terminal_fd, text, sizeof(text));
	assert_string_equal(text, "33 99\r\n");
	assert_int_equal(write(session.terminal_fd, "go\n", 3), 3); /* not before: it is echoed */
	session_expect(&session, MONITOR_EXITED);
	assert_int_equal(session.last.exited.exit_si_status, 4);
	read_all(session.terminal_fd, text, sizeof(text));
	session_end(&session);
	end_sleeper(&container);
}

static void a_session_is_in_the_containers_groups(void **state)
{
	struct container container;
	struct session session = { 0 };
	char text[4096];

	container_init(&container, &harness, ARGV("sleep", "1000"));
	container.limits.pids_max = 8;
	container_launch(&container, &harness);
	container_expect(&container, MONITOR_STARTED);
	exec_spec_init(&session.spec);
	session_start(&session, &container, ARGV("probe", "forks"));
	session_expect(&session, MONITOR_EXITED);
	end_sleeper(&container); /* and with it those that hold the pipe */
	read_all(session.forked.stdout_fd, text, sizeof(text));
	assert_string_equal(text, "forks 6\nforks EAGAIN\n");
	session_end(&session);
}

static void a_session_that_cannot_start_says_why(void **state)
{
	struct container container;
	struct session session = { 0 };

	sleeper(&container);
	exec_spec_init(&session.spec);
	session_start(&session, &container, ARGV("nosuchprogram"));
	session_expect(&session, MONITOR_START_FAILED);
	assert_int_equal(session.last.failed.err.kind, ERR_START);
	assert_non_null(strstr(session.last.failed.err.text, "nosuchprogram"));
	session_end(&session);
	container_tell(&container, MONITOR_ABORT, NULL, -1);
	container_expect(&container, MONITOR_EXITED);
	exec_spec_init(&session.spec);
	session_start(&session, &container, ARGV("true"));
	session_expect(&session, MONITOR_START_FAILED);
	assert_int_equal(session.last.failed.err.kind, ERR_PRECONDITION);
	session_end(&session);
	container_tell(&container, MONITOR_ACK_EXIT, NULL, -1);
	assert_int_equal(container_wait_monitor(&container), 0);
	container_done(&container, &harness);
}

static void the_containers_end_ends_its_sessions(void **state)
{
	struct container container;
	struct session session = { 0 };

	sleeper(&container);
	exec_spec_init(&session.spec);
	session_start(&session, &container, ARGV("sleep", "1000"));
	session_expect(&session, MONITOR_STARTED);
	end_sleeper(&container);
	session_expect(&session, MONITOR_EXITED);
	assert_int_equal(session.last.exited.exit_si_code, CLD_KILLED);
	assert_int_equal(session.last.exited.exit_si_status, SIGKILL);
	session_end(&session);
}

/* E01: a workload that opens the program of every new process for writing while sessions begin. */
static void nobody_inside_can_open_our_program_for_writing(void **state)
{
	struct container container;
	char *text;

	container_init(&container, &harness, ARGV("probe", "watch"));
	container_launch(&container, &harness);
	container_expect(&container, MONITOR_STARTED);
	for (unsigned int i = 0; i < 30; i++) {
		struct session session = { 0 };

		exec_spec_init(&session.spec);
		session.spec.session = 100 + i;
		session_start(&session, &container, ARGV("true"));
		session_expect(&session, MONITOR_EXITED);
		session_end(&session);
	}
	container_tell(&container, MONITOR_ABORT, NULL, -1);
	container_finish(&container);
	text = container_log(&container, "stdout");
	assert_string_equal(text, "");
	free(text);
	container_done(&container, &harness);
}

static void the_image_cannot_run_our_program_as_its_interpreter(void **state)
{
	struct container container;
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/rootfs/bin/self", harness.directory);
	file = fopen(path, "w");
	(void)fputs("#!/proc/self/exe\n", file);
	(void)fclose(file);
	assert_int_equal(chmod(path, 0755), 0);
	container_init(&container, &harness, ARGV("/bin/self"));
	container_launch(&container, &harness);
	container_expect(&container, MONITOR_START_FAILED);
	assert_non_null(strstr(container.last.failed.err.text, "/bin/self"));
	(void)container_wait_monitor(&container);
	container_done(&container, &harness);
}

static void our_program_runs_from_a_mount_that_nobody_writes_through(void **state)
{
	struct statvfs st;

	/* launch_protect_program() in main(): red without it where the build directory is writable. */
	assert_int_equal(statvfs("/proc/self/exe", &st), 0);
	assert_true(st.f_flag & ST_RDONLY);
}

static void sessions_leave_no_descriptor_behind(void **state)
{
	struct container container;
	int first, last;

	sleeper(&container);
	first = dup(0);
	(void)close(first);
	for (int i = 0; i < 50; i++) {
		struct session session = { 0 };

		exec_spec_init(&session.spec);
		session.spec.session = 200 + (uint64_t)i;
		session_start(&session, &container, ARGV(i % 2 ? "true" : "nosuchprogram"));
		session_expect(&session, i % 2 ? MONITOR_EXITED : MONITOR_START_FAILED);
		session_end(&session);
	}
	last = dup(0);
	(void)close(last);
	assert_int_equal(first, last);
	end_sleeper(&container);
}

static void with_the_hosts_ids_it_is_confined_all_the_same(void **state)
{
	struct harness mine = harness;
	struct container container;
	struct session session = { 0 };
	char *text, out[512];

	harness_begin(&harness, true);
	container_init(&container, &harness,
		       ARGV("sh", "-c",
			    "id -u; grep CapBnd /proc/self/status; probe write= "
			    "/proc/sys/kernel/core_pattern read= /proc/kallsyms NEWUSER mount "
			    "write= /proc/kmsg; ls -A /sys/fs/cgroup"));
	container_run(&container, &harness);
	text = container_log(&container, "stdout");
	assert_string_equal(text,
			    "0\nCapBnd:\t0000000000000000\n/proc/sys/kernel/core_pattern EROFS\n"
			    "/proc/kallsyms ENODATA\nNEWUSER EPERM\nmount EPERM\n"
			    "/proc/kmsg EACCES\n");
	free(text);
	container_done(&container, &harness);

	sleeper(&container);
	exec_spec_init(&session.spec);
	session_start(&session, &container, ARGV("sh", "-c", "hostname; cat /proc/1/comm"));
	session_expect(&session, MONITOR_EXITED);
	read_all(session.forked.stdout_fd, out, sizeof(out));
	assert_string_equal(out, "tested\nsleep\n");
	session_end(&session);
	end_sleeper(&container);
	harness_end(&harness);
	harness = mine;
}

static int begin(void **state)
{
	harness_begin(&harness, false);
	return 0;
}

static int end(void **state)
{
	harness_end(&harness);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_runs_inside_with_pipes_and_an_exit_code),
		cmocka_unit_test(a_session_sees_the_containers_root_and_not_the_hosts),
		cmocka_unit_test(a_session_with_a_terminal_gets_one_of_the_containers),
		cmocka_unit_test(a_session_is_in_the_containers_groups),
		cmocka_unit_test(a_session_that_cannot_start_says_why),
		cmocka_unit_test(the_containers_end_ends_its_sessions),
		cmocka_unit_test(nobody_inside_can_open_our_program_for_writing),
		cmocka_unit_test(the_image_cannot_run_our_program_as_its_interpreter),
		cmocka_unit_test(our_program_runs_from_a_mount_that_nobody_writes_through),
		cmocka_unit_test(sessions_leave_no_descriptor_behind),
		cmocka_unit_test(with_the_hosts_ids_it_is_confined_all_the_same),
	};
	struct err err = { 0 };

	if (!harness_possible())
		return 77;
	if (launch_protect_program(argv, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, begin, end);
}
