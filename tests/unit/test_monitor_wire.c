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
		cmocka_unit_test_setup_teardown(a_shorter_packet_of_an_older_release_has_zeros,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(texts_end_and_counts_are_bounded_whatever_was_sent,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_unknown_kind_is_not_sent, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
