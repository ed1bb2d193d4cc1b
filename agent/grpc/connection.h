/*
 * One client's connection to the server: its bytes, its clocks, its limits, and the way it ends.
 *
 * It is killed only between calls into nghttp2: whoever finds it unfit calls connection_fail() and the loop
 * buries it. Calls keep a reference, so that handlers may finish later than the connection.
 */
#pragma once

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "agent/grpc/bucket.h"
#include "agent/grpc/budget.h"
#include "agent/grpc/peer_private.h"
#include "agent/grpc/pump.h"

struct grpc_call;
struct grpc_server;

enum connection_phase {
	CONNECTION_TLS = 1, /* shaking hands */
	CONNECTION_PREFACE, /* waiting for the client's SETTINGS */
	CONNECTION_OPEN,
	CONNECTION_NOTICE, /* told to go; waiting for the PING that came behind it */
	CONNECTION_GOAWAY, /* told which stream was the last; waiting for those that are open */
	CONNECTION_LINGER, /* nothing left to say; waiting for the peer to hang up */
	CONNECTION_DEAD,
};

struct connection {
	LIST_ENTRY(connection) entry;
	struct grpc_server *server;
	unsigned refs;
	enum connection_phase phase;
	bool calmed;      /* ended for a flood */
	struct pump pump; /* failed: to be buried by the loop */
	struct grpc_peer peer;

	LIST_HEAD(, grpc_call) calls; /* whose streams are open */
	unsigned n_streams;
	unsigned n_calls;        /* whose handlers or streams are not over */
	struct grpc_call *ready; /* resumed: their held bytes are to be delivered */

	sd_event_source *io;
	sd_event_source *timer;
	sd_event_source *work; /* oneshot: deliver to ready calls, flush, bury */
	uint32_t io_events;
	uint64_t timer_usec; /* when it is set to go off; UINT64_MAX: not */

	/* Monotonic; 0: not running. */
	uint64_t phase_deadline_usec; /* TLS, PREFACE, NOTICE, LINGER */
	uint64_t header_deadline_usec;
	uint64_t stall_deadline_usec;
	uint64_t ping_deadline_usec;
	uint64_t last_read_usec;
	uint64_t idle_since_usec; /* meaningful while n_streams is 0 */

	struct bucket resets;       /* the peer's RST_STREAM */
	struct bucket provoked;     /* ours, for what the peer did wrong */
	struct bucket small_frames; /* PRIORITY, WINDOW_UPDATE, empty DATA, refused streams */
	size_t sent_since_credit;
	struct budget receive_budget;
	uint64_t counted_received_bytes;
	uint64_t counted_sent_bytes;
};

/* Serve the accepted @fd, which is taken on success and failure; @tls NULL on a unix socket. */
int connection_new(struct grpc_server *server, int fd, const struct grpc_tls *tls, struct err *err);

struct connection *connection_ref(struct connection *conn);
void connection_unref(struct connection *conn);

/* No further bytes: bury it as soon as no nghttp2 is on the stack. */
void connection_fail(struct connection *conn);
/* The same at once, from outside of any callback of nghttp2. */
void connection_bury(struct connection *conn);
/* Something was submitted outside of nghttp2's callbacks, or a call became ready. */
void connection_kick(struct connection *conn);
/* Have the timer go off at @at_usec at the latest. */
void connection_arm(struct connection *conn, uint64_t at_usec);

/* Ask the client to go elsewhere; close once its calls are over. */
void connection_drain(struct connection *conn);
/* The peer broke a limit on floods: ENHANCE_YOUR_CALM. @what for the log. */
void connection_calm(struct connection *conn, const char *what);
/* The client knows where it was cut off (its PING came back): send the final GOAWAY. */
void connection_notice_acked(struct connection *conn);
/* One more, or one less, open stream. */
void connection_stream_opened(struct connection *conn);
void connection_stream_closed(struct connection *conn);

/* frames.c: what nghttp2 calls, for all connections of a server. Returns 0 or -ENOMEM. */
int frames_callbacks_new(nghttp2_session_callbacks **ret_callbacks);
