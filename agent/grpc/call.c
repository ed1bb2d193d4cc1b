/*
 * A call has three owners who let go in any order: its stream (until the peer or we close it), its handler
 * (until it ends the call) and whoever took a reference. Its status is decided once, by the handler or by
 * us; what is decided later is ignored.
 */
#include "agent/grpc/call_private.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/grpc/binary.h"
#include "agent/grpc/connection.h"
#include "agent/grpc/details.h"
#include "agent/grpc/percent.h"
#include "proto/cleanup.h"
#include "proto/utf8.h"

#define CLOSED_WINDOW_USEC 1000000ULL /* for a peer that takes nothing to hear of a failure */
#define MESSAGE_TEXT_MAX   768 /* with details at their most, the trailers still fit in 8 KiB */

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t n,
			 unsigned *ret_flags, void *user);

struct grpc_call *call_new(struct connection *conn, int32_t stream_id)
{
	struct grpc_server *server = conn->server;
	struct grpc_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->refs = 1; /* the stream's */
	call->conn = connection_ref(conn);
	call->stream_id = stream_id;
	call->id = ++server->last_call_id;
	call->started_usec = server_now(server);
	call->deadline_usec = UINT64_MAX;
	call->code = GRPC_UNKNOWN;
	call->body = (struct http2_body){ .read = read_body, .user = call };
	arena_init(&call->arena, server->options.max_decoded_bytes);
	outbox_init(&call->outbox, &server->send_budget);
	lpm_init(&call->lpm, server->options.max_receive_bytes, &conn->receive_budget);
	call->counted = true;
	conn->n_calls++;
	server->stats.calls++;
	server->stats.calls_started++;
	LIST_INSERT_HEAD(&conn->calls, call, entry);
	connection_stream_opened(conn);
	return call;
}

struct grpc_call *grpc_call_ref(struct grpc_call *call)
{
	call->refs++;
	return call;
}

void grpc_call_unref(struct grpc_call *call)
{
	if (--call->refs)
		return;
	assert(call->stream_id < 0 && !call->counted);
	outbox_done(&call->outbox);
	request_drop(call);
	arena_done(&call->arena);
	budget_give(&call->conn->server->decode_budget, call->decoded_bytes);
	free(call->head.metadata);
	free(call->message);
	free(call->details);
	connection_unref(call->conn);
	free(call);
}

static void uncount_if_over(struct grpc_call *call)
{
	if (!call->counted || call->stream_id >= 0 || (call->dispatched && !call->ended))
		return;
	call->counted = false;
	call->conn->n_calls--;
	call->conn->server->stats.calls--;
}

static bool is_reachable(const struct grpc_call *call)
{
	return call->stream_id >= 0 && call->conn->pump.session && !call->conn->pump.failed;
}

/* --- what is known about it --- */

void grpc_call_set_events(struct grpc_call *call, const struct grpc_call_events *events, void *user)
{
	call->events = events;
	call->user = user;
}

void *grpc_call_user(const struct grpc_call *call)
{
	return call->user;
}

uint64_t grpc_call_id(const struct grpc_call *call)
{
	return call->id;
}

const struct grpc_method *grpc_call_method(const struct grpc_call *call)
{
	return call->served.method;
}

const struct grpc_peer *grpc_call_peer(const struct grpc_call *call)
{
	return &call->conn->peer;
}

const ProtobufCMessage *grpc_call_request(const struct grpc_call *call)
{
	return call->request;
}

uint64_t grpc_call_deadline_usec(const struct grpc_call *call)
{
	return call->deadline_usec;
}

void grpc_call_mark(struct grpc_call *call)
{
	call->marked = true;
}

bool grpc_call_is_marked(const struct grpc_call *call)
{
	return call->marked;
}

bool grpc_call_cancelled(const struct grpc_call *call)
{
	return call->cancelled;
}

const char *grpc_call_metadata(const struct grpc_call *call, const char *name)
{
	const char *at = call->head.metadata;
	const char *end = at + call->head.n_metadata;

	while (at < end) {
		const char *value = at + strlen(at) + 1;

		if (strcmp(at, name) == 0)
			return value;
		at = value + strlen(value) + 1;
	}
	return NULL;
}

/* --- the answer --- */

void grpc_call_set_retry_after(struct grpc_call *call, uint32_t ms)
{
	(void)snprintf(call->retry_after, sizeof(call->retry_after), "%u", ms);
}

/* A failed copy costs the text, not the status. */
static void keep_status(struct grpc_call *call, const char *message,
			const struct grpc_details *details)
{
	cleanup_free uint8_t *bytes = NULL;
	size_t n = strlen(message);
	size_t n_bytes, ignored;

	if (n > MESSAGE_TEXT_MAX) {
		n = MESSAGE_TEXT_MAX;
		while (n && ((unsigned char)message[n] & 0xc0) == 0x80) /* not within a character */
			n--;
	}
	if (n) {
		call->message = malloc(PERCENT_ENCODED_MAX(n));
		if (call->message)
			(void)percent_encode(message, n, call->message, PERCENT_ENCODED_MAX(n));
	}
	if (grpc_details_count(details) &&
	    grpc_details_encode(details, call->code, message, &bytes, &n_bytes) == 0)
		call->details = binary_encode(bytes, n_bytes, &ignored);
}

/* The headers that say how it ended, after @n others in @headers; returns the new number. */
static size_t add_status(const struct grpc_call *call, char *number, size_t number_size,
			 nghttp2_nv *headers, size_t n)
{
	(void)snprintf(number, number_size, "%d", (int)call->code);
	headers[n++] = http2_header("grpc-status", number);
	if (call->message)
		headers[n++] = http2_header("grpc-message", call->message);
	if (call->details)
		headers[n++] = http2_header("grpc-status-details-bin", call->details);
	if (call->retry_after[0] && call->code == GRPC_UNAVAILABLE)
		headers[n++] = http2_header("grpc-retry-pushback-ms", call->retry_after);
	return n;
}

static void check_submitted(struct grpc_call *call, int r)
{
	if (r < 0) /* without memory a connection is worth nothing */
		connection_fail(call->conn);
}

/* A failure with nothing sent before it: one header block is the whole answer. */
static void send_trailers_only(struct grpc_call *call)
{
	char number[16];
	nghttp2_nv headers[7] = { http2_header(":status", "200"),
				  http2_header("content-type", "application/grpc") };
	size_t n = 2;

	if (call->code == GRPC_UNIMPLEMENTED && call->head.compressed)
		headers[n++] = http2_header("grpc-accept-encoding", "identity");
	n = add_status(call, number, sizeof(number), headers, n);
	call->headers_sent = true;
	call->delivered = true;
	check_submitted(call, http2_submit_response(call->conn->pump.session, call->stream_id,
						    headers, n, NULL));
}

static int send_trailers(struct grpc_call *call)
{
	char number[16];
	nghttp2_nv trailers[4];
	size_t n = add_status(call, number, sizeof(number), trailers, 0);

	call->delivered = true;
	return nghttp2_submit_trailer(call->conn->pump.session, call->stream_id, trailers, n);
}

static void send_headers(struct grpc_call *call)
{
	nghttp2_nv headers[] = { http2_header(":status", "200"),
				 http2_header("content-type", "application/grpc") };

	if (call->headers_sent)
		return;
	call->headers_sent = true;
	check_submitted(call, http2_submit_response(call->conn->pump.session, call->stream_id,
						    headers, ARRAY_SIZE(headers), &call->body));
	connection_kick(call->conn);
}

static void resume_body(struct grpc_call *call)
{
	if (!call->deferred)
		return;
	call->deferred = false;
	check_submitted(call,
			nghttp2_session_resume_data(call->conn->pump.session, call->stream_id));
	connection_kick(call->conn);
}

static bool window_is_closed(const struct grpc_call *call)
{
	nghttp2_session *session = call->conn->pump.session;

	return nghttp2_session_get_remote_window_size(session) <= 0 ||
	       nghttp2_session_get_stream_remote_window_size(session, call->stream_id) <= 0;
}

/* The status in a reset's words, for a peer that takes no trailers. It has had headers, so REFUSED_STREAM
 * makes no client repeat the call. */
static uint32_t reset_code(enum grpc_code code)
{
	if (code == GRPC_UNAVAILABLE)
		return NGHTTP2_REFUSED_STREAM;
	return code == GRPC_RESOURCE_EXHAUSTED ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_CANCEL;
}

static void reset_stream(struct grpc_call *call)
{
	check_submitted(call, nghttp2_submit_rst_stream(call->conn->pump.session, NGHTTP2_FLAG_NONE,
							call->stream_id, reset_code(call->code)));
	connection_kick(call->conn);
}

void call_answer(struct grpc_call *call, enum grpc_code code, const char *message,
		 const struct grpc_details *details)
{
	struct grpc_server *server = call->conn->server;
	uint64_t patience_usec;

	if (call->answered)
		return;
	call->answered = true;
	call->code = (unsigned)code < GRPC_CODES ? code : GRPC_UNKNOWN;
	if (code != GRPC_OK)
		outbox_done(&call->outbox);
	if (!is_reachable(call))
		return;
	keep_status(call, message, details);
	/* Trailers queue behind a body that nghttp2 does not ask for while a window is closed. */
	patience_usec = code != GRPC_OK && window_is_closed(call) ? CLOSED_WINDOW_USEC
								  : server->options.stall_usec;
	call->stall_deadline_usec = server_now(server) + patience_usec;
	connection_arm(call->conn, call->stall_deadline_usec);
	if (!call->headers_sent && !call->outbox.first)
		send_trailers_only(call);
	else if (!call->headers_sent)
		send_headers(call);
	else
		resume_body(call);
	connection_kick(call->conn);
}

static void cancel(struct grpc_call *call, enum grpc_cancel why)
{
	if (call->cancelled)
		return;
	call->cancelled = true;
	if (call->dispatched && !call->ended && call->events && call->events->on_cancel)
		call->events->on_cancel(call, why, call->user);
}

void call_abort(struct grpc_call *call, enum grpc_code code, const char *message,
		enum grpc_cancel why)
{
	call_abort_with(call, code, message, NULL, why);
}

void call_abort_with(struct grpc_call *call, enum grpc_code code, const char *message,
		     const struct grpc_details *details, enum grpc_cancel why)
{
	(void)grpc_call_ref(call);
	call_answer(call, code, message, details);
	cancel(call, why);
	grpc_call_unref(call);
}

void call_stream_closed(struct grpc_call *call, bool lost)
{
	struct grpc_server *server = call->conn->server;
	struct grpc_call_end end;

	call->stream_id = -1;
	LIST_REMOVE(call, entry);
	connection_stream_closed(call->conn);
	outbox_done(&call->outbox);
	request_drop(call);
	if (!call->answered || (call->code == GRPC_OK && !call->delivered))
		call->code = lost ? GRPC_UNAVAILABLE : GRPC_CANCELLED;
	if (!call->answered || !call->delivered)
		cancel(call, lost ? GRPC_CANCEL_LOST : GRPC_CANCEL_PEER);
	call->answered = true;
	server->stats.calls_ended[call->code]++;
	end = (struct grpc_call_end){ .code = call->code,
				      .usec = server_now(server) - call->started_usec,
				      .handled = call->dispatched };
	if (server->options.on_call_end && call->served.method)
		server->options.on_call_end(call, &end, server->options.user);
	uncount_if_over(call);
	grpc_call_unref(call);
}

/* --- the body, pulled --- */

/* Returns true if there is something new to send. */
static bool ask_writer(struct grpc_call *call)
{
	if (call->answered || call->cancelled || !call->dispatched || call->ended ||
	    !call->events || !call->events->on_writable)
		return false;
	call->events->on_writable(call, call->user);
	return call->answered || call->outbox.first;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t n,
			 unsigned *ret_flags, void *user)
{
	struct grpc_call *call = user;
	size_t filled = outbox_take(&call->outbox, buf, n);

	while (filled < n && ask_writer(call))
		filled += outbox_take(&call->outbox, buf + filled, n - filled);
	if (call->stall_deadline_usec) /* it moves */
		call->stall_deadline_usec = server_now(call->conn->server) +
					    call->conn->server->options.stall_usec;
	if (call->answered && !call->outbox.first) {
		if (send_trailers(call) != 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		*ret_flags = HTTP2_BODY_THEN_TRAILERS;
		return (ssize_t)filled;
	}
	if (filled)
		return (ssize_t)filled;
	call->deferred = true;
	return NGHTTP2_ERR_DEFERRED;
}

void call_start_body(struct grpc_call *call)
{
	enum grpc_method_kind kind = call->served.method->kind;

	if (call->answered || !is_reachable(call) ||
	    (kind != GRPC_SERVER_STREAM && kind != GRPC_BIDI))
		return;
	send_headers(call);
}

int grpc_call_send(struct grpc_call *call, const ProtobufCMessage *message)
{
	int r;

	if (call->cancelled || call->answered || !is_reachable(call))
		return -ECANCELED;
	if (call->outbox.bytes >= OUTBOX_MARK_BYTES)
		return -EAGAIN;
	r = outbox_put(&call->outbox, message, call->conn->server->options.max_send_bytes);
	if (r == -ENOBUFS)
		return -ENOMEM;
	if (r < 0)
		return r;
	send_headers(call);
	resume_body(call);
	return 0;
}

void grpc_call_wake(struct grpc_call *call)
{
	if (call->answered || !is_reachable(call))
		return;
	send_headers(call);
	resume_body(call);
}

/* --- how handlers end it --- */

/* The handler lets go; @call may be gone afterwards. */
static void handler_done(struct grpc_call *call)
{
	uncount_if_over(call);
	grpc_call_unref(call);
}

static void begin_end(struct grpc_call *call)
{
	assert(call->dispatched && !call->ended);
	call->ended = true;
}

int grpc_call_reply(struct grpc_call *call, const ProtobufCMessage *message)
{
	int r = 0;

	begin_end(call);
	if (!call->answered && is_reachable(call)) {
		r = outbox_put(&call->outbox, message, call->conn->server->options.max_send_bytes);
		if (r == 0)
			call_answer(call, GRPC_OK, "", NULL);
		else
			call_answer(call, GRPC_RESOURCE_EXHAUSTED,
				    r == -EMSGSIZE ? "the answer is over the limit for one message"
						   : "too many answers wait for their readers",
				    NULL);
	}
	handler_done(call);
	return r;
}

void grpc_call_fail(struct grpc_call *call, enum grpc_code code, const char *message,
		    const struct grpc_details *details)
{
	begin_end(call);
	call_answer(call, code, message, details);
	handler_done(call);
}

void grpc_call_failf(struct grpc_call *call, enum grpc_code code, const char *fmt, ...)
{
	char text[MESSAGE_TEXT_MAX + 1];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	grpc_call_fail(call, code, text, NULL);
}

void grpc_call_finish(struct grpc_call *call)
{
	begin_end(call);
	call_answer(call, GRPC_OK, "", NULL);
	handler_done(call);
}

/* --- time --- */

uint64_t call_next_usec(const struct grpc_call *call)
{
	uint64_t next = call->answered ? UINT64_MAX : call->deadline_usec;

	if (!call->answered && call->body_deadline_usec && call->body_deadline_usec < next)
		next = call->body_deadline_usec;
	if (call->stall_deadline_usec && call->stall_deadline_usec < next)
		next = call->stall_deadline_usec;
	return next;
}

void call_check_time(struct grpc_call *call, uint64_t now_usec)
{
	if (call->stall_deadline_usec && now_usec >= call->stall_deadline_usec) {
		call->stall_deadline_usec = 0;
		reset_stream(call);
		return;
	}
	if (call->answered)
		return;
	if (now_usec >= call->deadline_usec)
		call_abort(call, GRPC_DEADLINE_EXCEEDED, "the call's deadline passed",
			   GRPC_CANCEL_DEADLINE);
	else if (call->body_deadline_usec && now_usec >= call->body_deadline_usec)
		call_abort(call, GRPC_DEADLINE_EXCEEDED, "the request did not arrive in time",
			   GRPC_CANCEL_BROKEN);
}
