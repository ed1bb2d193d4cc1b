#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "every_type.pb-c.h"
#include "proto/packet.h"

static uint8_t buffer[PACKET_BYTES_MAX];

struct pair {
	int a;
	int b;
	unsigned open_fds;
};

static unsigned count_open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int open_pair(void **state)
{
	static struct pair pair;
	int fds[2];

	pair.open_fds = count_open_fds();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	pair.a = fds[0];
	pair.b = fds[1];
	if (packet_prepare_socket(pair.a, NULL) < 0 || packet_prepare_socket(pair.b, NULL) < 0)
		return -1;
	*state = &pair;
	return 0;
}

/* Every test leaves as many descriptors as there were. */
static int close_pair(void **state)
{
	struct pair *pair = *state;

	fd_close(&pair->a);
	fd_close(&pair->b);
	return count_open_fds() == pair->open_fds ? 0 : -1;
}

/* A message of about @size bytes. */
static Berth__Test__Tree *tree_of(size_t size)
{
	static char text[2 * PACKET_BYTES_MAX];
	static Berth__Test__Tree tree;

	berth__test__tree__init(&tree);
	memset(text, 'x', size);
	text[size] = '\0';
	tree.leaf = text;
	return &tree;
}

static int send_tree(int fd, struct packet_queue *queue, size_t size, const int *fds, size_t n_fds,
		     struct err *err)
{
	return packet_send(fd, queue, &tree_of(size)->base, fds, n_fds, err);
}

static void expect_tree(int fd, size_t size)
{
	cleanup_packet struct packet packet = { .n_fds = 0 };
	struct err err = { 0 };
	Berth__Test__Tree *got;

	assert_int_equal(packet_recv(fd, buffer, sizeof(buffer), &packet, &err), 1);
	got = berth__test__tree__unpack(NULL, packet.length, packet.bytes);
	assert_non_null(got);
	assert_int_equal(strlen(got->leaf), size);
	berth__test__tree__free_unpacked(got, NULL);
}

/* As a hostile peer would: any bytes, any number of descriptors. */
static void send_raw(int fd, size_t length, size_t n_fds)
{
	static uint8_t bytes[2 * PACKET_BYTES_MAX];
	uint8_t control[CMSG_SPACE(253 * sizeof(int))] = { 0 };
	struct iovec iov = { .iov_base = bytes, .iov_len = length };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds > 0) {
		struct cmsghdr *cmsg;

		header.msg_control = control;
		header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		for (size_t i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &fd, sizeof(int));
	}
	assert_int_equal(sendmsg(fd, &header, 0), length);
}

static void a_message_arrives_as_it_was_sent(void **state)
{
	struct pair *pair = *state;

	assert_int_equal(send_tree(pair->a, NULL, 5, NULL, 0, NULL), 0);
	assert_int_equal(send_tree(pair->a, NULL, 50000, NULL, 0, NULL), 0);
	expect_tree(pair->b, 5);
	expect_tree(pair->b, 50000);
}

static void the_largest_message_passes(void **state)
{
	struct pair *pair = *state;
	struct err err = { 0 };

	/* tag and length of the text take 4 bytes */
	assert_int_equal(send_tree(pair->a, NULL, PACKET_BYTES_MAX - 4, NULL, 0, &err), 0);
	expect_tree(pair->b, PACKET_BYTES_MAX - 4);
	assert_int_equal(send_tree(pair->a, NULL, PACKET_BYTES_MAX - 3, NULL, 0, &err), -EINVAL);
	assert_int_equal(err.kind, ERR_INTERNAL);
	assert_non_null(strstr(err.text, "berth.test.Tree"));
}

static void nothing_there_is_eagain(void **state)
{
	struct pair *pair = *state;
	struct packet packet;
	struct err err = { 0 };

	assert_int_equal(packet_recv(pair->b, buffer, sizeof(buffer), &packet, &err), -EAGAIN);
	assert_int_equal(err.kind, ERR_NONE);
}

static void the_end_is_zero(void **state)
{
	struct pair *pair = *state;
	struct packet packet;

	assert_int_equal(send_tree(pair->a, NULL, 1, NULL, 0, NULL), 0);
	fd_close(&pair->a);
	expect_tree(pair->b, 1);
	assert_int_equal(packet_recv(pair->b, buffer, sizeof(buffer), &packet, NULL), 0);
}

static void to_a_peer_that_is_gone_is_unavailable(void **state)
{
	struct pair *pair = *state;
	struct err err = { 0 };

	fd_close(&pair->b);
	assert_int_equal(send_tree(pair->a, NULL, 1, NULL, 0, &err), -EPIPE);
	assert_int_equal(err.kind, ERR_UNAVAILABLE);
}

static void an_empty_message_is_not_sent(void **state)
{
	struct pair *pair = *state;
	struct packet packet;

	assert_int_equal(send_tree(pair->a, NULL, 0, NULL, 0, NULL), -EINVAL);
	assert_int_equal(packet_recv(pair->b, buffer, sizeof(buffer), &packet, NULL), -EAGAIN);
}

static void descriptors_travel_and_are_close_on_exec(void **state)
{
	struct pair *pair = *state;
	cleanup_packet struct packet packet = { .n_fds = 0 };
	cleanup_fd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	cleanup_fd int taken = -1;
	int fds[PACKET_FDS_MAX];
	struct stat sent, got;

	for (size_t i = 0; i < PACKET_FDS_MAX; i++)
		fds[i] = null;
	assert_int_equal(send_tree(pair->a, NULL, 9, fds, PACKET_FDS_MAX, NULL), 0);
	assert_int_equal(packet_recv(pair->b, buffer, sizeof(buffer), &packet, NULL), 1);
	assert_int_equal(packet.n_fds, PACKET_FDS_MAX);
	assert_int_equal(fstat(null, &sent), 0);
	for (size_t i = 0; i < packet.n_fds; i++) {
		assert_int_equal(fcntl(packet.fds[i], F_GETFD), FD_CLOEXEC);
		assert_int_equal(fstat(packet.fds[i], &got), 0);
		assert_int_equal(got.st_rdev, sent.st_rdev);
	}
	taken = packet_take_fd(&packet, 3);
	assert_true(taken >= 0);
	assert_int_equal(packet_take_fd(&packet, 3), -1);
	assert_int_equal(packet_take_fd(&packet, PACKET_FDS_MAX), -1);
	packet_done(&packet);
	assert_true(fcntl(taken, F_GETFD) >= 0); /* what was taken stays open */
}

static void too_many_descriptors_are_not_sent(void **state)
{
	struct pair *pair = *state;
	int fds[PACKET_FDS_MAX + 1];
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = pair->a;
	assert_int_equal(send_tree(pair->a, NULL, 1, fds, ARRAY_SIZE(fds), &err), -EINVAL);
	assert_non_null(strstr(err.text, "33 descriptors"));
}

static void too_many_descriptors_are_closed_and_refused(void **state)
{
	static const size_t counts[] = { 33, 34, 36, 40, 41, 42, 100, 253 };
	struct pair *pair = *state;

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		unsigned before = count_open_fds();
		struct packet packet;
		struct err err = { 0 };

		send_raw(pair->a, 5, counts[i]);
		assert_int_equal(packet_recv(pair->b, buffer, sizeof(buffer), &packet, &err),
				 -EBADMSG);
		assert_int_equal(err.kind, ERR_INVALID);
		assert_int_equal(count_open_fds(), before);
	}
}

static void a_long_packet_is_refused_and_its_descriptors_closed(void **state)
{
	struct pair *pair = *state;
	unsigned before = count_open_fds();
	struct packet packet = { .length = 77 };
	struct err err = { 0 };

	send_raw(pair->a, PACKET_BYTES_MAX + 1, 3);
	assert_int_equal(packet_recv(pair->b, buffer, sizeof(buffer), &packet, &err), -EMSGSIZE);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(packet.length, 77);
	assert_int_equal(count_open_fds(), before);

	send_raw(pair->a, 101, 3);
	assert_int_equal(packet_recv(pair->b, buffer, 100, &packet, &err), -EMSGSIZE);
	send_raw(pair->a, 100, 0);
	assert_int_equal(packet_recv(pair->b, buffer, 100, &packet, &err), 1);
}

static void descriptors_of_an_empty_packet_are_closed(void **state)
{
	struct pair *pair = *state;
	unsigned before = count_open_fds();
	struct packet packet;

	send_raw(pair->a, 0, 2);
	assert_int_equal(packet_recv(pair->b, buffer, sizeof(buffer), &packet, NULL), 0);
	assert_int_equal(count_open_fds(), before);
}

static void without_room_for_descriptors_it_is_refused(void **state)
{
	struct pair *pair = *state;
	struct rlimit old, low;
	struct packet packet;
	struct err err = { 0 };
	unsigned before = count_open_fds();
	int r;

	send_raw(pair->a, 5, 8);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)(pair->a > pair->b ? pair->a : pair->b) + 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	r = packet_recv(pair->b, buffer, sizeof(buffer), &packet, &err);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r, -EBADMSG);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(count_open_fds(), before);
}

static void credentials_beside_the_descriptors_do_no_harm(void **state)
{
	struct pair *pair = *state;
	cleanup_packet struct packet packet = { .n_fds = 0 };
	int on = 1, fds[PACKET_FDS_MAX];

	for (size_t i = 0; i < PACKET_FDS_MAX; i++)
		fds[i] = pair->a;
	assert_int_equal(setsockopt(pair->b, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	assert_int_equal(send_tree(pair->a, NULL, 9, fds, PACKET_FDS_MAX, NULL), 0);
	assert_int_equal(packet_recv(pair->b, buffer, sizeof(buffer), &packet, NULL), 1);
	assert_int_equal(packet.n_fds, PACKET_FDS_MAX);
}

static void without_a_queue_a_full_socket_is_exhausted(void **state)
{
	struct pair *pair = *state;
	struct err err = { 0 };
	int r;

	do {
		r = send_tree(pair->a, NULL, 10000, NULL, 0, &err);
	} while (r == 0);
	assert_int_equal(r, -EAGAIN);
	assert_int_equal(err.kind, ERR_EXHAUSTED);
}

static void what_the_socket_does_not_take_waits_in_order(void **state)
{
	struct pair *pair = *state;
	cleanup_fd int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct packet_queue queue;
	size_t sent = 0, got = 0;
	struct err err = { 0 };

	packet_queue_init(&queue, 1 << 20, 1000);
	while (queue.messages < 20)
		assert_int_equal(send_tree(pair->a, &queue, 10000 + sent++, &null, 1, &err), 0);
	assert_int_equal(packet_flush(pair->a, &queue, &err), 1);
	while (!packet_queue_is_empty(&queue)) {
		expect_tree(pair->b, 10000 + got++);
		assert_true(packet_flush(pair->a, &queue, &err) >= 0);
	}
	assert_int_equal(queue.bytes, 0);
	assert_int_equal(queue.messages, 0);
	while (got < sent)
		expect_tree(pair->b, 10000 + got++);
	packet_queue_done(&queue);
}

static void nothing_overtakes_what_waits(void **state)
{
	struct pair *pair = *state;
	struct packet_queue queue;
	size_t before = 0;

	packet_queue_init(&queue, 1 << 20, 1000);
	while (packet_queue_is_empty(&queue)) {
		assert_int_equal(send_tree(pair->a, &queue, 10000, NULL, 0, NULL), 0);
		before++;
	}
	for (size_t i = 0; i + 1 < before; i++) /* the socket has room again */
		expect_tree(pair->b, 10000);
	assert_int_equal(send_tree(pair->a, &queue, 5, NULL, 0, NULL), 0);
	assert_int_equal(queue.messages, 2);
	assert_int_equal(packet_flush(pair->a, &queue, NULL), 0);
	expect_tree(pair->b, 10000);
	expect_tree(pair->b, 5);
}

static void the_send_buffer_fits_the_largest_packet(void **state)
{
	struct pair *pair = *state;
	int bytes = 0;
	socklen_t size = sizeof(bytes);

	/* whatever net.core.wmem_default is */
	assert_int_equal(getsockopt(pair->a, SOL_SOCKET, SO_SNDBUF, &bytes, &size), 0);
	assert_true(bytes >= (int)(2 * PACKET_BYTES_MAX));
	assert_true(fcntl(pair->a, F_GETFL) & O_NONBLOCK);
}

static void a_queued_descriptor_outlives_the_callers(void **state)
{
	struct pair *pair = *state;
	struct packet_queue queue;
	struct stat sent, got;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	size_t before = 0;

	packet_queue_init(&queue, 1 << 20, 1000);
	while (packet_queue_is_empty(&queue)) {
		assert_int_equal(send_tree(pair->a, &queue, 10000, &null, 1, NULL), 0);
		before++;
	}
	assert_int_equal(fstat(null, &sent), 0);
	fd_close(&null);
	for (size_t i = 0; i < before; i++) {
		cleanup_packet struct packet packet = { .n_fds = 0 };

		assert_int_equal(packet_recv(pair->b, buffer, sizeof(buffer), &packet, NULL), 1);
		assert_int_equal(packet.n_fds, 1);
		assert_int_equal(fstat(packet.fds[0], &got), 0);
		assert_int_equal(got.st_rdev, sent.st_rdev);
		assert_true(packet_flush(pair->a, &queue, NULL) >= 0);
	}
	assert_true(packet_queue_is_empty(&queue));
}

static void a_queue_is_bounded_in_bytes_and_messages(void **state)
{
	struct pair *pair = *state;
	struct packet_queue queue;
	struct err err = { 0 };

	packet_queue_init(&queue, 25000, 1000);
	while (packet_queue_is_empty(&queue))
		assert_int_equal(send_tree(pair->a, &queue, 10000, NULL, 0, &err), 0);
	assert_int_equal(send_tree(pair->a, &queue, 10000, NULL, 0, &err), 0);
	assert_int_equal(send_tree(pair->a, &queue, 10000, NULL, 0, &err), -EAGAIN);
	assert_int_equal(err.kind, ERR_EXHAUSTED);
	assert_int_equal(send_tree(pair->a, &queue, 1000, NULL, 0, &err), 0);
	packet_queue_done(&queue);

	packet_queue_init(&queue, 1 << 20, 2);
	while (packet_queue_is_empty(&queue))
		assert_int_equal(send_tree(pair->a, &queue, 10000, NULL, 0, &err), 0);
	assert_int_equal(send_tree(pair->a, &queue, 1, NULL, 0, &err), 0);
	assert_int_equal(send_tree(pair->a, &queue, 1, NULL, 0, &err), -EAGAIN);
	packet_queue_done(&queue);
}

static void a_dropped_queue_closes_its_descriptors(void **state)
{
	struct pair *pair = *state;
	unsigned before = count_open_fds();
	struct packet_queue queue;
	int fds[] = { pair->a, pair->b };

	packet_queue_init(&queue, 1 << 20, 1000);
	while (queue.messages < 10)
		assert_int_equal(send_tree(pair->a, &queue, 10000, fds, 2, NULL), 0);
	assert_int_equal(count_open_fds(), before + 20);
	packet_queue_done(&queue);
	assert_int_equal(count_open_fds(), before);
	assert_true(packet_queue_is_empty(&queue));
}

static void a_bad_descriptor_is_an_error_and_nothing_is_queued(void **state)
{
	struct pair *pair = *state;
	struct packet_queue queue;
	struct err err = { 0 };
	int fds[] = { pair->a, -1 };

	packet_queue_init(&queue, 1 << 20, 1000);
	assert_int_equal(send_tree(pair->a, &queue, 10, fds, 2, &err), -EBADF);
	assert_true(packet_queue_is_empty(&queue));
	while (packet_queue_is_empty(&queue))
		assert_int_equal(send_tree(pair->a, &queue, 10000, NULL, 0, &err), 0);
	assert_int_equal(send_tree(pair->a, &queue, 10, fds, 2, &err), -EBADF);
	assert_int_equal(queue.messages, 1);
	packet_queue_done(&queue);
}

#define packet_test(f) cmocka_unit_test_setup_teardown(f, open_pair, close_pair)

int main(void)
{
	const struct CMUnitTest tests[] = {
		packet_test(a_message_arrives_as_it_was_sent),
		packet_test(the_largest_message_passes),
		packet_test(nothing_there_is_eagain),
		packet_test(the_end_is_zero),
		packet_test(to_a_peer_that_is_gone_is_unavailable),
		packet_test(an_empty_message_is_not_sent),
		packet_test(descriptors_travel_and_are_close_on_exec),
		packet_test(too_many_descriptors_are_not_sent),
		packet_test(too_many_descriptors_are_closed_and_refused),
		packet_test(a_long_packet_is_refused_and_its_descriptors_closed),
		packet_test(descriptors_of_an_empty_packet_are_closed),
		packet_test(without_room_for_descriptors_it_is_refused),
		packet_test(credentials_beside_the_descriptors_do_no_harm),
		packet_test(without_a_queue_a_full_socket_is_exhausted),
		packet_test(what_the_socket_does_not_take_waits_in_order),
		packet_test(nothing_overtakes_what_waits),
		packet_test(the_send_buffer_fits_the_largest_packet),
		packet_test(a_queued_descriptor_outlives_the_callers),
		packet_test(a_queue_is_bounded_in_bytes_and_messages),
		packet_test(a_dropped_queue_closes_its_descriptors),
		packet_test(a_bad_descriptor_is_an_error_and_nothing_is_queued),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
