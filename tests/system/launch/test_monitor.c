/* What a monitor does after the launch: logs, attached clients, terminals, signals, a daemon that goes and
 * one that comes back. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/attach.h"
#include "proto/cleanup.h"
#include "tests/system/launch/harness.h"

static struct harness harness;

#define ARGV(...)                 \
	(const char *const[])     \
	{                         \
		__VA_ARGS__, NULL \
	}

static unsigned int count_files(int dir_fd, uint64_t *ret_largest)
{
	char path[64], line[256];
	unsigned int files = 0;
	FILE *list;

	*ret_largest = 0;
	(void)snprintf(path, sizeof(path), "ls -ln /proc/%d/fd/%d/", getpid(), dir_fd);
	list = popen(path, "r");
	while (fgets(line, sizeof(line), list)) {
		unsigned long long size;

		if (sscanf(line, "-%*s %*u %*u %*u %llu", &size) == 1) {
			files++;
			if (size > *ret_largest)
				*ret_largest = size;
		}
	}
	(void)pclose(list);
	return files;
}

static void logs_rotate_by_size_and_count(void **state)
{
	struct container container;
	uint64_t largest;
	char *text;

	container_init(
		&container, &harness,
		ARGV("sh", "-c", "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done"));
	container.spec.log.max_file_bytes = 20000;
	container.spec.log.max_files = 3;
	container_run(&container, &harness);
	assert_int_equal(count_files(container.log_fd, &largest), 3);
	assert_true(largest <= 20000);
	text = container_log(&container, "stdout");
	assert_non_null(strstr(text, "line 4999\n"));
	assert_null(strstr(text, "line 10\n"));
	/* Every byte is accounted for: what is there, and what rotation removed. */
	assert_int_equal(container.page->log_bytes, 5000 * 5 + 10 + 90 * 2 + 900 * 3 + 4000 * 4);
	assert_int_equal(container.page->log_dropped_bytes, 0);
	for (char *at = text; (at = strchr(at, '\n')); at++)
		largest = 0;
	assert_int_equal(container.page->log_bytes - container.page->log_rotated_bytes,
			 strlen(text) - ({
				 size_t lines = 0;
				 for (char *at = text; *at; at++)
					 lines += *at == '\n';
				 lines;
			 }));
	free(text);
	container_done(&container, &harness);
}

static void long_lines_are_split_and_parts_are_marked(void **state)
{
	struct container container;
	char *text;

	container_init(&container, &harness, ARGV("probe", "flood=", "8"));
	container.spec.log.max_file_bytes = 64 << 20;
	container_run(&container, &harness);
	text = container_log(&container, "stdout");
	assert_int_equal(container.page->log_bytes, 8 << 20);
	free(text);
	container_done(&container, &harness);
	container_init(&container, &harness,
		       ARGV("sh", "-c", "echo -n prompt; sleep 1; echo ' answer'"));
	container_run(&container, &harness);
	text = container_log(&container, "stdout");
	assert_string_equal(text, "prompt answer\n");
	free(text);
	container_done(&container, &harness);
}

static void a_full_disk_drops_and_counts_and_stops_nobody(void **state)
{
	struct container container;
	cleanup_fd int log_fd = -1;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/full", harness.directory);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(mount("tmpfs", path, "tmpfs", 0, "size=128k"), 0);
	log_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	container_init(&container, &harness, ARGV("probe", "flood=", "4"));
	container.spec.log.dir_fd = log_fd;
	container.spec.log.max_file_bytes = 64 << 20;
	container_run(&container, &harness);
	assert_int_equal(container.last.exited.exit_si_code, CLD_EXITED);
	assert_int_equal(container.last.exited.exit_si_status, 0);
	assert_int_equal(container.page->log_bytes + container.page->log_dropped_bytes, 4 << 20);
	assert_true(container.page->log_dropped_bytes > 3 << 20);
	assert_true(container.page->log_bytes > 0);
	assert_int_equal(container.last.exited.log_dropped_bytes,
			 container.page->log_dropped_bytes);
	container_done(&container, &harness);
	fd_close(&log_fd);
	assert_int_equal(umount2(path, MNT_DETACH), 0);
	assert_int_equal(rmdir(path), 0);
}

static void a_removed_log_file_is_begun_anew(void **state)
{
	struct container container;
	char *text;

	container_init(&container, &harness, ARGV("sh", "-c", "echo one; read x; echo two"));
	container.spec.stdin_open = true;
	container_launch(&container, &harness);
	container_expect(&container, MONITOR_STARTED);
	while (unlinkat(container.log_fd, "000000001.log", 0) < 0)
		assert_int_equal(errno, ENOENT);
	{
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		container_tell(&container, MONITOR_ATTACH, NULL, pair[1]);
		(void)close(pair[1]);
		assert_int_equal(send(pair[0], "\0go\n", 4, 0), 4);
		container_finish(&container);
		(void)close(pair[0]);
	}
	text = container_log(&container, "stdout");
	assert_string_equal(text, "two\n");
	free(text);
	container_done(&container, &harness);
}

/* Attach, and give our end. */
static int attach(struct container *container)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	container_tell(container, MONITOR_ATTACH, NULL, pair[1]);
	(void)close(pair[1]);
	return pair[0];
}

/* Everything that the monitor sends until it lets go, or until @until was seen. */
static size_t receive(int fd, uint8_t kind, char *text, size_t size, const char *until)
{
	size_t length = 0;

	text[0] = '\0';
	for (;;) {
		char packet[ATTACH_PACKET_MAX + 1];
		struct pollfd polled = { fd, POLLIN, 0 };
		ssize_t n;

		assert_int_equal(poll(&polled, 1, HARNESS_TIMEOUT_MS), 1);
		n = recv(fd, packet, sizeof(packet), 0);
		if (n <= 0)
			return length;
		if (packet[0] != (char)kind)
			continue;
		assert_true(length + (size_t)n < size);
		memcpy(text + length, packet + 1, (size_t)n - 1);
		length += (size_t)n - 1;
		text[length] = '\0';
		if (until && strstr(text, until))
			return length;
	}
}

static void a_client_attaches_to_input_and_output(void **state)
{
	struct container container;
	char text[4096];
	int fd;

	container_init(&container, &harness,
		       ARGV("sh", "-c", "read a; echo got $a; cat; echo over >&2; exit 5"));
	container.spec.stdin_open = true;
	container_launch(&container, &harness);
	container_expect(&container, MONITOR_STARTED);
	container_expect(&container, MONITOR_KEEP); /* its copy of the input would hold that open */
	fd = attach(&container);
	assert_int_equal(send(fd, "\0hello\n", 7, 0), 7);
	(void)receive(fd, ATTACH_STDOUT, text, sizeof(text), "got hello\n");
	(void)close(fd);
	fd = attach(&container); /* another client; the program did not notice */
	assert_int_equal(send(fd, "\0more\n", 6, 0), 6);
	(void)receive(fd, ATTACH_STDOUT, text, sizeof(text), "more\n");
	assert_int_equal(send(fd, "\1", 1, 0), 1); /* end of input */
	(void)receive(fd, ATTACH_STDERR, text, sizeof(text), NULL);
	assert_string_equal(text, "over\n");
	(void)close(fd);
	container_finish(&container);
	assert_int_equal(container.last.exited.exit_si_status, 5);
	container_done(&container, &harness);
}

static void a_terminal_is_the_containers_own(void **state)
{
	struct container container;
	char text[4096];
	int fd;

	container_init(&container, &harness,
		       ARGV("sh", "-c", "read x; tty; stty size; echo $TERM; probe tiocsti"));
	container.spec.tty = true;
	container.spec.rows = 30;
	container.spec.columns = 100;
	container_launch(&container, &harness);
	container_expect(&container, MONITOR_STARTED);
	fd = attach(&container);
	{
		uint16_t size[2] = { 40, 120 };
		char packet[5] = { ATTACH_RESIZE };

		memcpy(packet + 1, size, sizeof(size));
		assert_int_equal(send(fd, packet, sizeof(packet), 0), sizeof(packet));
	}
	assert_int_equal(send(fd, "\0go\n", 4, 0), 4);
	(void)receive(fd, ATTACH_STDOUT, text, sizeof(text), NULL);
	assert_non_null(strstr(text, "/dev/pts/0\r\n40 120\r\nxterm\r\ntiocsti EPERM"));
	(void)close(fd);
	container_finish(&container);
	assert_true(container.page->log_bytes > 20);
	container_done(&container, &harness);
}

static void signals_reach_the_first_process_or_all(void **state)
{
	struct monitor_message message = { .signal = { .number = SIGTERM } };
	struct container container;

	container_init(
		&container, &harness,
		ARGV("sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 1; done"));
	container_launch(&container, &harness);
	container_expect(&container, MONITOR_STARTED);
	while (!container.page->log_bytes)
		(void)sched_yield();
	container_tell(&container, MONITOR_SIGNAL, &message, -1);
	container_finish(&container);
	assert_int_equal(container.last.exited.exit_si_status, 7);
	container_done(&container, &harness);

	container_init(
		&container, &harness,
		ARGV("sh", "-c", "sleep 1000 & sleep 1000 & echo ready; wait; wait; exit 9"));
	container_launch(&container, &harness);
	container_expect(&container, MONITOR_STARTED);
	while (!container.page->log_bytes)
		(void)sched_yield();
	message.signal = (struct monitor_signal){ .number = SIGINT, .all = 1 };
	container_tell(&container, MONITOR_SIGNAL, &message, -1);
	message.signal = (struct monitor_signal){ .number = SIGTERM, .all = 1 };
	container_tell(&container, MONITOR_SIGNAL, &message, -1);
	container_finish(&container);
	assert_int_equal(container.last.exited.exit_si_code, CLD_EXITED);
	container_done(&container, &harness);

	container_init(&container, &harness, ARGV("sh", "-c", "sleep 1000 & echo ready; wait"));
	container_launch(&container, &harness);
	container_expect(&container, MONITOR_STARTED);
	while (!container.page->log_bytes)
		(void)sched_yield();
	message.signal = (struct monitor_signal){ .number = SIGKILL, .all = 1 };
	container_tell(&container, MONITOR_SIGNAL, &message, -1);
	container_finish(&container);
	assert_int_equal(container.last.exited.exit_si_code, CLD_KILLED);
	assert_int_equal(container.last.exited.exit_si_status, SIGKILL);
	container_done(&container, &harness);
}

static int reconnect(const struct container *container)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s",
		       container->run_fd, MONITOR_SOCKET_NAME);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void leave(struct container *container)
{
	for (size_t i = 0; i < container->started_fd_count; i++)
		(void)close(container->started_fds[i]);
	container->started_fd_count = 0;
	fd_close(&container->launched.control_fd);
}

static void a_monitor_outlives_the_daemon_and_talks_to_the_next(void **state)
{
	struct container container;
	int32_t pid;
	char *text;

	container_init(&container, &harness, ARGV("sh", "-c", "read x; echo $x; exit 6"));
	container.spec.stdin_open = true;
	container_launch(&container, &harness);
	container_expect(&container, MONITOR_STARTED);
	pid = container.started.pid;
	leave(&container);

	container.launched.control_fd = reconnect(&container);
	container_expect(&container, MONITOR_STARTED);
	assert_int_equal(container.started.pid, pid);
	assert_int_equal(container.started.step_count, 0);
	assert_int_equal(container.started.fds[0], MONITOR_FD_PIDFD);
	{
		int fd = attach(&container);

		assert_int_equal(send(fd, "\0still\n", 7, 0), 7);
		container_expect(&container, MONITOR_EXITED);
		(void)close(fd);
	}
	/* Not acknowledged: told again to whoever comes. */
	leave(&container);
	container.launched.control_fd = reconnect(&container);
	container_expect(&container, MONITOR_STARTED);
	container_finish(&container);
	assert_int_equal(container.last.exited.exit_si_status, 6);
	assert_int_equal(container.page->exit_si_status, 6);
	assert_int_equal(faccessat(container.run_fd, MONITOR_SOCKET_NAME, F_OK, 0), -1);
	text = container_log(&container, "stdout");
	assert_string_equal(text, "still\n");
	free(text);
	container_done(&container, &harness);
}

/* This test alone, in a pid namespace of its own. */
static int run_as_first_process(const char *test)
{
	char program[PATH_MAX] = "", command[PATH_MAX + 256];

	assert_true(readlink("/proc/self/exe", program, sizeof(program) - 1) > 0);
	(void)snprintf(command, sizeof(command),
		       "unshare --pid --fork --kill-child --mount-proc '%s' '%s' > /dev/null",
		       program, test);
	return system(command);
}

static void signal_from_another(pid_t pid, int number)
{
	pid_t another = fork();
	int status;

	if (another == 0)
		_exit(kill(pid, number) < 0);
	assert_int_equal(waitpid(another, &status, 0), another);
	assert_int_equal(status, 0);
}

/* As systemd says it: SIGTERM to everybody, with the daemon gone; and here the workload is frozen, too. */
static void the_first_process_says_that_the_host_goes_down(void **state)
{
	struct container container;
	struct err err = { 0 };
	uint64_t high_bytes;
	bool frozen;

	if (getpid() != 1) {
		assert_int_equal(run_as_first_process(__func__), 0);
		return;
	}
	container_init(&container, &harness,
		       ARGV("sh", "-c", "trap 'exit 7' TERM; echo ready; sleep 1000 & wait"));
	container_launch(&container, &harness);
	container_expect(&container, MONITOR_STARTED);
	while (!container.page->log_bytes)
		(void)sched_yield();
	assert_int_equal(taskgroup_freeze(harness.workload_group, true, &err), 0);
	leave(&container);

	signal_from_another(container.started.monitor_pid, SIGTERM);
	container.launched.control_fd = reconnect(&container);
	container_expect(&container, MONITOR_STARTED);
	leave(&container);
	taskgroup_read_hold(harness.workload_group, &frozen, &high_bytes);
	assert_true(frozen); /* it did not care */

	assert_int_equal(kill(container.started.pid, SIGTERM), 0);
	assert_int_equal(container.page->state, PAGE_RUNNING);
	assert_int_equal(kill(container.started.monitor_pid, SIGTERM), 0);
	assert_int_equal(container_wait_monitor(&container), 0);
	assert_int_equal(container.page->exit_si_code, CLD_EXITED);
	assert_int_equal(container.page->exit_si_status, 7);
	container_done(&container, &harness);
}

static unsigned long private_kib(pid_t pid, unsigned long *ret_pss)
{
	char path[64], line[128];
	unsigned long private = 0, value;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Private_Clean: %lu", &value) == 1 ||
		    sscanf(line, "Private_Dirty: %lu", &value) == 1)
		private += value;
		(void)sscanf(line, "Pss: %lu", ret_pss);
	}
	(void)fclose(file);
	return private;
}

static void an_idle_monitor_is_small(void **state)
{
	struct container containers[4];
	unsigned long pss = 0, private = 0;

	for (size_t i = 0; i < ARRAY_SIZE(containers); i++) {
		container_init(&containers[i], &harness, ARGV("sleep", "1000"));
		container_launch(&containers[i], &harness);
		container_expect(&containers[i], MONITOR_STARTED);
		/* It has become small when it answers at its socket. */
		fd_close(&containers[i].launched.control_fd);
		containers[i].launched.control_fd = reconnect(&containers[i]);
		for (size_t f = 0; f < containers[i].started_fd_count; f++)
			(void)close(containers[i].started_fds[f]);
		container_expect(&containers[i], MONITOR_STARTED);
	}
	private = private_kib(containers[3].started.monitor_pid, &pss);
	(void)printf("idle monitor: %lu KiB private, %lu KiB PSS\n", private, pss);
	for (size_t i = 0; i < ARRAY_SIZE(containers); i++) {
		container_tell(&containers[i], MONITOR_ABORT, NULL, -1);
		container_finish(&containers[i]);
		container_done(&containers[i], &harness);
	}
#ifndef __SANITIZE_ADDRESS__ /* whose run-time is larger than that */
	assert_true(private <= 100);
#endif
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
		cmocka_unit_test(logs_rotate_by_size_and_count),
		cmocka_unit_test(long_lines_are_split_and_parts_are_marked),
		cmocka_unit_test(a_full_disk_drops_and_counts_and_stops_nobody),
		cmocka_unit_test(a_removed_log_file_is_begun_anew),
		cmocka_unit_test(a_client_attaches_to_input_and_output),
		cmocka_unit_test(a_terminal_is_the_containers_own),
		cmocka_unit_test(signals_reach_the_first_process_or_all),
		cmocka_unit_test(a_monitor_outlives_the_daemon_and_talks_to_the_next),
		cmocka_unit_test(the_first_process_says_that_the_host_goes_down),
		cmocka_unit_test(an_idle_monitor_is_small),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return harness_possible() ? cmocka_run_group_tests(tests, begin, end) : 77;
}
