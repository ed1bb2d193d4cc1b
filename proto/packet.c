#include "proto/packet.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

/*
 * The kernel hands descriptors over when the message is received, wanted or not; so everything that
 * recvmsg(2) put into the control buffer is gathered first, and then either given to the caller as a
 * whole or closed as a whole.
 */

struct packet_entry {
	struct packet_entry *next;
	size_t length;
	size_t n_fds;
	int fds[PACKET_FDS_MAX];
	uint8_t bytes[];
};

/* Room for one descriptor more than is right, so that one too many is seen as such, and for the
 * credentials that come along where the socket asks for them. */
union control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE((PACKET_FDS_MAX + 1) * sizeof(int)) +
		      CMSG_SPACE(sizeof(struct ucred))];
};

static void close_all(int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fd_close(&fds[i]);
}

static void entry_free(struct packet_entry *entry)
{
	close_all(entry->fds, entry->n_fds);
	free(entry);
}

DEFINE_CLEANUP(struct packet_entry *, entry_free)

int packet_prepare_socket(int sock_fd, struct err *err)
{
	/* The kernel doubles this, caps it at net.core.wmem_max, and wants a packet with its
	 * bookkeeping to fit. */
	const int send_bytes = 2 * PACKET_BYTES_MAX;
	int flags = fcntl(sock_fd, F_GETFL);

	if (flags < 0 || fcntl(sock_fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot make a socket non-blocking: %m");
	if (setsockopt(sock_fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof(send_bytes)) < 0)
		return err_set(err, ERR_INTERNAL, errno,
			       "cannot set the size of a socket's send buffer: %m");
	return 0;
}

void packet_queue_init(struct packet_queue *queue, size_t bytes_max, size_t messages_max)
{
	*queue = (struct packet_queue){ .bytes_max = bytes_max, .messages_max = messages_max };
}

void packet_queue_done(struct packet_queue *queue)
{
	while (queue->first) {
		struct packet_entry *entry = queue->first;

		queue->first = entry->next;
		entry_free(entry);
	}
	packet_queue_init(queue, queue->bytes_max, queue->messages_max);
}

static void queue_push(struct packet_queue *queue, struct packet_entry *entry)
{
	entry->next = NULL;
	if (queue->last)
		queue->last->next = entry;
	else
		queue->first = entry;
	queue->last = entry;
	queue->bytes += entry->length;
	queue->messages++;
}

static void queue_pop(struct packet_queue *queue)
{
	struct packet_entry *entry = queue->first;

	queue->first = entry->next;
	if (!queue->first)
		queue->last = NULL;
	queue->bytes -= entry->length;
	queue->messages--;
	entry_free(entry);
}

static int send_failed(struct err *err, int errnum)
{
	if (errnum == EPIPE || errnum == ECONNRESET || errnum == ENOTCONN)
		return err_set(err, ERR_UNAVAILABLE, EPIPE,
			       "cannot send a packet: the peer is gone");
	return err_set(err, ERR_INTERNAL, errnum, "cannot send a packet: %m");
}

/* Returns 0, -EAGAIN with @err untouched when the socket is full, or another negative errno. */
static int send_now(int sock_fd, const uint8_t *bytes, size_t length, const int *fds, size_t n_fds,
		    struct err *err)
{
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = length };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1 };
	union control control;
	ssize_t n;

	if (n_fds > 0) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		header.msg_control = &control;
		header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&header);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	do {
		n = sendmsg(sock_fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == ENOBUFS))
		return -EAGAIN;
	if (n < 0)
		return send_failed(err, errno);
	return 0;
}

/* @message packed, with duplicates of @fds. */
static int entry_new(const ProtobufCMessage *message, size_t length, const int *fds, size_t n_fds,
		     struct packet_entry **ret_entry, struct err *err)
{
	cleanup(entry_free_p) struct packet_entry *entry = malloc(sizeof(*entry) + length);

	if (!entry)
		return err_oom(err);
	entry->length = length;
	entry->n_fds = 0;
	(void)protobuf_c_message_pack(message, entry->bytes);
	for (size_t i = 0; i < n_fds; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);

		if (fd < 0)
			return err_set(err, ERR_INTERNAL, errno,
				       "cannot keep descriptor %d for a packet: %m", fds[i]);
		entry->fds[entry->n_fds++] = fd;
	}
	*ret_entry = take_ptr(&entry);
	return 0;
}

static int check_sizes(const ProtobufCMessage *message, size_t length, size_t n_fds,
		       struct err *err)
{
	if (length == 0)
		return err_set(err, ERR_INTERNAL, EINVAL,
			       "cannot send an empty %s: it would read as the end",
			       message->descriptor->name);
	if (length > PACKET_BYTES_MAX)
		return err_set(err, ERR_INTERNAL, EINVAL,
			       "cannot send a %s of %zu bytes: a packet has at most %u",
			       message->descriptor->name, length, PACKET_BYTES_MAX);
	if (n_fds > PACKET_FDS_MAX)
		return err_set(err, ERR_INTERNAL, EINVAL,
			       "cannot send a %s with %zu descriptors: a packet has at most %d",
			       message->descriptor->name, n_fds, PACKET_FDS_MAX);
	return 0;
}

static int check_room(const struct packet_queue *queue, size_t length, struct err *err)
{
	if (!queue)
		return err_set(err, ERR_EXHAUSTED, EAGAIN,
			       "cannot send a packet: the peer does not read, its socket is full");
	if (queue->messages >= queue->messages_max || length > queue->bytes_max - queue->bytes)
		return err_set(
			err, ERR_EXHAUSTED, EAGAIN,
			"cannot send a packet: the peer does not read, and %zu messages of %zu bytes wait",
			queue->messages, queue->bytes);
	return 0;
}

static int send_directly(int sock_fd, const ProtobufCMessage *message, size_t length,
			 const int *fds, size_t n_fds, struct err *err)
{
	uint8_t small[4096];
	cleanup_free uint8_t *large = NULL;
	uint8_t *bytes = small;

	if (length > sizeof(small)) {
		bytes = large = malloc(length);
		if (!large)
			return err_oom(err);
	}
	(void)protobuf_c_message_pack(message, bytes);
	return send_now(sock_fd, bytes, length, fds, n_fds, err);
}

int packet_send(int sock_fd, struct packet_queue *queue, const ProtobufCMessage *message,
		const int *fds, size_t n_fds, struct err *err)
{
	size_t length = protobuf_c_message_get_packed_size(message);
	struct packet_entry *entry = NULL;
	int r;

	r = check_sizes(message, length, n_fds, err);
	if (r < 0)
		return r;
	if (!queue || packet_queue_is_empty(queue)) {
		r = send_directly(sock_fd, message, length, fds, n_fds, err);
		if (r != -EAGAIN)
			return r;
	}
	r = check_room(queue, length, err);
	if (r < 0)
		return r;
	r = entry_new(message, length, fds, n_fds, &entry, err);
	if (r < 0)
		return r;
	queue_push(queue, entry);
	return 0;
}

int packet_flush(int sock_fd, struct packet_queue *queue, struct err *err)
{
	while (queue->first) {
		struct packet_entry *entry = queue->first;
		int r = send_now(sock_fd, entry->bytes, entry->length, entry->fds, entry->n_fds,
				 err);

		if (r == -EAGAIN)
			return 1;
		if (r < 0)
			return r;
		queue_pop(queue);
	}
	return 0;
}

/* Gather the descriptors of @header into @fds, of @size; those beyond it are closed but counted. */
static size_t gather_fds(struct msghdr *header, int *fds, size_t size)
{
	size_t n = 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(header); cmsg; cmsg = CMSG_NXTHDR(header, cmsg)) {
		size_t here;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		here = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < here; i++, n++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
			if (n < size)
				fds[n] = fd;
			else
				fd_close(&fd);
		}
	}
	return n;
}

static int recv_failed(struct err *err, int errnum)
{
	if (errnum == EAGAIN)
		return -EAGAIN;
	if (errnum == ECONNRESET || errnum == EPIPE)
		return err_set(err, ERR_UNAVAILABLE, EPIPE,
			       "cannot receive a packet: the peer is gone");
	return err_set(err, ERR_INTERNAL, errnum, "cannot receive a packet: %m");
}

/* Whether what the kernel gave, @n_fds descriptors and @flags, is a packet. */
static int check_received(int flags, size_t n_fds, size_t size, struct err *err)
{
	if (flags & MSG_TRUNC)
		return err_set(err, ERR_INVALID, EMSGSIZE,
			       "received a packet longer than %zu bytes", size);
	if (n_fds > PACKET_FDS_MAX || flags & MSG_CTRUNC)
		return err_set(
			err, ERR_INVALID, EBADMSG,
			"received a packet with more than %d descriptors, or more than this process may hold (see RLIMIT_NOFILE)",
			PACKET_FDS_MAX);
	return 0;
}

int packet_recv(int sock_fd, void *buffer, size_t size, struct packet *ret_packet, struct err *err)
{
	struct iovec iov = { .iov_base = buffer, .iov_len = size };
	union control control;
	struct msghdr header = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int fds[PACKET_FDS_MAX];
	size_t n_fds;
	ssize_t n;
	int r;

	do {
		n = recvmsg(sock_fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return recv_failed(err, errno);

	n_fds = gather_fds(&header, fds, PACKET_FDS_MAX);
	r = check_received(header.msg_flags, n_fds, size, err);
	if (r < 0 || n == 0) {
		close_all(fds, n_fds < PACKET_FDS_MAX ? n_fds : PACKET_FDS_MAX);
		return r;
	}
	ret_packet->bytes = buffer;
	ret_packet->length = (size_t)n;
	ret_packet->n_fds = n_fds;
	memcpy(ret_packet->fds, fds, n_fds * sizeof(int));
	return 1;
}

int packet_take_fd(struct packet *packet, size_t index)
{
	return index < packet->n_fds ? take_fd(&packet->fds[index]) : -1;
}

void packet_done(struct packet *packet)
{
	close_all(packet->fds, packet->n_fds);
	packet->n_fds = 0;
}
