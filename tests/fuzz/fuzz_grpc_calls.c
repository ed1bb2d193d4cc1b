/*
 * berthctl's end of gRPC, fed with a server's bytes: frames, headers, messages and how streams and
 * connections end. The first byte chooses the calls and what their owners do, the second where the bytes
 * are torn apart; the rest is what the server says, on each connection, once it has heard the request.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/grpc/client.h"
#include "agent/grpc/details.h"
#include "berth/v1/node_agent.pb-c.h"
#include "proto/cleanup.h"

#define TURNS_MAX 1000 /* of the loop */
#define CALLS_MAX 4

enum choice {
	CHOOSE_UNARY = 1 << 0,  /* Get, and wait for it */
	CHOOSE_STREAM = 1 << 1, /* WatchEvents */
	CHOOSE_UP = 1 << 2,     /* a stream of requests with one answer */
	CHOOSE_BOTH = 1 << 3,   /* Exec */
	CHOOSE_PAUSE = 1 << 4,  /* after each message, until the loop's next turn */
	CHOOSE_CANCEL = 1 << 5, /* at the first message */
};

struct owner {
	struct grpc_client_call *call;
	unsigned choices;
	unsigned to_send;
	unsigned n_ends;
};

struct server {
	sd_event *event;
	sd_event_source *listening;
	sd_event_source *talking;
	const uint8_t *bytes;
	size_t n;
	size_t torn; /* so many first */
	size_t sent;
	bool heard;
};

static int listener_fd = -1;
static char target[64];

/* A listening socket without a name in any directory: it is reached by its descriptor. */
static void listen_once(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int path_fd;

	if (listener_fd >= 0)
		return;
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/fuzz_grpc_calls.%d", getpid());
	listener_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert(listener_fd >= 0);
	assert(bind(listener_fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0);
	assert(listen(listener_fd, 16) == 0);
	path_fd = open(addr.sun_path, O_PATH | O_CLOEXEC);
	assert(path_fd >= 0);
	assert(unlink(addr.sun_path) == 0);
	(void)snprintf(target, sizeof(target), "unix:///proc/self/fd/%d", path_fd);
}

/* --- the server --- */

static int on_talk(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct server *server = user;
	uint8_t sink[65536];
	ssize_t got = 1;

	while (got > 0) {
		got = recv(fd, sink, sizeof(sink), 0);
		server->heard |= got > 0;
	}
	if (got == 0 || errno != EAGAIN) { /* it has hung up */
		server->talking = sd_event_source_disable_unref(server->talking);
		return 0;
	}
	if (server->heard && server->sent < server->torn) {
		(void)send(fd, server->bytes, server->torn, MSG_NOSIGNAL);
		server->sent = server->torn;
	} else if (server->heard) {
		(void)send(fd, server->bytes + server->sent, server->n - server->sent,
			   MSG_NOSIGNAL);
		(void)shutdown(fd, SHUT_WR);
		(void)sd_event_source_set_io_events(source, EPOLLIN);
	}
	return 0;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct server *server = user;
	int peer_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (peer_fd < 0)
		return 0;
	sd_event_source_disable_unref(server->talking);
	server->talking = NULL;
	server->sent = 0;
	server->heard = false;
	assert(sd_event_add_io(server->event, &server->talking, peer_fd, EPOLLIN | EPOLLOUT,
			       on_talk, server) >= 0);
	assert(sd_event_source_set_io_fd_own(server->talking, true) >= 0);
	return 0;
}

/* --- the owners of calls --- */

static void on_message(struct grpc_client_call *call, const ProtobufCMessage *message, void *user)
{
	struct owner *owner = user;

	assert(message && owner->n_ends == 0);
	assert(protobuf_c_message_get_packed_size(message) < SIZE_MAX / 2); /* reads all of it */
	if (owner->choices & CHOOSE_CANCEL)
		grpc_client_cancel(call);
	else if (owner->choices & CHOOSE_PAUSE)
		grpc_client_pause(call);
}

static void on_writable(struct grpc_client_call *call, void *user)
{
	Berth__V1__ExecRequest request = BERTH__V1__EXEC_REQUEST__INIT;
	struct owner *owner = user;

	if (owner->to_send-- == 0)
		grpc_client_half_close(call);
	else
		(void)grpc_client_send(call, &request.base);
}

static void check_outcome(const struct grpc_outcome *outcome)
{
	struct grpc_details *details = NULL;

	assert(outcome->message && strlen(outcome->message) < 1 << 20);
	assert(outcome->code < GRPC_CODES);
	assert(outcome->n_details == 0 || outcome->details);
	if (grpc_details_decode(outcome->details, outcome->n_details, &details) == 0)
		grpc_details_free(details);
}

static void on_end(struct grpc_client_call *call, const struct grpc_outcome *outcome, void *user)
{
	struct owner *owner = user;

	check_outcome(outcome);
	owner->call = NULL;
	owner->n_ends++;
}

static const struct grpc_client_events events = { .on_message = on_message,
						  .on_writable = on_writable,
						  .on_end = on_end };

static void wait_for_one(struct grpc_client *client)
{
	Berth__V1__GetRequest request = BERTH__V1__GET_REQUEST__INIT;
	struct grpc_reply reply;
	struct err err = { 0 };

	if (grpc_client_unary(client, "/berth.v1.NodeAgent/Get", &request.base,
			      &berth__v1__get_response__descriptor, 0, &reply, &err) < 0)
		return;
	check_outcome(&reply.outcome);
	assert((reply.outcome.code == GRPC_OK) == (reply.message != NULL));
	grpc_reply_done(&reply);
}

/* Returns how many calls there are then. */
static size_t start_calls(struct grpc_client *client, unsigned choices, struct owner *owners)
{
	Berth__V1__WatchEventsRequest watch = BERTH__V1__WATCH_EVENTS_REQUEST__INIT;
	struct err err = { 0 };
	size_t n = 0;

	if (choices & CHOOSE_STREAM &&
	    grpc_client_start(client, "/x/Watch", &watch.base,
			      &berth__v1__watch_events_response__descriptor, 0, &events, &owners[n],
			      &owners[n].call, &err) == 0)
		n++;
	if (choices & CHOOSE_UP &&
	    grpc_client_open(client, "/x/Up", &berth__v1__get_node_response__descriptor, 0, &events,
			     &owners[n], &owners[n].call, &err) == 0)
		n++;
	if (choices & CHOOSE_BOTH &&
	    grpc_client_open(client, "/x/Exec", &berth__v1__exec_response__descriptor, 0, &events,
			     &owners[n], &owners[n].call, &err) == 0)
		n++;
	return n;
}

static bool all_ended(const struct owner *owners, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (owners[i].n_ends == 0)
			return false;
	return true;
}

static void run(sd_event *event, struct owner *owners, size_t n)
{
	for (int i = 0; i < TURNS_MAX && !all_ended(owners, n); i++) {
		if (sd_event_run(event, 0) <= 0)
			break;
		for (size_t j = 0; j < n; j++)
			if (owners[j].call && owners[j].choices & CHOOSE_PAUSE)
				grpc_client_resume(owners[j].call);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct server server = { 0 };
	struct owner owners[CALLS_MAX] = { 0 };
	struct grpc_client *client = NULL;
	size_t n_calls;

	if (n < 2 || n > 60000)
		return 0;
	listen_once();
	for (size_t i = 0; i < CALLS_MAX; i++)
		owners[i] = (struct owner){ .choices = data[0], .to_send = 3 };
	server.bytes = data + 2;
	server.n = n - 2;
	server.torn = server.n * data[1] / 256;
	assert(sd_event_new(&server.event) >= 0);
	assert(sd_event_add_io(server.event, &server.listening, listener_fd, EPOLLIN, on_connection,
			       &server) >= 0);
	assert(grpc_client_new(server.event, &(struct grpc_client_options){ .target = target },
			       &client, NULL) == 0);
	n_calls = start_calls(client, data[0], owners);
	if (data[0] & CHOOSE_UNARY)
		wait_for_one(client);
	run(server.event, owners, n_calls);
	grpc_client_free(client);
	for (size_t i = 0; i < n_calls; i++)
		assert(owners[i].n_ends == 1);
	sd_event_source_disable_unref(server.talking);
	sd_event_source_disable_unref(server.listening);
	sd_event_unref(server.event);
	return 0;
}
