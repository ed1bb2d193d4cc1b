#include "sandbox/aside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/cleanup.h"

union control {
	struct cmsghdr header; /* for its alignment */
	char bytes[CMSG_SPACE(ASIDE_MAX * sizeof(int))];
};

static bool is_listed(const struct aside *aside, int fd)
{
	for (size_t i = 0; i < aside->count; i++)
		if (aside->numbers[i] == fd)
			return true;
	return false;
}

static int list(struct aside *aside, const int *fds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (fds[i] < 0 || is_listed(aside, fds[i]))
			continue;
		if (aside->count == ASIDE_MAX)
			return -E2BIG;
		aside->numbers[aside->count++] = fds[i];
	}
	return 0;
}

static int send_all(const struct aside *aside)
{
	char byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	union control control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;

	msg.msg_control = control.bytes;
	msg.msg_controllen = CMSG_SPACE(aside->count * sizeof(int));
	cmsg = CMSG_FIRSTHDR(&msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(aside->count * sizeof(int));
	memcpy(CMSG_DATA(cmsg), aside->numbers, aside->count * sizeof(int));
	return sendmsg(aside->socket_fds[0], &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static void forget(struct aside *aside)
{
	fd_close(&aside->socket_fds[0]);
	fd_close(&aside->socket_fds[1]);
	aside->count = 0;
}

int aside_put(struct aside *aside, const int *fds, size_t count, struct err *err)
{
	int r = list(aside, fds, count);

	if (r == 0 && aside->count == 0)
		return 0;
	if (r == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, aside->socket_fds) < 0)
		r = -errno;
	if (r == 0)
		r = send_all(aside);
	if (r < 0) {
		forget(aside);
		return err_set(err, ERR_EXHAUSTED, -r, "cannot set descriptors aside: %m");
	}
	for (size_t i = 0; i < aside->count; i++)
		(void)close(aside->numbers[i]);
	return 0;
}

/* How many came, into @fds. */
static size_t receive_all(const struct aside *aside, int fds[static ASIDE_MAX])
{
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	union control control = { 0 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *cmsg;
	size_t count;

	if (recvmsg(aside->socket_fds[1], &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
		return 0;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return 0;
	count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(cmsg), count * sizeof(int));
	return count;
}

static int highest(const struct aside *aside)
{
	int number = 0;

	for (size_t i = 0; i < aside->count; i++)
		if (aside->numbers[i] > number)
			number = aside->numbers[i];
	return number;
}

/* To a number above all of theirs: -1 where there is none. */
static int move_up(const struct aside *aside, int fd)
{
	int up = fcntl(fd, F_DUPFD_CLOEXEC, highest(aside) + 1);

	(void)close(fd);
	return up;
}

/* Each back to its number, once none of these is taken by another any more. */
static int put_back(const struct aside *aside, int fds[static ASIDE_MAX], size_t count)
{
	int r = count == aside->count ? 0 : -EMFILE;

	for (size_t i = 0; i < count; i++)
		if (fds[i] != aside->numbers[i])
			fds[i] = move_up(aside, fds[i]);
	for (size_t i = 0; i < count; i++) {
		if (fds[i] == aside->numbers[i])
			continue;
		if (fds[i] < 0 || dup3(fds[i], aside->numbers[i], O_CLOEXEC) < 0)
			r = -EMFILE;
		fd_close(&fds[i]);
	}
	return r;
}

int aside_take(struct aside *aside, int *in_the_way, struct err *err)
{
	int fds[ASIDE_MAX];
	int r = 0;

	if (aside->count == 0)
		return 0;
	if (*in_the_way >= 0 && is_listed(aside, *in_the_way)) {
		*in_the_way = move_up(aside, *in_the_way);
		r = *in_the_way < 0 ? -EMFILE : 0;
	}
	if (put_back(aside, fds, receive_all(aside, fds)) < 0)
		r = -EMFILE;
	forget(aside);
	return r < 0 ? err_set(err, ERR_EXHAUSTED, -r,
			       "cannot take descriptors back that were set aside: %m")
		     : 0;
}
