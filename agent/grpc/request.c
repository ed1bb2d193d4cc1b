/*
 * The peer's half of a call: its headers, its messages, its end. All in here is a peer's bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/grpc/call_private.h"
#include "agent/grpc/connection.h"
#include "agent/grpc/details.h"
#include "agent/grpc/timeout.h"
#include "proto/cleanup.h"
#include "proto/wirecheck.h"

#define HEADER_OVERHEAD_BYTES 32 /* RFC 9113 section 6.5.2 */
#define HOPELESS_FACTOR       16 /* beyond this many times the limit the connection goes */

/* --- headers --- */

static bool is_grpc_content(const char *value)
{
	static const char prefix[] = "application/grpc";
	size_t n = sizeof(prefix) - 1;

	return strncmp(value, prefix, n) == 0 &&
	       (value[n] == '\0' || value[n] == '+' || value[n] == ';');
}

static bool is_binary(const char *name, size_t n)
{
	return n > 4 && strcmp(name + n - 4, "-bin") == 0;
}

/* Bounded by max_header_bytes, which the caller has checked. */
static void keep_metadata(struct call_head *head, const char *name, const char *value,
			  size_t n_name, size_t n_value)
{
	size_t added = n_name + n_value + 2;

	if (is_binary(name, n_name) || name[0] == ':')
		return;
	if (head->n_metadata + added > head->room) {
		size_t room = 2 * (head->n_metadata + added);
		char *grown = realloc(head->metadata, room);

		if (!grown) /* as if it had not been sent */
			return;
		head->metadata = grown;
		head->room = room;
	}
	memcpy(head->metadata + head->n_metadata, name, n_name + 1);
	memcpy(head->metadata + head->n_metadata + n_name + 1, value, n_value + 1);
	head->n_metadata += added;
}

static void note_path(struct grpc_call *call, const char *path, size_t n)
{
	const struct served_method *served = server_find_method(call->conn->server, path);

	if (served)
		call->served = *served;
	else /* for the sentence that says it is unknown */
		keep_metadata(&call->head, "path", path, 4, n);
}

static void note_timeout(struct call_head *head, const char *value, size_t n)
{
	if (timeout_parse(value, n, &head->timeout_usec) < 0)
		head->bad_timeout = true;
	else
		head->timed = true;
}

int request_header(struct grpc_call *call, const char *name, const char *value, size_t n_name,
		   size_t n_value)
{
	struct call_head *head = &call->head;
	size_t limit = call->conn->server->options.max_header_bytes;

	head->bytes += n_name + n_value + HEADER_OVERHEAD_BYTES;
	if (head->bytes > HOPELESS_FACTOR * limit)
		return -E2BIG;
	if (head->bytes > limit)
		return 0;
	if (strcmp(name, ":path") == 0)
		note_path(call, value, n_value);
	else if (strcmp(name, ":method") == 0)
		head->post = strcmp(value, "POST") == 0;
	else if (strcmp(name, "content-type") == 0)
		head->grpc_content = is_grpc_content(value);
	else if (strcmp(name, "grpc-timeout") == 0)
		note_timeout(head, value, n_value);
	else if (strcmp(name, "grpc-encoding") == 0)
		head->compressed = strcmp(value, "identity") != 0;
	else
		keep_metadata(head, name, value, n_name, n_value);
	return 0;
}

/* Not gRPC at all: an HTTP status, and no grpc-status that a proxy could take for the answer. */
static void refuse_http(struct grpc_call *call, const char *status)
{
	const nghttp2_nv header = http2_header(":status", status);

	call->answered = true;
	call->delivered = true;
	call->code = GRPC_UNKNOWN;
	if (http2_submit_response(call->conn->pump.session, call->stream_id, &header, 1, NULL) < 0)
		connection_fail(call->conn);
}

static void refuse_unknown(struct grpc_call *call)
{
	const char *path = grpc_call_metadata(call, "path");
	char text[256];

	(void)snprintf(text, sizeof(text), "this server has no method %.200s", path ? path : "");
	call_answer(call, GRPC_UNIMPLEMENTED, text, NULL);
}

static void refuse_authorised(struct grpc_call *call, const struct err *err)
{
	call->conn->server->stats.calls_refused++;
	call_answer(call, err->kind == ERR_INVALID ? GRPC_UNAUTHENTICATED : GRPC_PERMISSION_DENIED,
		    err->text, NULL);
}

/* Answer and return false, or return true if the call may go on. */
static bool check_head(struct grpc_call *call)
{
	const struct grpc_server_options *options = &call->conn->server->options;
	const struct call_head *head = &call->head;
	struct err err = { 0 };

	if (head->bytes > options->max_header_bytes) {
		char text[128];

		(void)snprintf(text, sizeof(text),
			       "the call's metadata is over the limit of %zu bytes",
			       options->max_header_bytes);
		call->conn->server->stats.calls_refused++;
		call_answer(call, GRPC_RESOURCE_EXHAUSTED, text, NULL);
	} else if (!head->post)
		refuse_http(call, "405");
	else if (!head->grpc_content)
		refuse_http(call, "415");
	else if (!call->served.method)
		refuse_unknown(call);
	else if (head->compressed)
		call_answer(call, GRPC_UNIMPLEMENTED,
			    "compressed messages are not supported: turn compression off", NULL);
	else if (head->bad_timeout)
		call_answer(call, GRPC_INTERNAL, "malformed grpc-timeout", NULL);
	else if (head->timed && head->timeout_usec == 0)
		call_answer(call, GRPC_DEADLINE_EXCEEDED, "the call's deadline passed", NULL);
	else if (options->authorise && options->authorise(call, options->user, &err) < 0)
		refuse_authorised(call, &err);
	else
		return true;
	return false;
}

static void start_clocks(struct grpc_call *call)
{
	struct grpc_server *server = call->conn->server;
	enum grpc_method_kind kind = call->served.method->kind;
	uint64_t now_usec = server_now(server);

	if (call->head.timed) {
		call->deadline_usec = now_usec + call->head.timeout_usec;
		connection_arm(call->conn, call->deadline_usec);
	} else if (kind == GRPC_UNARY || kind == GRPC_SERVER_STREAM) {
		call->body_deadline_usec = now_usec + server->options.body_usec;
		connection_arm(call->conn, call->body_deadline_usec);
	}
}

/* Hand it to its handler. The stream's reference keeps it alive until this returns to nghttp2. */
static void dispatch(struct grpc_call *call)
{
	const struct grpc_method *method = call->served.method;

	call->body_deadline_usec = 0;
	if (call->conn->server->draining && method->flags & GRPC_METHOD_ENDLESS) {
		call_answer(call, GRPC_UNAVAILABLE, "the server is shutting down", NULL);
		return;
	}
	call->dispatched = true;
	(void)grpc_call_ref(call); /* the handler's */
	(void)grpc_call_ref(call);
	method->handler(call, call->request, call->served.user);
	if (!call->ended)
		call_start_body(call);
	grpc_call_unref(call);
}

void request_opened(struct grpc_call *call)
{
	enum grpc_method_kind kind;

	if (!check_head(call))
		return;
	call->opened = true;
	kind = call->served.method->kind;
	if (call->served.method->max_request_bytes)
		call->lpm.max_bytes = call->served.method->max_request_bytes;
	start_clocks(call);
	if (kind == GRPC_CLIENT_STREAM || kind == GRPC_BIDI)
		dispatch(call);
}

/* --- messages --- */

static void refuse_message(struct grpc_call *call, int r)
{
	char text[128];

	switch (r) {
	case -EMSGSIZE:
		(void)snprintf(text, sizeof(text), "a message is over the limit of %zu bytes",
			       call->lpm.max_bytes);
		call_abort(call, GRPC_RESOURCE_EXHAUSTED, text, GRPC_CANCEL_BROKEN);
		break;
	case -EOPNOTSUPP:
		call_abort(call, GRPC_INTERNAL,
			   "a message is marked as compressed, but no grpc-encoding is given",
			   GRPC_CANCEL_BROKEN);
		break;
	case -EPROTO:
		call_abort(call, GRPC_INTERNAL, "a message has unknown flags", GRPC_CANCEL_BROKEN);
		break;
	default:
		call_abort(call, GRPC_RESOURCE_EXHAUSTED,
			   "too many requests are being received: try again", GRPC_CANCEL_BROKEN);
	}
}

/* wire_check() says "type: path: what is wrong", or leaves out the path, which has no spaces. It is for programs,
 * too. */
static struct grpc_details *details_of_field(const char *text)
{
	struct grpc_details *details = NULL;
	const char *path = strstr(text, ": ");
	const char *what = path ? strstr(path + 2, ": ") : NULL;
	char field[256];

	if (!what || memchr(path + 2, ' ', (size_t)(what - path - 2)))
		return NULL;
	(void)snprintf(field, sizeof(field), "%.*s", (int)(what - path - 2), path + 2);
	details = grpc_details_new();
	grpc_details_add_field(details, field, what + 2);
	return details;
}

static void refuse_undecodable(struct grpc_call *call, const struct err *err)
{
	struct grpc_details *details = NULL;

	if (err->kind == ERR_INVALID)
		details = details_of_field(err->text);
	call_abort_with(call,
			err->kind == ERR_INVALID ? GRPC_INVALID_ARGUMENT : GRPC_RESOURCE_EXHAUSTED,
			err->text, details, GRPC_CANCEL_BROKEN);
	grpc_details_free(details);
}

/* NULL if it was refused. */
static const ProtobufCMessage *decode(struct grpc_call *call, const uint8_t *bytes, size_t n)
{
	struct err err = { 0 };
	const ProtobufCMessage *message = wire_unpack(call->served.method->request, bytes, n,
						      &call->arena, &err);

	if (!message)
		refuse_undecodable(call, &err);
	return message;
}

/* The one request of a call. It stays in memory as long as the call, so all of them share a budget. */
static void keep_request(struct grpc_call *call, const uint8_t *bytes, size_t n)
{
	if (call->request) {
		call_abort(call, GRPC_INTERNAL, "more than one message for a method that takes one",
			   GRPC_CANCEL_BROKEN);
		return;
	}
	call->request = decode(call, bytes, n);
	if (!call->request)
		return;
	if (!budget_take(&call->conn->server->decode_budget, call->arena.held_bytes)) {
		call->request = NULL;
		arena_reset(&call->arena);
		refuse_message(call, -ENOBUFS);
		return;
	}
	call->decoded_bytes = call->arena.held_bytes;
}

static void deliver(struct grpc_call *call, const uint8_t *bytes, size_t n)
{
	enum grpc_method_kind kind = call->served.method->kind;
	const ProtobufCMessage *message;

	if (kind == GRPC_UNARY || kind == GRPC_SERVER_STREAM) {
		keep_request(call, bytes, n);
		return;
	}
	if (call->ended)
		return;
	message = decode(call, bytes, n);
	if (message && call->events && call->events->on_message)
		call->events->on_message(call, message, call->user);
	arena_reset(&call->arena);
}

static void hold(struct grpc_call *call, const uint8_t *data, size_t n)
{
	uint8_t *grown;

	if (!budget_take(&call->conn->receive_budget, n)) {
		refuse_message(call, -ENOBUFS);
		return;
	}
	grown = realloc(call->held, call->n_held + n);
	if (!grown) {
		budget_give(&call->conn->receive_budget, n);
		refuse_message(call, -ENOMEM);
		return;
	}
	memcpy(grown + call->n_held, data, n);
	call->held = grown;
	call->n_held += n;
}

/* Give @n bytes back to the stream's window: they have been taken. */
static void consume(struct grpc_call *call, size_t n)
{
	if (call->stream_id >= 0 && n &&
	    nghttp2_session_consume_stream(call->conn->pump.session, call->stream_id, n) != 0)
		connection_fail(call->conn);
}

/* Take messages until the bytes run out, the handler pauses (returns what is left) or the call ends. */
static size_t take_messages(struct grpc_call *call, const uint8_t *data, size_t n)
{
	while (n && !call->answered && !call->paused) {
		const uint8_t *message;
		size_t length;
		int r = lpm_take(&call->lpm, &data, &n, &message, &length);

		if (r < 0)
			refuse_message(call, r);
		else if (r == 1)
			deliver(call, message, length);
	}
	return n;
}

void request_data(struct grpc_call *call, const uint8_t *data, size_t n)
{
	size_t left;

	if (call->answered || !call->opened) { /* late: nobody reads it */
		consume(call, n);
		return;
	}
	left = call->n_held ? n : take_messages(call, data, n);
	if (call->answered)
		left = 0;
	if (left)
		hold(call, data + (n - left), left);
	consume(call, n - left);
}

static void tell_half_closed(struct grpc_call *call)
{
	if (call->told_half_closed || call->answered || call->ended)
		return;
	call->told_half_closed = true;
	if (call->events && call->events->on_half_close)
		call->events->on_half_close(call, call->user);
}

void request_half_closed(struct grpc_call *call)
{
	enum grpc_method_kind kind;

	call->half_closed = true;
	if (!call->opened || call->answered || call->n_held)
		return;
	kind = call->served.method->kind;
	if (lpm_partial(&call->lpm))
		call_abort(call, GRPC_INTERNAL, "the request ends within a message",
			   GRPC_CANCEL_BROKEN);
	else if (kind == GRPC_CLIENT_STREAM || kind == GRPC_BIDI)
		tell_half_closed(call);
	else if (!call->request)
		call_answer(call, GRPC_INTERNAL, "no message for a method that takes one", NULL);
	else
		dispatch(call);
}

void request_deliver_held(struct grpc_call *call)
{
	cleanup_free uint8_t *held = NULL;
	size_t n = call->n_held;
	size_t left;

	if (call->stream_id < 0 || call->answered || call->paused)
		return;
	held = take_ptr(&call->held);
	call->n_held = 0;
	budget_give(&call->conn->receive_budget, n);
	left = take_messages(call, held, n);
	if (call->stream_id >= 0 && !call->answered && left)
		hold(call, held + (n - left), left);
	consume(call, n - (call->answered ? 0 : left));
	if (call->half_closed && !call->n_held && call->stream_id >= 0)
		request_half_closed(call);
}

void request_drop(struct grpc_call *call)
{
	lpm_done(&call->lpm);
	budget_give(&call->conn->receive_budget, call->n_held);
	free(call->held);
	call->held = NULL;
	call->n_held = 0;
}

void grpc_call_pause(struct grpc_call *call)
{
	call->paused = true;
}

void grpc_call_resume(struct grpc_call *call)
{
	if (!call->paused)
		return;
	call->paused = false;
	if (call->stream_id < 0 || call->is_ready || !call->n_held)
		return;
	call->is_ready = true;
	call->next_ready = call->conn->ready;
	call->conn->ready = grpc_call_ref(call);
	connection_kick(call->conn);
}
