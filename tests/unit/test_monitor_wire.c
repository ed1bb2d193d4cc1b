#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/monitor_wire.h"

static int pair[2];

static int set_up(void **state)
{
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);
}

static int tear_down(void **state)
{
	(void)close(pair[0]);
	(void)close(pair[1]);
	return 0;
}

static void a_message_and_its_descriptors_arrive(void **state)
{
	struct monitor_message sent = { .started = { .pid = 42, .fd_count = 2 } }, got;
	int fds[MONITOR_FDS_MAX], two[2] = { pair[0], pair[1] };
	size_t count;

	assert_int_equal(monitor_send(pair[0], MONITOR_STARTED, &sent, two, 2), 0);
	assert_int_equal(monitor_receive(pair[1], &got, fds, &count), 1);
	assert_int_equal(got.header.kind, MONITOR_STARTED);
	assert_int_equal(got.started.pid, 42);
	assert_int_equal(count, 2);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		(void)close(fds[i]);
	}
}

static void nothing_there_and_nobody_there_are_told_apart(void **state)
{
	struct monitor_message got;
	int fds[MONITOR_FDS_MAX];
	size_t count;

	assert_int_equal(monitor_receive(pair[1], &got, fds, &count), -EAGAIN);
	(void)shutdown(pair[0], SHUT_RDWR);
	assert_int_equal(monitor_receive(pair[1], &got, fds, &count), 0);
	assert_int_equal(monitor_send(pair[1], MONITOR_READY, &got, NULL, 0), -EPIPE);
	assert_int_equal(monitor_send(-1, MONITOR_READY, &got, NULL, 0), -EPIPE);
}

/* As a monitor that was told to open its gate and could not start. */
static void what_was_said_before_the_end_arrives_though_not_all_was_heard(void **state)
{
	struct monitor_message got = { 0 };
	int fds[MONITOR_FDS_MAX];
	size_t count;

	assert_int_equal(monitor_send(pair[1], MONITOR_OPEN_GATE, &got, NULL, 0), 0);
	assert_int_equal(monitor_send(pair[0], MONITOR_START_FAILED, &got, NULL, 0), 0);
	(void)close(pair[0]);
	assert_int_equal(monitor_receive(pair[1], &got, fds, &count), 1);
	assert_int_equal(got.header.kind, MONITOR_START_FAILED);
	assert_int_equal(monitor_receive(pair[1], &got, fds, &count), 0);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
}

static void a_shorter_packet_of_an_older_release_has_zeros(void **state)
{
	struct monitor_message got;
	uint32_t packet[3] = { 1, MONITOR_EXITED, 9 };
	int fds[MONITOR_FDS_MAX];
	size_t count;

	memset(&got, 0xff, sizeof(got));
	assert_int_equal(send(pair[0], packet, sizeof(packet), 0), sizeof(packet));
	assert_int_equal(monitor_receive(pair[1], &got, fds, &count), 1);
	assert_int_equal(got.exited.exit_si_code, 9);
	assert_int_equal(got.exited.total_cpu_ns, 0);
	assert_int_equal(send(pair[0], packet, 4, 0), 4);
	assert_int_equal(monitor_receive(pair[1], &got, fds, &count), -EBADMSG);
}

static void texts_end_and_counts_are_bounded_whatever_was_sent(void **state)
{
	struct monitor_message sent, got;
	int fds[MONITOR_FDS_MAX];
	size_t count;

	memset(&sent, 'x', sizeof(sent));
	assert_int_equal(monitor_send(pair[0], MONITOR_START_FAILED, &sent, NULL, 0), 0);
	assert_int_equal(monitor_receive(pair[1], &got, fds, &count), 1);
	assert_int_equal(strlen(got.failed.err.text), sizeof(got.failed.err.text) - 1);
	assert_int_equal(strlen(got.failed.step), sizeof(got.failed.step) - 1);
	memset(&sent, 'x', sizeof(sent));
	assert_int_equal(monitor_send(pair[0], MONITOR_STARTED, &sent, NULL, 0), 0);
	assert_int_equal(monitor_receive(pair[1], &got, fds, &count), 1);
	assert_int_equal(got.started.step_count, MONITOR_STEPS_MAX);
	assert_int_equal(got.started.fd_count, MONITOR_FDS_MAX);
}

/* The packets of version 1, byte by byte: monitors that speak it live on through upgrades of the daemon. */
static void put32(unsigned char *packet, size_t at, uint32_t value)
{
	memcpy(packet + at, &value, sizeof(value));
}

static void put64(unsigned char *packet, size_t at, uint64_t value)
{
	memcpy(packet + at, &value, sizeof(value));
}

static void receive_golden(unsigned char *packet, size_t length, uint32_t kind,
			   struct monitor_message *got)
{
	int fds[MONITOR_FDS_MAX];
	size_t count;

	put32(packet, 0, 1);
	put32(packet, 4, kind);
	assert_int_equal(send(pair[0], packet, length, 0), length);
	assert_int_equal(monitor_receive(pair[1], got, fds, &count), 1);
	assert_int_equal(got->header.version, 1);
}

static void what_a_monitor_of_version_1_says_is_understood(void **state)
{
	unsigned char packet[1360] = { 0 };
	struct monitor_message got;

	put32(packet, 8, 4711);                /* pid */
	put32(packet, 12, 4710);               /* monitor_pid */
	put64(packet, 16, 0x1122334455667788); /* started_wall_ns */
	put64(packet, 24, 0x99);               /* started_boot_ns */
	put64(packet, 32, 31337);              /* group_id */
	put32(packet, 40, 2);                  /* fd_count */
	put32(packet, 44, 1);                  /* pidfd */
	put32(packet, 48, 2);                  /* unified */
	put32(packet, 76, 1);                  /* step_count */
	memcpy(packet + 80, "clone", 6);       /* its name */
	put64(packet, 104, 77);                /* and time */
	receive_golden(packet, 1360, 66, &got);
	assert_true(got.started.pid == 4711 && got.started.monitor_pid == 4710 &&
		    got.started.started_wall_ns == 0x1122334455667788 &&
		    got.started.started_boot_ns == 0x99 && got.started.group_id == 31337 &&
		    got.started.fd_count == 2 && got.started.fds[1] == MONITOR_FD_UNIFIED &&
		    got.started.step_count == 1 && got.started.steps[0].ns == 77);
	assert_string_equal(got.started.steps[0].name, "clone");

	memset(packet, 0, sizeof(packet));
	put32(packet, 8, 1);
	put32(packet, 12, 37);
	for (uint64_t i = 0; i < 9; i++) /* finished_wall_ns and the eight after it */
		put64(packet, 16 + 8 * i, 100 + i);
	put32(packet, 88, 5); /* killed_processes */
	receive_golden(packet, 96, 68, &got);
	assert_true(got.exited.exit_si_code == 1 && got.exited.exit_si_status == 37 &&
		    got.exited.finished_wall_ns == 100 && got.exited.finished_boot_ns == 101 &&
		    got.exited.total_cpu_ns == 102 && got.exited.total_memory_peak_bytes == 103 &&
		    got.exited.total_io_read_bytes == 104 &&
		    got.exited.total_io_write_bytes == 105 && got.exited.total_oom_kills == 106 &&
		    got.exited.log_bytes == 107 && got.exited.log_dropped_bytes == 108 &&
		    got.exited.killed_processes == 5);

	memset(packet, 0, sizeof(packet));
	memcpy(packet + 8, "rootfs", 6);
	put32(packet, 32, ERR_START);
	put32(packet, 36, ENOENT);
	memcpy(packet + 40, "why", 3);
	receive_golden(packet, 424, 67, &got);
	assert_string_equal(got.failed.step, "rootfs");
	assert_int_equal(got.failed.err.errnum, ENOENT);
	assert_string_equal(got.failed.err.text, "why");

	memset(packet, 0, sizeof(packet));
	put32(packet, 8, 165);
	put32(packet, 12, 1);
	memcpy(packet + 16, "/bin/x", 6);
	receive_golden(packet, 272, 69, &got);
	assert_true(got.denied.nr == 165 && got.denied.errnum == 1);
	assert_string_equal(got.denied.program, "/bin/x");
}

static void what_is_said_to_a_monitor_of_version_1_is_what_it_knows(void **state)
{
	static const struct {
		uint32_t kind;
		size_t length;
	} sent[] = { { 1, 8 }, { 2, 8 }, { 3, 16 }, { 4, 8 }, { 5, 8 }, { 6, 16 } };
	struct monitor_message message = { .signal = { .number = 15, .all = 1 } };
	unsigned char packet[2048];
	uint32_t words[4];

	for (size_t i = 0; i < sizeof(sent) / sizeof(sent[0]); i++) {
		assert_int_equal(monitor_send(pair[0], sent[i].kind, &message, NULL, 0), 0);
		assert_int_equal(recv(pair[1], packet, sizeof(packet), 0), sent[i].length);
		memcpy(words, packet, sizeof(words));
		assert_int_equal(words[1], sent[i].kind);
		if (sent[i].kind == MONITOR_SIGNAL)
			assert_true(words[2] == 15 && words[3] == 1);
	}
}

static void what_is_to_be_kept_is_named(void **state)
{
	const int kept[MONITOR_KEEP_COUNT] = { -1, -1, pair[0], -1, -1, pair[1], -1 };
	struct monitor_message got;
	int fds[MONITOR_FDS_MAX];
	size_t count;

	assert_int_equal(monitor_send_keep(pair[0], kept), 0);
	assert_int_equal(monitor_receive(pair[1], &got, fds, &count), 1);
	assert_int_equal(got.header.kind, MONITOR_KEEP);
	assert_int_equal(count, 2);
	assert_int_equal(got.keep.fd_count, 2);
	assert_int_equal(got.keep.fds[0], MONITOR_KEEP_STDOUT);
	assert_int_equal(got.keep.fds[1], MONITOR_KEEP_LISTENER);
	for (size_t i = 0; i < count; i++)
		(void)close(fds[i]);
}

static void an_unknown_kind_is_not_sent(void **state)
{
	struct monitor_message message = { 0 };

	assert_int_equal(monitor_send(pair[0], 4711, &message, NULL, 0), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_message_and_its_descriptors_arrive, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(nothing_there_and_nobody_there_are_told_apart,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			what_was_said_before_the_end_arrives_though_not_all_was_heard, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(a_shorter_packet_of_an_older_release_has_zeros,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(texts_end_and_counts_are_bounded_whatever_was_sent,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_a_monitor_of_version_1_says_is_understood,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			what_is_said_to_a_monitor_of_version_1_is_what_it_knows, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_to_be_kept_is_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_unknown_kind_is_not_sent, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
