/* The server as its connections, calls and listeners see it. */
#pragma once

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#include "agent/grpc/budget.h"
#include "agent/grpc/server.h"

struct connection;
struct listener;

struct served_method {
	const struct grpc_method *method;
	void *user;
};

struct grpc_server {
	unsigned refs; /* the caller's, and one a connection */
	sd_event *event;
	struct grpc_server_options options;
	struct grpc_server_stats stats;
	struct served_method *methods; /* sorted by path */
	size_t n_methods;
	nghttp2_session_callbacks *callbacks;
	LIST_HEAD(, connection) connections;
	LIST_HEAD(, listener) listeners;
	struct budget receive_budget; /* half-received messages */
	struct budget decode_budget;  /* decoded requests of calls that are not over */
	struct budget send_budget;    /* answers that wait for their peers */
	uint64_t last_call_id;
	uint64_t last_connection_id;
	bool freed;
	bool holds; /* accepts nobody for now */

	bool draining;
	bool cut; /* the grace is over */
	sd_event_source *drain_timer;
	void (*on_drained)(struct grpc_server *server, void *user);
	void *on_drained_user;

	void *reflection; /* of reflection.c; freed with the server */
	uint8_t *scratch; /* PUMP_SCRATCH_BYTES for reads and writes, never held across the loop */
};

struct grpc_server *server_ref(struct grpc_server *server);
void server_unref(struct grpc_server *server);

/* Monotonic time of this turn of the loop. */
uint64_t server_now(struct grpc_server *server);
void server_log(struct grpc_server *server, int priority, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
const struct served_method *server_find_method(const struct grpc_server *server, const char *path);
/* A connection is gone: a drain may be over. */
void server_connection_gone(struct grpc_server *server);

/* listener.c */
void listeners_close(struct grpc_server *server);
