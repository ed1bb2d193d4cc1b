/* Against a socket that is systemd's end; what a daemon is passed is what the environment says. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/cleanup.h"
#include "sandbox/descriptor_store.h"

static int systemd_fd;

static int set_up(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t length = sizeof(address.sun_family);

	systemd_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Without a name: the kernel gives an abstract one. */
	if (bind(systemd_fd, (struct sockaddr *)&address, length) < 0)
		return -1;
	length = sizeof(address);
	if (getsockname(systemd_fd, (struct sockaddr *)&address, &length) < 0)
		return -1;
	address.sun_path[0] = '@';
	return setenv("NOTIFY_SOCKET", address.sun_path, 1);
}

static int tear_down(void **state)
{
	(void)unsetenv("NOTIFY_SOCKET");
	fd_close(&systemd_fd);
	return 0;
}

/* What systemd is told next; returns how many descriptors came with it, which are closed. */
static size_t hear(char *text, size_t size)
{
	char control[CMSG_SPACE(16 * sizeof(int))];
	struct iovec iov = { text, size - 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control,
			      .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(systemd_fd, &msg, MSG_CMSG_CLOEXEC);
	size_t count = 0;

	text[n > 0 ? n : 0] = '\0';
	for (struct cmsghdr *cmsg = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL; cmsg;
	     cmsg = CMSG_NXTHDR(&msg, cmsg)) {
		if (cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++)
			(void)close(((int *)CMSG_DATA(cmsg))[i]);
	}
	return count;
}

static void what_is_put_is_kept_whatever_hangs_up(void **state)
{
	char text[512];

	descriptor_store_put("keep.w-1.1.main.1", (const int[]){ 0, 1 }, 2);
	assert_int_equal(hear(text, sizeof(text)), 2);
	assert_non_null(strstr(text, "FDSTORE=1"));
	assert_non_null(strstr(text, "FDPOLL=0"));
	assert_non_null(strstr(text, "FDNAME=keep.w-1.1.main.1"));
	descriptor_store_remove("keep.w-1.1.main.1");
	assert_int_equal(hear(text, sizeof(text)), 0);
	assert_non_null(strstr(text, "FDSTOREREMOVE=1"));
}

static void without_systemd_nothing_is_told(void **state)
{
	char text[512];

	(void)unsetenv("NOTIFY_SOCKET");
	descriptor_store_put("keep.x", (const int[]){ 0 }, 1);
	descriptor_store_remove("keep.x");
	assert_int_equal(hear(text, sizeof(text)), 0);
	assert_string_equal(text, "");
}

static void take_passed(void)
{
	char text[512], pid[16];
	int fds[DESCRIPTOR_STORE_FDS_MAX], socket_fd;

	for (int fd = 3; fd < 7; fd++)
		(void)dup2(0, fd);
	(void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
	(void)setenv("LISTEN_PID", pid, 1);
	(void)setenv("LISTEN_FDS", "4", 1);
	(void)setenv("LISTEN_FDNAMES", "keep.a:sandboxd.socket:keep.b:keep.a", 1);
	descriptor_store_begin();
	assert_int_equal(fcntl(3, F_GETFD), FD_CLOEXEC);
	assert_int_equal(descriptor_store_sockets(&socket_fd), 1);
	assert_int_equal(socket_fd, 4);
	assert_int_equal(descriptor_store_take("keep.a", fds), 2);
	assert_true(fds[0] == 3 && fds[1] == 6);
	assert_int_equal(descriptor_store_take("keep.a", fds), 0);
	assert_int_equal(descriptor_store_discard(), 1);
	assert_int_equal(fcntl(5, F_GETFD), -1);
	assert_int_equal(fcntl(4, F_GETFD), FD_CLOEXEC);
	assert_int_equal(hear(text, sizeof(text)), 0);
	assert_non_null(strstr(text, "FDNAME=keep.b"));
}

static void what_was_kept_is_taken_by_name_and_the_rest_is_forgotten(void **state)
{
	int high_fd = fcntl(systemd_fd, F_DUPFD_CLOEXEC, 100);

	fd_close(&systemd_fd);
	systemd_fd = high_fd;
	take_passed();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_put_is_kept_whatever_hangs_up, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(without_systemd_nothing_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			what_was_kept_is_taken_by_name_and_the_rest_is_forgotten, set_up,
			tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
