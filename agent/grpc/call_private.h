/* A call as its connection sees it. */
#pragma once

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#include "agent/grpc/call.h"
#include "agent/grpc/http2.h"
#include "agent/grpc/lpm.h"
#include "agent/grpc/outbox.h"
#include "agent/grpc/server_private.h"
#include "proto/arena.h"

/* What the request's header block said, as far as it matters once it is complete. */
struct call_head {
	size_t bytes; /* as SETTINGS_MAX_HEADER_LIST_SIZE counts */
	bool post;
	bool grpc_content;
	bool compressed;
	bool bad_timeout;
	bool timed;
	uint64_t timeout_usec;
	char *metadata; /* name NUL value NUL ... */
	size_t n_metadata;
	size_t room;
};

struct grpc_call {
	LIST_ENTRY(grpc_call) entry; /* while its stream is open */
	struct grpc_call *next_ready;
	unsigned refs; /* its stream's, its handler's, those taken by callers */
	struct connection *conn;
	struct served_method served;
	uint64_t id;
	int32_t stream_id; /* -1 once closed */

	uint64_t started_usec;
	uint64_t deadline_usec;      /* UINT64_MAX: none */
	uint64_t body_deadline_usec; /* 0: not running */
	uint64_t
		stall_deadline_usec; /* answered, and the peer does not take the answer; 0: not running */

	bool opened;       /* the header block was fine */
	bool dispatched;   /* the handler owns it, */
	bool ended;        /* and has ended it */
	bool answered;     /* its status is decided */
	bool delivered;    /* and sent */
	bool cancelled;    /* nobody waits for the answer */
	bool headers_sent; /* with a body to follow */
	bool deferred;     /* the body reader had nothing */
	bool half_closed;  /* the peer has sent its last byte */
	bool told_half_closed;
	bool paused;
	bool is_ready; /* in the connection's list */
	bool counted;  /* against the limits on calls */
	bool marked;   /* grpc_call_mark() */

	struct call_head head;
	struct lpm lpm;
	uint8_t *held; /* came while paused; their window is not given back */
	size_t n_held;
	struct arena arena;   /* the request, or the message being delivered */
	size_t decoded_bytes; /* of the request, taken from the server's decode budget */
	const ProtobufCMessage *request;

	const struct grpc_call_events *events;
	void *user;

	struct http2_body body;
	struct outbox outbox;
	enum grpc_code code;
	char *message;        /* percent-encoded */
	char *details;        /* base64, or NULL */
	char retry_after[12]; /* milliseconds, or "" */
};

/* call.c */

/* A call for the stream @stream_id, in the connection's list; NULL without memory. */
struct grpc_call *call_new(struct connection *conn, int32_t stream_id);
/* Decide its status unless that is done, and send it. @details may be NULL. */
void call_answer(struct grpc_call *call, enum grpc_code code, const char *message,
		 const struct grpc_details *details);
/* The same, and tell the handler that nobody waits. */
void call_abort(struct grpc_call *call, enum grpc_code code, const char *message,
		enum grpc_cancel why);
void call_abort_with(struct grpc_call *call, enum grpc_code code, const char *message,
		     const struct grpc_details *details, enum grpc_cancel why);
/* Its stream is gone; @lost with the whole connection. May free it. */
void call_stream_closed(struct grpc_call *call, bool lost);
/* Have on_writable asked, once the handler has set it. */
void call_start_body(struct grpc_call *call);
/* What runs out for it next, or UINT64_MAX; and what is done when it has. */
uint64_t call_next_usec(const struct grpc_call *call);
void call_check_time(struct grpc_call *call, uint64_t now_usec);

/* request.c */

/* One header of the request. Returns 0, or -E2BIG if the connection is not worth keeping. */
int request_header(struct grpc_call *call, const char *name, const char *value, size_t n_name,
		   size_t n_value);
/* The header block is complete. */
void request_opened(struct grpc_call *call);
/* Bytes of the body. */
void request_data(struct grpc_call *call, const uint8_t *data, size_t n);
/* The peer has sent its last byte. */
void request_half_closed(struct grpc_call *call);
/* Deliver what was held while it was paused. */
void request_deliver_held(struct grpc_call *call);
void request_drop(struct grpc_call *call);
