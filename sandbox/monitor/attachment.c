#include "sandbox/monitor/attachment.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "proto/cleanup.h"

#define END_OF_FILE "\004" /* ^D: how a terminal's input ends */

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void attachment_init(struct attachment *attachment, int *input_fd, bool terminal)
{
	attachment->fd = -1;
	attachment->input_fd = input_fd;
	attachment->terminal = terminal;
	if (terminal || *input_fd >= 0)
		backlog_begin(&attachment->backlog);
}

/* The daemon keeps a descriptor of it too, for our successor: only this tells the client. */
void attachment_end(struct attachment *attachment)
{
	if (attachment->fd >= 0)
		(void)shutdown(attachment->fd, SHUT_RDWR);
	fd_close(&attachment->fd);
	attachment->output_length = 0;
	attachment->stalled_since_ms = 0;
}

static int send_packet(int fd, uint8_t kind, const char *data, size_t length)
{
	struct iovec iov[] = { { .iov_base = &kind, .iov_len = 1 },
			       { .iov_base = (char *)data, .iov_len = length } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov) };

	return sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static bool must_wait(int r)
{
	return r == -EAGAIN || r == -EINTR || r == -ENOBUFS;
}

void attachment_output(struct attachment *attachment, uint8_t kind, const char *data, size_t length)
{
	int r;

	if (attachment->fd < 0) {
		backlog_add(&attachment->backlog, kind, data, length);
		return;
	}
	r = send_packet(attachment->fd, kind, data, length);
	if (must_wait(r)) {
		attachment->output[0] = (char)kind;
		memcpy(attachment->output + 1, data, length);
		attachment->output_length = 1 + length;
		attachment->stalled_since_ms = now_ms();
	} else if (r < 0) {
		attachment_end(attachment);
	}
}

static void send_held(struct attachment *attachment)
{
	int r = send_packet(attachment->fd, (uint8_t)attachment->output[0], attachment->output + 1,
			    attachment->output_length - 1);

	if (must_wait(r))
		return;
	attachment->output_length = 0;
	attachment->stalled_since_ms = 0;
	if (r < 0)
		attachment_end(attachment);
}

/* What was kept, as much as the client takes now. */
static void send_backlog(struct attachment *attachment)
{
	const char *data;
	size_t length;
	uint8_t kind;

	while (attachment->fd >= 0 && backlog_first(&attachment->backlog, &kind, &data, &length)) {
		int r = send_packet(attachment->fd, kind, data, length);

		if (must_wait(r)) {
			if (!attachment->stalled_since_ms)
				attachment->stalled_since_ms = now_ms();
			return;
		}
		attachment->stalled_since_ms = 0;
		backlog_drop_first(&attachment->backlog);
		if (r < 0)
			attachment_end(attachment);
	}
}

void attachment_begin(struct attachment *attachment, int fd)
{
	attachment_end(attachment);
	attachment->fd = fd;
	backlog_seal(&attachment->backlog);
	send_backlog(attachment);
}

static bool backlog_waits(const struct attachment *attachment)
{
	return attachment->fd >= 0 && attachment->backlog.length > 0;
}

bool attachment_has_room(const struct attachment *attachment)
{
	return attachment->output_length == 0 && !backlog_waits(attachment);
}

/* A process that does not read keeps what is held; one that is gone takes nothing any more. */
static void write_input(struct attachment *attachment)
{
	while (attachment->input_length && *attachment->input_fd >= 0) {
		ssize_t n = write(*attachment->input_fd, attachment->input + attachment->input_at,
				  attachment->input_length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			if (!attachment->terminal)
				fd_close(attachment->input_fd);
			break;
		}
		attachment->input_at += (size_t)n;
		attachment->input_length -= (size_t)n;
	}
	attachment->input_length = 0;
}

static void close_input(struct attachment *attachment)
{
	if (attachment->terminal) {
		memcpy(attachment->input, END_OF_FILE, 1);
		attachment->input_at = 0;
		attachment->input_length = 1;
		write_input(attachment);
	} else {
		fd_close(attachment->input_fd);
	}
}

static void resize(const struct attachment *attachment, const char *data, size_t length)
{
	struct winsize size = { 0 };
	uint16_t numbers[2];

	if (length != sizeof(numbers) || !attachment->terminal || *attachment->input_fd < 0)
		return;
	memcpy(numbers, data, sizeof(numbers));
	size.ws_row = numbers[0];
	size.ws_col = numbers[1];
	(void)ioctl(*attachment->input_fd, TIOCSWINSZ, &size);
}

static void take_packet(struct attachment *attachment)
{
	char kind = 0;
	struct iovec iov[] = { { .iov_base = &kind, .iov_len = 1 },
			       { .iov_base = attachment->input,
				 .iov_len = sizeof(attachment->input) } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov) };
	ssize_t n = recvmsg(attachment->fd, &msg, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		attachment_end(attachment);
		return;
	}
	switch ((enum attach_kind)kind) {
	case ATTACH_STDIN:
		attachment->input_at = 0;
		attachment->input_length = (size_t)n - 1;
		write_input(attachment);
		break;
	case ATTACH_STDIN_CLOSED:
		close_input(attachment);
		break;
	case ATTACH_RESIZE:
		resize(attachment, attachment->input, (size_t)n - 1);
		break;
	default:
		break;
	}
}

short attachment_events(const struct attachment *attachment)
{
	short events = 0;

	if (!attachment->input_length)
		events |= POLLIN;
	if (!attachment_has_room(attachment))
		events |= POLLOUT;
	return events;
}

short attachment_input_events(const struct attachment *attachment)
{
	return attachment->input_length ? POLLOUT : 0;
}

void attachment_ready(struct attachment *attachment, short revents)
{
	if (attachment->output_length && (revents & (POLLOUT | POLLHUP | POLLERR)))
		send_held(attachment);
	if (attachment->output_length == 0)
		send_backlog(attachment);
	if (attachment->fd < 0)
		return;
	if (!attachment->input_length && (revents & (POLLIN | POLLHUP | POLLERR)))
		take_packet(attachment);
	else if (revents & (POLLHUP | POLLERR))
		attachment_end(attachment);
}

void attachment_input_ready(struct attachment *attachment, short revents)
{
	if (attachment->input_length && (revents & (POLLOUT | POLLHUP | POLLERR)))
		write_input(attachment);
}

int attachment_timeout_ms(const struct attachment *attachment)
{
	uint64_t over = attachment->stalled_since_ms + ATTACH_STALL_MS, now = now_ms();

	if (!attachment->stalled_since_ms)
		return -1;
	return over > now ? (int)(over - now) : 0;
}

void attachment_check_stall(struct attachment *attachment)
{
	if (attachment->stalled_since_ms && attachment_timeout_ms(attachment) == 0)
		attachment_end(attachment);
}
