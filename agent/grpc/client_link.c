/*
 * One connection of a client: it connects (to one address after the other), shakes hands, and carries calls
 * until it fails or the server says GOAWAY. Calls are submitted at once and travel when it is open.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/grpc/client_private.h"
#include "proto/cleanup.h"

#define READS_PER_TURN      4
#define STREAM_WINDOW       (256 << 10)
#define CONNECTION_WINDOW   (4 << 20)
#define MAX_HEADER_BYTES    (64 << 10)
#define TIMER_ACCURACY_USEC 1000

static int connect_next(struct client_link *link);

/* --- ending --- */

void client_link_kick(struct client_link *link)
{
	if (!link->pump.in_http2 && link->work)
		(void)sd_event_source_set_enabled(link->work, SD_EVENT_ONESHOT);
}

void client_link_fail(struct client_link *link)
{
	link->pump.failed = true;
	client_link_kick(link);
}

void client_link_blame(struct client_link *link, const char *what)
{
	if (!link->why.text[0])
		(void)err_set(&link->why, ERR_UNAVAILABLE, EPROTO, "the server broke HTTP/2: %s",
			      what);
}

const char *client_link_why(const struct client_link *link)
{
	return link->why.text[0] ? link->why.text : "the connection was lost";
}

static void leave_client(struct client_link *link)
{
	if (link->client->current == link)
		link->client->current = NULL;
}

void client_link_free(struct client_link *link)
{
	link->phase = LINK_DEAD;
	leave_client(link);
	LIST_REMOVE(link, entry);
	while (!LIST_EMPTY(&link->calls))
		client_call_end(LIST_FIRST(&link->calls), GRPC_UNAVAILABLE, false, "%s: %s",
				link->client->target, client_link_why(link));
	sd_event_source_disable_unref(link->io);
	sd_event_source_disable_unref(link->work);
	sd_event_source_disable_unref(link->timer);
	pump_done(&link->pump);
	if (link->addresses)
		freeaddrinfo(link->addresses);
	free(link);
}

/* --- the loop --- */

static void deliver_ready(struct client_link *link)
{
	while (link->ready) {
		struct grpc_client_call *call = link->ready;

		link->ready = call->next_ready;
		call->is_ready = false;
		link->pump.in_http2++; /* as if the bytes came now */
		client_call_deliver_held(call);
		link->pump.in_http2--;
	}
}

static void settle(struct client_link *link)
{
	uint32_t events;

	if (link->phase == LINK_OPEN && !link->pump.failed) {
		deliver_ready(link);
		if (pump_write(&link->pump) > 0 || link->ready)
			client_link_kick(link);
	}
	if (link->pump.failed || (link->phase == LINK_OPEN && pump_is_over(&link->pump))) {
		client_link_free(link);
		return;
	}
	if (link->phase != LINK_OPEN)
		return;
	events = pump_events(&link->pump);
	if (events != link->io_events && sd_event_source_set_io_events(link->io, events) >= 0)
		link->io_events = events;
}

static void read_some(struct client_link *link)
{
	int r = 1;

	for (int i = 0; r > 0 && i < READS_PER_TURN; i++)
		r = pump_read(&link->pump, false);
	if (link->pump.received_bytes > link->client->max_connection_bytes) {
		(void)err_set(&link->why, ERR_UNAVAILABLE, EMSGSIZE,
			      "the server sent more than is good for one connection");
		link->pump.failed = true;
	}
	if (link->pump.http2_error)
		client_link_blame(link, nghttp2_strerror(link->pump.http2_error));
	if (!link->pump.failed && pump_has_more(&link->pump))
		client_link_kick(link);
}

static void watch(struct client_link *link, uint32_t events)
{
	link->io_events = events;
	if (sd_event_source_set_io_events(link->io, events) < 0)
		link->pump.failed = true;
}

static void shake(struct client_link *link)
{
	bool wants_out;
	int r = transport_shake(&link->pump.tr, &wants_out, &link->why);

	if (r == -EAGAIN) {
		watch(link, wants_out ? EPOLLOUT : EPOLLIN);
	} else if (r < 0) {
		link->pump.failed = true;
	} else {
		link->phase = LINK_OPEN;
		(void)sd_event_source_set_enabled(link->timer, SD_EVENT_OFF);
	}
}

static int cannot_connect(struct client_link *link, int error)
{
	const char *what_to_do = "";

	if (error == ENOENT || error == ECONNREFUSED)
		what_to_do = "; does the agent run there?";
	else if (error == EACCES)
		what_to_do = "; root may, and the group that its configuration names";
	return err_set(&link->why, ERR_UNAVAILABLE, error, "cannot connect: %m%s", what_to_do);
}

/* The socket is connected, or this address is not to be had. */
static void connected(struct client_link *link)
{
	struct grpc_client *client = link->client;
	socklen_t n = sizeof(int);
	int error = 0;

	if (getsockopt(link->pump.tr.fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
		error = errno;
	if (error) {
		(void)cannot_connect(link, error);
		if (connect_next(link) < 0)
			link->pump.failed = true;
		return;
	}
	link->phase = LINK_SHAKING;
	if (client->tls &&
	    transport_connect_tls(&link->pump.tr, client->tls, client->server_name) < 0)
		link->pump.failed = true;
	else
		shake(link);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct client_link *link = user;

	if (link->phase == LINK_CONNECTING)
		connected(link);
	else if (link->phase == LINK_SHAKING)
		shake(link);
	if (link->phase == LINK_OPEN && !link->pump.failed)
		read_some(link);
	settle(link);
	return 0;
}

static int on_work(sd_event_source *source, void *user)
{
	struct client_link *link = user;

	if (link->phase == LINK_OPEN && !link->pump.failed && pump_has_more(&link->pump))
		read_some(link);
	settle(link);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
	struct client_link *link = user;

	(void)err_set(&link->why, ERR_UNAVAILABLE, ETIMEDOUT, "cannot connect: no answer in time");
	link->pump.failed = true;
	settle(link);
	return 0;
}

/* --- connecting --- */

/* Start connecting @fd. A unix socket whose server's backlog is full says EAGAIN: that is a failure. */
static int begin_connect(struct client_link *link, int fd, const struct sockaddr *addr, socklen_t n)
{
	struct grpc_client *client = link->client;
	int on = 1;
	int r;

	link->io = sd_event_source_disable_unref(link->io);
	if (link->pump.tr.fd >= 0)
		transport_done(&link->pump.tr);
	transport_init(&link->pump.tr, fd);
	if (addr->sa_family != AF_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, addr, n) < 0 && errno != EINPROGRESS)
		return cannot_connect(link, errno);
	r = sd_event_add_io(client->event, &link->io, fd, EPOLLOUT, on_io, link);
	return r < 0 ? err_set(&link->why, ERR_INTERNAL, -r, "cannot watch a socket: %m") : 0;
}

/* Try TCP addresses until one can be tried. */
static int connect_next(struct client_link *link)
{
	int r = -EHOSTUNREACH;

	while (link->address) {
		const struct addrinfo *address = link->address;
		int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		link->address = address->ai_next;
		if (fd < 0) {
			r = err_set(&link->why, ERR_INTERNAL, errno, "cannot make a socket: %m");
			continue;
		}
		r = begin_connect(link, fd, address->ai_addr, address->ai_addrlen);
		if (r == 0)
			return 0;
	}
	return r;
}

static int connect_unix(struct client_link *link)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(link->client->unix_path) >= sizeof(addr.sun_path))
		return err_set(&link->why, ERR_INVALID, ENAMETOOLONG, "cannot connect: %m");
	(void)stpcpy(addr.sun_path, link->client->unix_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(&link->why, ERR_INTERNAL, errno, "cannot make a socket: %m");
	return begin_connect(link, fd, (const struct sockaddr *)&addr, sizeof(addr));
}

static int connect_tcp(struct client_link *link)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	int r = getaddrinfo(link->client->host, link->client->port, &hints, &link->addresses);

	if (r != 0)
		return err_set(&link->why, ERR_UNAVAILABLE, EHOSTUNREACH, "cannot find host %s: %s",
			       link->client->host, gai_strerror(r));
	link->address = link->addresses;
	return connect_next(link);
}

static int connect_given(struct client_link *link)
{
	struct grpc_client *client = link->client;

	if (client->socket.fd < 0)
		return err_set(&link->why, ERR_UNAVAILABLE, ENOTCONN,
			       "the one connection that there was is over");
	return begin_connect(link, take_fd(&client->socket.fd), client->socket.address,
			     client->socket.address_bytes);
}

static int connect_any(struct client_link *link)
{
	if (link->client->has_socket)
		return connect_given(link);
	return link->client->unix_path ? connect_unix(link) : connect_tcp(link);
}

static int start_session(struct client_link *link)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, MAX_HEADER_BYTES },
	};

	if (http2_client_new(link->client->callbacks, link, &link->pump.session) < 0 ||
	    nghttp2_submit_settings(link->pump.session, NGHTTP2_FLAG_NONE, settings,
				    ARRAY_SIZE(settings)) != 0 ||
	    nghttp2_session_set_local_window_size(link->pump.session, NGHTTP2_FLAG_NONE, 0,
						  CONNECTION_WINDOW) != 0)
		return -ENOMEM;
	return 0;
}

static int prepare(struct client_link *link)
{
	struct grpc_client *client = link->client;
	int r;

	pump_init(&link->pump, -1, client->scratch);
	r = start_session(link);
	if (r < 0)
		return r;
	r = sd_event_add_defer(client->event, &link->work, on_work, link);
	if (r < 0)
		return r;
	return sd_event_add_time_relative(client->event, &link->timer, CLOCK_BOOTTIME,
					  client->connect_timeout_usec, TIMER_ACCURACY_USEC,
					  on_timer, link);
}

int client_link_get(struct grpc_client *client, struct client_link **ret_link, struct err *err)
{
	struct client_link *link;

	if (client->current && !client->current->pump.failed) {
		*ret_link = client->current;
		return 0;
	}
	link = calloc(1, sizeof(*link));
	if (!link)
		return err_oom(err);
	link->client = client;
	link->phase = LINK_CONNECTING;
	LIST_INSERT_HEAD(&client->links, link, entry);
	if (prepare(link) < 0) {
		client_link_free(link);
		return err_oom(err);
	}
	client->current = link;
	/* A failure is the calls' to tell, from the loop. */
	if (connect_any(link) < 0)
		client_link_fail(link);
	*ret_link = link;
	return 0;
}
