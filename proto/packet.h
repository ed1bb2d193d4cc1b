/*
 * One protobuf message per datagram on a SOCK_SEQPACKET unix socket, with up to PACKET_FDS_MAX
 * descriptors beside it (unix(7), SCM_RIGHTS).
 *
 * The peer may be hostile: what arrives too long, with too many descriptors, or cut by the kernel is
 * an error, and every descriptor that came with it is closed. Nothing here blocks; polling is the
 * caller's: read when readable, packet_flush() when writable and the queue is not empty.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cleanup.h"
#include "proto/err.h"

#define PACKET_BYTES_MAX (192U * 1024)
#define PACKET_FDS_MAX   32

/* Messages that wait until the socket takes them, in order. */
struct packet_queue {
	struct packet_entry *first;
	struct packet_entry *last;
	size_t bytes;
	size_t messages;
	size_t bytes_max;
	size_t messages_max;
};

/* What came in. Descriptors still in @fds are the packet's, and packet_done() closes them; to keep
 * one, take it: take_fd(&packet.fds[0]) or packet_take_fd(). */
struct packet {
	const uint8_t *bytes; /* in the caller's buffer */
	size_t length;
	size_t n_fds;
	int fds[PACKET_FDS_MAX];
};

/* Make @sock_fd non-blocking, with room in its send buffer for the largest packet. Returns 0 or a
 * negative errno with @err. */
int packet_prepare_socket(int sock_fd, struct err *err);

/* An empty queue that holds at most so much; packet_queue_done() drops what waits and closes its
 * descriptors. */
void packet_queue_init(struct packet_queue *queue, size_t bytes_max, size_t messages_max);
void packet_queue_done(struct packet_queue *queue);

static inline bool packet_queue_is_empty(const struct packet_queue *queue)
{
	return !queue->first;
}

/*
 * Send @message and the @n_fds descriptors at @fds, which stay the caller's (the queue duplicates
 * what has to wait). With a @queue, what the socket does not take now, or what has others waiting
 * before it, is queued; the caller then waits for the socket to be writable if the queue is not empty.
 * Without one (NULL) it is sent now or not at all.
 *
 * Returns 0 when sent or queued; else a negative errno with @err, and nothing is sent or queued:
 *   -EINVAL    ERR_INTERNAL     the message is empty (a seqpacket reader would take it for the end),
 *                               or larger than PACKET_BYTES_MAX, or has more than PACKET_FDS_MAX
 *   -EAGAIN    ERR_EXHAUSTED    the queue, or without one the socket, is full
 *   -EPIPE     ERR_UNAVAILABLE  the peer is gone (ECONNRESET is told as this too)
 *   others     ERR_INTERNAL
 */
int packet_send(int sock_fd, struct packet_queue *queue, const ProtobufCMessage *message,
		const int *fds, size_t n_fds, struct err *err);

/* Send what waits. Returns 0 when the queue is empty, 1 when the socket is full again, or a negative
 * errno with @err as packet_send() does; the queue is then only good for packet_queue_done(). */
int packet_flush(int sock_fd, struct packet_queue *queue, struct err *err);

/*
 * Receive one packet into @buffer, of @size bytes (PACKET_BYTES_MAX, or less where only less is ever
 * right). Descriptors arrive close-on-exec. *ret_packet is written only on success.
 *
 * Returns 1 for a packet, 0 when the peer has closed its end; else a negative errno:
 *   -EAGAIN    nothing there; @err is not filled
 *   -EMSGSIZE  ERR_INVALID      longer than @size
 *   -EBADMSG   ERR_INVALID      more than PACKET_FDS_MAX descriptors, or this process has no room
 *                               for more descriptors (the kernel does not say which)
 *   -EPIPE     ERR_UNAVAILABLE  the peer is gone
 *   others     ERR_INTERNAL
 * All but -EAGAIN end the conversation: the caller closes the socket.
 */
int packet_recv(int sock_fd, void *buffer, size_t size, struct packet *ret_packet, struct err *err);

/* The descriptor number @index, now the caller's, or -1 where there is none (or it was taken). */
int packet_take_fd(struct packet *packet, size_t index);

/* Close the descriptors that were not taken. For cleanup: start with { .n_fds = 0 }. */
void packet_done(struct packet *packet);

#define cleanup_packet cleanup(packet_done)
