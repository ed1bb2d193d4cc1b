/* The client's parts as they see each other: the client, its links (connections), its calls. */
#pragma once

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#include "agent/grpc/budget.h"
#include "agent/grpc/client.h"
#include "agent/grpc/http2.h"
#include "agent/grpc/lpm.h"
#include "agent/grpc/outbox.h"
#include "agent/grpc/pump.h"
#include "proto/arena.h"

struct addrinfo;
struct client_link;

struct grpc_client {
	sd_event *event;
	char *target;
	char *unix_path; /* or */
	char *host;
	char *port;
	char *authority;
	char *server_name;
	struct grpc_tls *tls;
	uint64_t connect_timeout_usec;
	bool has_socket;                  /* the one to use, */
	struct grpc_client_socket socket; /* until it was */
	uint64_t max_connection_bytes;
	size_t max_receive_bytes;
	size_t max_decoded_bytes;
	nghttp2_session_callbacks *callbacks;
	struct client_link *current;    /* for calls to come; NULL: to be made */
	LIST_HEAD(, client_link) links; /* the current one and those that are told to go */
	TAILQ_HEAD(ended_calls, grpc_client_call) ended; /* on_end is due */
	sd_event_source *ender;                          /* oneshot */
	struct budget budget; /* without limit: the caller's own server is trusted so far */
	uint8_t *scratch;
};

enum link_phase { LINK_CONNECTING = 1, LINK_SHAKING, LINK_OPEN, LINK_DEAD };

struct client_link {
	LIST_ENTRY(client_link) entry;
	struct grpc_client *client;
	enum link_phase phase;
	struct addrinfo *addresses; /* of TCP; owned */
	struct addrinfo *address;   /* to be tried next */
	struct pump pump;
	bool told_to_go; /* by the server's GOAWAY */
	struct err why;  /* it failed */
	LIST_HEAD(, grpc_client_call) calls;
	struct grpc_client_call *ready; /* resumed */
	sd_event_source *io;
	sd_event_source *work;
	sd_event_source *timer;
	uint32_t io_events;
};

/* What came back so far. */
struct client_answer {
	unsigned http_status;
	bool grpc_content;
	bool compressed;
	bool has_status;
	enum grpc_code code;
	char *message;
	uint8_t *details;
	size_t n_details;
	size_t header_bytes;
};

struct grpc_client_call {
	LIST_ENTRY(grpc_client_call) entry;        /* on its link, */
	TAILQ_ENTRY(grpc_client_call) ended_entry; /* then among the ended */
	struct grpc_client_call *next_ready;
	struct grpc_client *client;
	struct client_link *link; /* NULL once ended */
	int32_t stream_id;
	char *path;
	const ProtobufCMessageDescriptor *response;
	uint64_t deadline_usec; /* UINT64_MAX: none */
	const struct grpc_client_events *events;
	void *user;
	sd_event_source *timer;

	struct http2_body body;
	struct outbox outbox;
	uint8_t *request; /* the one message, to be able to send it again */
	size_t n_request;
	bool retried;
	bool half_closed; /* by us */
	bool deferred;

	struct lpm lpm;
	struct arena *
		into; /* where messages are unpacked: &arena, or a waiter's that outlives the call */
	struct arena arena;
	bool heard; /* the server has answered something */
	bool paused;
	bool is_ready;
	uint8_t *held;
	size_t n_held;
	struct client_answer answer;

	bool ended;
	enum grpc_code code;
	const char *message; /* the answer's, or own_message */
	char own_message[512];
	bool from_server;
};

/* client_link.c */

/* The current link, or a new one that has begun to connect. */
int client_link_get(struct grpc_client *client, struct client_link **ret_link, struct err *err);
void client_link_free(struct client_link *link);
void client_link_kick(struct client_link *link);
void client_link_fail(struct client_link *link);
/* Remember what the server did wrong, the first of it. */
void client_link_blame(struct client_link *link, const char *what);
/* Why its calls end with it. */
const char *client_link_why(const struct client_link *link);

/* client_call.c */

/* Submit @call on @link; on failure it is not there. */
int client_call_submit(struct grpc_client_call *call, struct client_link *link);
/* Decide how it ended; on_end follows from the loop. */
void client_call_end(struct grpc_client_call *call, enum grpc_code code, bool from_server,
		     const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void client_call_free(struct grpc_client_call *call);
void client_call_deliver_held(struct grpc_client_call *call);
/* What nghttp2 tells. */
void client_call_header(struct grpc_client_call *call, const char *name, const char *value,
			size_t n_name, size_t n_value);
void client_call_data(struct grpc_client_call *call, const uint8_t *data, size_t n);
void client_call_closed(struct grpc_client_call *call, uint32_t h2_error);
/* The server has provably not seen it: once more elsewhere, or UNAVAILABLE. */
void client_call_refused(struct grpc_client_call *call);
