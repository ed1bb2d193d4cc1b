#include "sandbox/monitor_wire.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/cleanup.h"

#define LENGTH_WITH(member) \
	(offsetof(struct monitor_message, member) + sizeof(((struct monitor_message *)0)->member))

size_t monitor_message_length(uint32_t kind)
{
	switch (kind) {
	case MONITOR_OPEN_GATE:
	case MONITOR_ABORT:
	case MONITOR_ATTACH:
	case MONITOR_ACK_EXIT:
	case MONITOR_READY:
	case MONITOR_FILTER_IMAGE:
	case MONITOR_TERMINAL:
	case MONITOR_STREAMS:
		return LENGTH_WITH(header);
	case MONITOR_SIGNAL:
		return LENGTH_WITH(signal);
	case MONITOR_COLLECTED:
		return LENGTH_WITH(collected);
	case MONITOR_KEEP:
		return LENGTH_WITH(keep);
	case MONITOR_RESIZE:
		return LENGTH_WITH(resize);
	case MONITOR_STARTED:
		return LENGTH_WITH(started);
	case MONITOR_START_FAILED:
		return LENGTH_WITH(failed);
	case MONITOR_EXITED:
		return LENGTH_WITH(exited);
	case MONITOR_DENIED:
		return LENGTH_WITH(denied);
	case MONITOR_WARNING:
	case MONITOR_UNKILLABLE:
		return LENGTH_WITH(text);
	default:
		return 0;
	}
}

int monitor_send(int socket_fd, uint32_t kind, struct monitor_message *message, const int *fds,
		 size_t fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(MONITOR_FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = message, .iov_len = monitor_message_length(kind) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (socket_fd < 0)
		return -EPIPE;
	if (!iov.iov_len || fd_count > MONITOR_FDS_MAX)
		return -EINVAL;
	message->header = (struct monitor_header){ .version = MONITOR_WIRE_VERSION, .kind = kind };
	if (fd_count) {
		struct cmsghdr *cmsg;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, fd_count * sizeof(int));
	}
	if (sendmsg(socket_fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return -errno;
	return 0;
}

int monitor_send_streams(int socket_fd, int stdout_fd, int stderr_fd, int terminal_fd)
{
	const int streams[] = { stdout_fd, stderr_fd, terminal_fd };
	struct monitor_message message = { 0 };
	int fds[ARRAY_SIZE(streams)];
	size_t count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(streams); i++)
		if (streams[i] >= 0)
			fds[count++] = streams[i];
	return count ? monitor_send(socket_fd, MONITOR_STREAMS, &message, fds, count) : 0;
}

int monitor_send_keep(int socket_fd, const int fds[static MONITOR_KEEP_COUNT])
{
	struct monitor_message message = { 0 };
	int sent[MONITOR_KEEP_COUNT];
	uint32_t count = 0;

	for (uint32_t kind = MONITOR_KEEP_NONE + 1; kind < MONITOR_KEEP_COUNT; kind++) {
		if (fds[kind] < 0)
			continue;
		message.keep.fds[count] = kind;
		sent[count++] = fds[kind];
	}
	message.keep.fd_count = count;
	return monitor_send(socket_fd, MONITOR_KEEP, &message, sent, count);
}

static size_t descriptors_take(struct msghdr *msg, int ret_fds[static MONITOR_FDS_MAX])
{
	size_t count = 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		size_t here;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		here = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < here; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
			if (count < MONITOR_FDS_MAX)
				ret_fds[count++] = fd;
			else
				(void)close(fd);
		}
	}
	return count;
}

/* Every text that came over the wire ends in a NUL, whatever the sender did. */
static void message_terminate(struct monitor_message *message)
{
	switch (message->header.kind) {
	case MONITOR_STARTED:
		if (message->started.fd_count > MONITOR_FDS_MAX)
			message->started.fd_count = MONITOR_FDS_MAX;
		if (message->started.step_count > MONITOR_STEPS_MAX)
			message->started.step_count = MONITOR_STEPS_MAX;
		for (uint32_t i = 0; i < MONITOR_STEPS_MAX; i++)
			message->started.steps[i].name[sizeof(message->started.steps[i].name) - 1] =
				'\0';
		break;
	case MONITOR_KEEP:
		if (message->keep.fd_count > MONITOR_FDS_MAX)
			message->keep.fd_count = MONITOR_FDS_MAX;
		break;
	case MONITOR_START_FAILED:
		message->failed.step[sizeof(message->failed.step) - 1] = '\0';
		message->failed.err.text[sizeof(message->failed.err.text) - 1] = '\0';
		break;
	case MONITOR_DENIED:
		message->denied.program[sizeof(message->denied.program) - 1] = '\0';
		break;
	case MONITOR_WARNING:
	case MONITOR_UNKILLABLE:
		message->text.text[sizeof(message->text.text) - 1] = '\0';
		break;
	default:
		break;
	}
}

int monitor_receive(int socket_fd, struct monitor_message *ret, int ret_fds[static MONITOR_FDS_MAX],
		    size_t *ret_fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE((MONITOR_FDS_MAX + 1) * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = ret, .iov_len = sizeof(*ret) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	size_t count;
	ssize_t n;

	*ret_fd_count = 0;
	memset(ret, 0, sizeof(*ret));
	n = recvmsg(socket_fd, &msg, MSG_CMSG_CLOEXEC);
	/* The other side is gone and had not read all: said once, before what it sent, which is still there. */
	if (n < 0 && errno == ECONNRESET)
		n = recvmsg(socket_fd, &msg, MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	count = descriptors_take(&msg, ret_fds);
	if (n == 0) {
		/* Nobody sends empty packets: the other side is gone. */
		for (size_t i = 0; i < count; i++)
			(void)close(ret_fds[i]);
		return 0;
	}
	if ((size_t)n < sizeof(ret->header) || (msg.msg_flags & MSG_CTRUNC)) {
		for (size_t i = 0; i < count; i++)
			(void)close(ret_fds[i]);
		return -EBADMSG;
	}
	message_terminate(ret);
	*ret_fd_count = count;
	return 1;
}
