/*
 * The link over a seqpacket socket. States: waiting to connect (a timer), shaking hands (Hello is
 * out), up. Only `up` takes requests of the engine. Whatever goes wrong ends in lose(), which answers
 * every outstanding call, tells the engine once, and sets the timer.
 */
#include "agent/sandboxlink/sandboxlink.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "agent/sandboxlink/calls.h"
#include "proto/arena.h"
#include "proto/cleanup.h"
#include "proto/packet.h"
#include "proto/wirecheck.h"

#define QUEUE_BYTES_MAX   (8U << 20)
#define PACKETS_PER_WAKE  64
#define HELLO_TIMEOUT_MS  5000
#define REPLY_ARENA_BYTES (8U << 20)

struct socket_link {
	struct sandboxlink base;
	sd_event *event;
	sd_event_source *io;
	sd_event_source *timer; /* to connect again; while shaking hands, to give up */
	struct sockaddr_un address;
	socklen_t address_bytes;
	char *version;
	uint64_t retry_initial_ms;
	uint64_t retry_max_ms;
	uint64_t retry_ms;
	int fd;
	bool up;
	bool told_down;
	uint64_t hello_id; /* while shaking hands */
	struct packet_queue queue;
	struct call_table calls;
	struct arena arena; /* of the message at hand */
	uint8_t buffer[PACKET_BYTES_MAX];
};

static struct socket_link *of(struct sandboxlink *link)
{
	return (struct socket_link *)link;
}

static void arm_timer(struct socket_link *link, uint64_t after_ms)
{
	uint64_t now_us = 0;

	(void)sd_event_now(link->event, CLOCK_BOOTTIME, &now_us);
	(void)sd_event_source_set_time(link->timer, now_us + after_ms * 1000);
	(void)sd_event_source_set_enabled(link->timer, SD_EVENT_ONESHOT);
}

/* Wait for writability only while something waits to be written. */
static void watch_io(struct socket_link *link)
{
	uint32_t events = EPOLLIN;

	if (!packet_queue_is_empty(&link->queue))
		events |= EPOLLOUT;
	(void)sd_event_source_set_io_events(link->io, events);
}

/* The conversation is over: why is in @err. */
static void lose(struct socket_link *link, const struct err *err)
{
	link->io = sd_event_source_disable_unref(link->io);
	fd_close(&link->fd);
	packet_queue_done(&link->queue);
	packet_queue_init(&link->queue, QUEUE_BYTES_MAX, SANDBOXLINK_OUTSTANDING_MAX);
	link->up = false;
	link->hello_id = 0;

	arm_timer(link, link->retry_ms);
	link->retry_ms *= 2;
	if (link->retry_ms > link->retry_max_ms)
		link->retry_ms = link->retry_max_ms;

	call_table_fail_all(&link->calls, err);
	if (link->told_down)
		return;
	link->told_down = true;
	if (link->base.listener)
		link->base.listener->down(link->base.listener->userdata, err);
}

static int send_request(struct socket_link *link, Berth__Sandbox__V1__Request *request, int fd,
			struct err *err)
{
	int r = packet_send(link->fd, &link->queue, &request->base, &fd, fd >= 0, err);

	if (r >= 0 && !packet_queue_is_empty(&link->queue))
		watch_io(link);
	return r;
}

static int link_send(struct sandboxlink *base, Berth__Sandbox__V1__Request *request, int fd,
		     const struct sandboxlink_call *call, struct err *err)
{
	struct socket_link *link = of(base);
	int r;

	if (!link->up)
		return err_set(
			err, ERR_UNAVAILABLE, ENOTCONN,
			"berth-sandboxd is not connected (see systemctl status berth-sandboxd)");
	r = call_table_add(&link->calls, call, &request->id, err);
	if (r < 0)
		return r;
	r = send_request(link, request, fd, err);
	if (r < 0)
		call_table_drop(&link->calls, request->id);
	return r;
}

static int say_hello(struct socket_link *link, struct err *err)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Hello hello = BERTH__SANDBOX__V1__HELLO__INIT;
	int r;

	hello.protocol = SANDBOXLINK_PROTOCOL;
	hello.version = link->version;
	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_HELLO;
	request.hello = &hello;
	r = call_table_add(&link->calls, NULL, &request.id, err);
	if (r < 0)
		return r;
	link->hello_id = request.id;
	return send_request(link, &request, -1, err);
}

static int failure_to_err(const Berth__Sandbox__V1__Failure *failure, struct err *err)
{
	return err_set(err, failure->kind ? (enum err_kind)failure->kind : ERR_INTERNAL,
		       failure->errnum, "%s", failure->text);
}

/* Whichever of the two is the newer one, and whether or not it knows of this. */
static void compare_releases(struct socket_link *link, Berth__Sandbox__V1__HelloResult *hello)
{
	if (hello->protocol == SANDBOXLINK_PROTOCOL || hello->refuses_starts[0])
		return;
	hello->refuses_starts = arena_printf(
		&link->arena,
		"berthd speaks protocol %d and berth-sandboxd %s speaks %u: install both of one release and restart them",
		SANDBOXLINK_PROTOCOL, hello->version, hello->protocol);
	if (!hello->refuses_starts)
		hello->refuses_starts = (char *)"berth-sandboxd speaks another protocol";
}

static int take_hello(struct socket_link *link, const Berth__Sandbox__V1__Reply *reply,
		      struct err *err)
{
	call_table_drop(&link->calls, link->hello_id);
	link->hello_id = 0;
	if (reply->failure) {
		(void)failure_to_err(reply->failure, err);
		return err_prefix(err, -EPROTO, "berth-sandboxd refused the handshake");
	}
	if (reply->result_case != BERTH__SANDBOX__V1__REPLY__RESULT_HELLO ||
	    reply->hello->protocol == 0)
		return err_set(err, ERR_UNAVAILABLE, EPROTO,
			       "berth-sandboxd answered the handshake with something else");
	compare_releases(link, reply->hello);

	link->up = true;
	link->told_down = false;
	link->retry_ms = link->retry_initial_ms;
	(void)sd_event_source_set_enabled(link->timer, SD_EVENT_OFF);
	if (link->base.listener)
		link->base.listener->up(link->base.listener->userdata, reply->hello);
	return 0;
}

static int take_reply(struct socket_link *link, const Berth__Sandbox__V1__Reply *message,
		      struct packet *packet, struct err *err)
{
	struct sandboxlink_call call;
	struct err failure = { 0 };
	struct sandboxlink_reply reply = {
		.message = message, .err = &failure, .fds = packet->fds, .n_fds = packet->n_fds
	};

	if (link->hello_id && message->id == link->hello_id)
		return take_hello(link, message, err);
	if (!call_table_take(&link->calls, message->id, &call))
		return err_set(err, ERR_INTERNAL, EBADMSG,
			       "berth-sandboxd answered request %llu, which nobody asked",
			       (unsigned long long)message->id);
	if (message->failure)
		(void)failure_to_err(message->failure, &failure);
	if (call.done)
		call.done(call.userdata, &call, &reply);
	return 0;
}

static int take_packet(struct socket_link *link, struct packet *packet, struct err *err)
{
	const Berth__Sandbox__V1__ToAgent *message;
	int r = 0;

	message = wire_unpack(&berth__sandbox__v1__to_agent__descriptor, packet->bytes,
			      packet->length, &link->arena, err);
	if (!message)
		return err_prefix(err, -EBADMSG, "message from berth-sandboxd");
	switch (message->message_case) {
	case BERTH__SANDBOX__V1__TO_AGENT__MESSAGE_REPLY:
		r = take_reply(link, message->reply, packet, err);
		break;
	case BERTH__SANDBOX__V1__TO_AGENT__MESSAGE_FACT:
		if (link->up && link->base.listener)
			link->base.listener->fact(link->base.listener->userdata, message->fact,
						  packet->fds, packet->n_fds);
		break;
	default: /* of a later release, and nothing that this one needs */
		break;
	}
	arena_reset(&link->arena);
	return r;
}

/* Returns 1 when a packet was handled, 0 when there is none, or negative: the end. */
static int receive_one(struct socket_link *link, struct err *err)
{
	cleanup_packet struct packet packet = { .n_fds = 0 };
	int r = packet_recv(link->fd, link->buffer, sizeof(link->buffer), &packet, err);

	if (r == -EAGAIN)
		return 0;
	if (r == 0)
		return err_set(err, ERR_UNAVAILABLE, EPIPE, "berth-sandboxd closed the connection");
	if (r < 0)
		return r;
	r = take_packet(link, &packet, err);
	return r < 0 ? r : 1;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct socket_link *link = userdata;
	struct err err = { 0 };
	int r = 1;

	if (revents & EPOLLOUT) {
		r = packet_flush(link->fd, &link->queue, &err);
		if (r >= 0)
			watch_io(link);
	}
	/* What came before the end is still read: facts must not be lost. */
	for (int i = 0; r >= 0 && i < PACKETS_PER_WAKE; i++) {
		r = receive_one(link, &err);
		if (r == 0)
			break;
	}
	if (r < 0)
		lose(link, &err);
	return 0;
}

static int connect_now(struct socket_link *link, struct err *err)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot make a socket: %m");
	if (connect(fd, (const struct sockaddr *)&link->address, link->address_bytes) < 0)
		return err_set(err, ERR_UNAVAILABLE, errno,
			       "cannot connect to berth-sandboxd at %s: %m",
			       link->address.sun_path);
	r = packet_prepare_socket(fd, err);
	if (r < 0)
		return r;
	r = sd_event_add_io(link->event, &link->io, fd, EPOLLIN, on_io, link);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot watch berth-sandboxd's socket: %m");
	link->fd = take_fd(&fd);
	return say_hello(link, err);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct socket_link *link = userdata;
	struct err err = { 0 };

	if (link->fd >= 0) {
		(void)err_set(&err, ERR_UNAVAILABLE, ETIMEDOUT,
			      "berth-sandboxd did not answer the handshake within %d ms",
			      HELLO_TIMEOUT_MS);
		lose(link, &err);
		return 0;
	}
	if (connect_now(link, &err) < 0)
		lose(link, &err);
	else
		arm_timer(link, HELLO_TIMEOUT_MS);
	return 0;
}

static void link_free(struct sandboxlink *base)
{
	struct socket_link *link = of(base);

	sd_event_source_disable_unref(link->io);
	sd_event_source_disable_unref(link->timer);
	fd_close(&link->fd);
	packet_queue_done(&link->queue);
	call_table_done(&link->calls);
	arena_done(&link->arena);
	sd_event_unref(link->event);
	free(link->version);
	free(link);
}

static const struct sandboxlink_ops socket_ops = { .send = link_send, .free = link_free };

static int set_address(struct socket_link *link, const char *path, struct err *err)
{
	size_t length = strlen(path);

	if (length == 0 || length >= sizeof(link->address.sun_path))
		return err_set(err, ERR_INVALID, ENAMETOOLONG,
			       "the socket's path \"%.40s\" must have 1 to %zu bytes", path,
			       sizeof(link->address.sun_path) - 1);
	link->address.sun_family = AF_UNIX;
	memcpy(link->address.sun_path, path, length + 1);
	link->address_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
	return 0;
}

static void link_free_p(struct socket_link **link)
{
	if (*link)
		link_free(&(*link)->base);
}

int sandboxlink_socket_new(sd_event *event, const struct sandboxlink_socket_config *config,
			   struct sandboxlink **ret_link, struct err *err)
{
	cleanup(link_free_p) struct socket_link *link = calloc(1, sizeof(*link));
	int r;

	if (!link)
		return err_oom(err);
	link->base.ops = &socket_ops;
	link->fd = -1;
	link->event = sd_event_ref(event);
	link->retry_initial_ms = config->retry_initial_ms ? config->retry_initial_ms : 50;
	link->retry_max_ms = config->retry_max_ms ? config->retry_max_ms : 5000;
	link->retry_ms = link->retry_initial_ms;
	packet_queue_init(&link->queue, QUEUE_BYTES_MAX, SANDBOXLINK_OUTSTANDING_MAX);
	arena_init(&link->arena, REPLY_ARENA_BYTES);
	link->version = strdup(config->version ? config->version : "");
	if (!link->version)
		return err_oom(err);
	r = set_address(link, config->path, err);
	if (r < 0)
		return r;
	r = sd_event_add_time(event, &link->timer, CLOCK_BOOTTIME, 0, 0, on_timer, link);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot set a timer: %m");
	*ret_link = &take_ptr(&link)->base;
	return 0;
}
