/*
 * One call of a client. How it ended is decided once, by the first of: the server's trailers, the stream's or
 * the connection's end, the deadline, the caller.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/grpc/binary.h"
#include "agent/grpc/client_private.h"
#include "agent/grpc/percent.h"
#include "agent/grpc/timeout.h"
#include "proto/cleanup.h"
#include "proto/wirecheck.h"

#define MAX_HEADER_BYTES (64u << 10)

/* --- ending --- */

static void reset_stream(struct grpc_client_call *call)
{
	if (call->stream_id < 0 || call->link->pump.failed)
		return;
	(void)nghttp2_session_set_stream_user_data(call->link->pump.session, call->stream_id, NULL);
	(void)nghttp2_submit_rst_stream(call->link->pump.session, NGHTTP2_FLAG_NONE,
					call->stream_id, NGHTTP2_CANCEL);
	client_link_kick(call->link);
}

static void remove_ready(struct grpc_client_call *call)
{
	struct grpc_client_call **at = &call->link->ready;

	while (call->is_ready && *at != call)
		at = &(*at)->next_ready;
	if (call->is_ready)
		*at = call->next_ready;
	call->is_ready = false;
}

/* Off its link; the stream, if there is one yet, must not reach it any more. */
static void leave_link(struct grpc_client_call *call)
{
	remove_ready(call);
	LIST_REMOVE(call, entry);
	call->link = NULL;
	call->stream_id = -1;
}

static void end(struct grpc_client_call *call, enum grpc_code code, bool from_server,
		const char *message)
{
	if (call->ended)
		return;
	call->ended = true;
	call->code = code;
	call->from_server = from_server;
	call->message = message;
	if (call->link) {
		reset_stream(call);
		leave_link(call);
	}
	call->timer = sd_event_source_disable_unref(call->timer);
	outbox_done(&call->outbox);
	TAILQ_INSERT_TAIL(&call->client->ended, call, ended_entry);
	(void)sd_event_source_set_enabled(call->client->ender, SD_EVENT_ONESHOT);
}

void client_call_end(struct grpc_client_call *call, enum grpc_code code, bool from_server,
		     const char *fmt, ...)
{
	va_list ap;

	if (call->ended)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(call->own_message, sizeof(call->own_message), fmt, ap);
	va_end(ap);
	end(call, code, from_server, call->own_message);
}

void client_call_free(struct grpc_client_call *call)
{
	if (call->link)
		leave_link(call);
	sd_event_source_disable_unref(call->timer);
	outbox_done(&call->outbox);
	lpm_done(&call->lpm);
	arena_done(&call->arena);
	free(call->held);
	free(call->request);
	free(call->path);
	free(call->answer.message);
	free(call->answer.details);
	free(call);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *user)
{
	client_call_end(user, GRPC_DEADLINE_EXCEEDED, false, "no answer from %s in time",
			((struct grpc_client_call *)user)->client->target);
	return 0;
}

/* --- sending --- */

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t n,
			 unsigned *ret_flags, void *user)
{
	struct grpc_client_call *call = user;
	size_t filled = outbox_take(&call->outbox, buf, n);

	while (filled < n && !call->half_closed && !call->ended && call->events->on_writable) {
		call->events->on_writable(call, call->user);
		if (!call->outbox.first)
			break;
		filled += outbox_take(&call->outbox, buf + filled, n - filled);
	}
	if (call->ended) /* by on_writable: the reset is on its way */
		return NGHTTP2_ERR_DEFERRED;
	if (call->half_closed && !call->outbox.first) {
		*ret_flags = HTTP2_BODY_END;
		return (ssize_t)filled;
	}
	if (filled)
		return (ssize_t)filled;
	call->deferred = true;
	return NGHTTP2_ERR_DEFERRED;
}

static void resume_body(struct grpc_client_call *call)
{
	if (!call->link)
		return;
	if (call->deferred &&
	    nghttp2_session_resume_data(call->link->pump.session, call->stream_id) != 0)
		client_link_fail(call->link);
	call->deferred = false;
	client_link_kick(call->link);
}

static uint64_t time_left(const struct grpc_client_call *call)
{
	uint64_t now_usec = 0;

	(void)sd_event_now(call->client->event, CLOCK_BOOTTIME, &now_usec);
	return call->deadline_usec > now_usec ? call->deadline_usec - now_usec : 1;
}

int client_call_submit(struct grpc_client_call *call, struct client_link *link)
{
	struct grpc_client *client = call->client;
	char timeout[TIMEOUT_TEXT_MAX];
	nghttp2_nv headers[8] = {
		http2_header(":method", "POST"),
		http2_header(":scheme", client->tls ? "https" : "http"),
		http2_header(":path", call->path),
		http2_header(":authority", client->authority),
		http2_header("content-type", "application/grpc"),
		http2_header("te", "trailers"),
		http2_header("user-agent", "berth-grpc-c"),
	};
	size_t n = 7;
	int32_t stream_id;

	if (call->deadline_usec != UINT64_MAX) {
		timeout_format(time_left(call), timeout);
		headers[n++] = http2_header("grpc-timeout", timeout);
	}
	stream_id = http2_submit_request(link->pump.session, headers, n, &call->body, call);
	if (stream_id < 0)
		return -ENOMEM;
	call->stream_id = stream_id;
	call->link = link;
	call->deferred = false;
	LIST_INSERT_HEAD(&link->calls, call, entry);
	client_link_kick(link);
	return 0;
}

int grpc_client_send(struct grpc_client_call *call, const ProtobufCMessage *message)
{
	int r;

	if (call->half_closed)
		return -EPIPE;
	if (call->ended)
		return 0; /* on_end is on its way and says it all */
	if (call->outbox.bytes >= OUTBOX_MARK_BYTES)
		return -EAGAIN;
	r = outbox_put(&call->outbox, message, UINT32_MAX);
	if (r < 0)
		return r == -ENOBUFS ? -ENOMEM : r;
	resume_body(call);
	return 0;
}

void grpc_client_half_close(struct grpc_client_call *call)
{
	if (call->half_closed)
		return;
	call->half_closed = true;
	resume_body(call);
}

void grpc_client_cancel(struct grpc_client_call *call)
{
	client_call_end(call, GRPC_CANCELLED, false, "cancelled");
}

/* --- opening --- */

static int call_new(struct grpc_client *client, const char *path,
		    const ProtobufCMessageDescriptor *response, uint64_t timeout_usec,
		    const struct grpc_client_events *events, void *user,
		    struct grpc_client_call **ret_call)
{
	struct grpc_client_call *call = calloc(1, sizeof(*call));
	uint64_t now_usec = 0;
	int r = 0;

	if (!call)
		return -ENOMEM;
	*call = (struct grpc_client_call){ .client = client,
					   .stream_id = -1,
					   .response = response,
					   .events = events,
					   .user = user,
					   .deadline_usec = UINT64_MAX };
	call->path = strdup(path);
	call->body = (struct http2_body){ .read = read_body, .user = call };
	arena_init(&call->arena, client->max_decoded_bytes);
	call->into = &call->arena;
	outbox_init(&call->outbox, &client->budget);
	lpm_init(&call->lpm, client->max_receive_bytes, &client->budget);
	(void)sd_event_now(client->event, CLOCK_BOOTTIME, &now_usec);
	if (timeout_usec) {
		call->deadline_usec = now_usec + timeout_usec;
		r = sd_event_add_time(client->event, &call->timer, CLOCK_BOOTTIME,
				      call->deadline_usec, 1000, on_deadline, call);
	}
	if (r < 0 || !call->path) {
		client_call_free(call);
		return -ENOMEM;
	}
	*ret_call = call;
	return 0;
}

static int submit_somewhere(struct grpc_client_call *call, struct err *err)
{
	struct client_link *link;
	int r = client_link_get(call->client, &link, err);

	if (r == 0 && client_call_submit(call, link) < 0)
		r = err_oom(err);
	return r;
}

int grpc_client_open(struct grpc_client *client, const char *path,
		     const ProtobufCMessageDescriptor *response, uint64_t timeout_usec,
		     const struct grpc_client_events *events, void *user,
		     struct grpc_client_call **ret_call, struct err *err)
{
	struct grpc_client_call *call;
	int r;

	if (call_new(client, path, response, timeout_usec, events, user, &call) < 0)
		return err_oom(err);
	r = submit_somewhere(call, err);
	if (r < 0) {
		client_call_free(call);
		return r;
	}
	*ret_call = call;
	return 0;
}

/* The packed request, kept until the server has answered something. */
static int keep_request(struct grpc_client_call *call, const ProtobufCMessage *request)
{
	size_t n = protobuf_c_message_get_packed_size(request);

	if (n > UINT32_MAX)
		return -EMSGSIZE;
	call->request = malloc(LPM_PREFIX_BYTES + n);
	if (!call->request)
		return -ENOMEM;
	lpm_prefix(call->request, (uint32_t)n);
	(void)protobuf_c_message_pack(request, call->request + LPM_PREFIX_BYTES);
	call->n_request = LPM_PREFIX_BYTES + n;
	return outbox_put_bytes(&call->outbox, call->request, call->n_request);
}

int grpc_client_start(struct grpc_client *client, const char *path, const ProtobufCMessage *request,
		      const ProtobufCMessageDescriptor *response, uint64_t timeout_usec,
		      const struct grpc_client_events *events, void *user,
		      struct grpc_client_call **ret_call, struct err *err)
{
	struct grpc_client_call *call;
	int r;

	if (call_new(client, path, response, timeout_usec, events, user, &call) < 0)
		return err_oom(err);
	r = keep_request(call, request) < 0 ? err_oom(err) : 0;
	call->half_closed = true;
	if (r == 0)
		r = submit_somewhere(call, err);
	if (r < 0) {
		client_call_free(call);
		return r;
	}
	if (ret_call)
		*ret_call = call;
	return 0;
}

/* --- the answer --- */

static void note_status(struct client_answer *answer, const char *value)
{
	char *end_of_number;
	unsigned long code = strtoul(value, &end_of_number, 10);

	answer->has_status = true;
	answer->code = *value && !*end_of_number && code < GRPC_CODES ? (enum grpc_code)code
								      : GRPC_UNKNOWN;
}

static void note_message(struct client_answer *answer, const char *value, size_t n)
{
	free(answer->message);
	answer->message = strndup(value, n);
	if (answer->message)
		(void)percent_decode(answer->message, n);
}

static void note_details(struct client_answer *answer, const char *value, size_t n)
{
	uint8_t *bytes;
	size_t n_bytes;

	if (binary_decode(value, n, &bytes, &n_bytes) < 0)
		return;
	free(answer->details);
	answer->details = bytes;
	answer->n_details = n_bytes;
}

void client_call_header(struct grpc_client_call *call, const char *name, const char *value,
			size_t n_name, size_t n_value)
{
	struct client_answer *answer = &call->answer;

	answer->header_bytes += n_name + n_value;
	if (answer->header_bytes > MAX_HEADER_BYTES)
		return;
	if (strcmp(name, ":status") == 0)
		answer->http_status = (unsigned)strtoul(value, NULL, 10);
	else if (strcmp(name, "content-type") == 0)
		answer->grpc_content = strncmp(value, "application/grpc", 16) == 0;
	else if (strcmp(name, "grpc-encoding") == 0)
		answer->compressed = strcmp(value, "identity") != 0;
	else if (strcmp(name, "grpc-status") == 0)
		note_status(answer, value);
	else if (strcmp(name, "grpc-message") == 0)
		note_message(answer, value, n_value);
	else if (strcmp(name, "grpc-status-details-bin") == 0)
		note_details(answer, value, n_value);
	call->heard = true;
}

static void deliver(struct grpc_client_call *call, const uint8_t *bytes, size_t n)
{
	struct err err = { 0 };
	const ProtobufCMessage *message = wire_unpack(call->response, bytes, n, call->into, &err);

	if (!message) {
		client_call_end(call,
				err.kind == ERR_INVALID ? GRPC_INTERNAL : GRPC_RESOURCE_EXHAUSTED,
				false, "cannot read the server's answer: %s", err.text);
		return;
	}
	if (call->events->on_message)
		call->events->on_message(call, message, call->user);
	if (call->into == &call->arena)
		arena_reset(&call->arena);
}

static void refuse_message(struct grpc_client_call *call, int r)
{
	if (r == -EMSGSIZE)
		client_call_end(call, GRPC_RESOURCE_EXHAUSTED, false,
				"the server's answer is over the limit of %zu bytes",
				call->lpm.max_bytes);
	else if (r == -ENOMEM || r == -ENOBUFS)
		client_call_end(call, GRPC_RESOURCE_EXHAUSTED, false, "out of memory");
	else
		client_call_end(call, GRPC_INTERNAL, false,
				"the server's answer is compressed or malformed");
}

/* Returns what is left when the caller pauses. */
static size_t take_messages(struct grpc_client_call *call, const uint8_t *data, size_t n)
{
	while (n && !call->ended && !call->paused) {
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

static void hold(struct grpc_client_call *call, const uint8_t *data, size_t n)
{
	uint8_t *grown = realloc(call->held, call->n_held + n);

	if (!grown) {
		refuse_message(call, -ENOMEM);
		return;
	}
	memcpy(grown + call->n_held, data, n);
	call->held = grown;
	call->n_held += n;
}

static void consume(struct client_link *link, int32_t stream_id, size_t n)
{
	if (n && nghttp2_session_consume_stream(link->pump.session, stream_id, n) != 0)
		client_link_fail(link);
}

void client_call_data(struct grpc_client_call *call, const uint8_t *data, size_t n)
{
	struct client_link *link = call->link;
	int32_t stream_id = call->stream_id;
	bool wanted = call->answer.http_status == 200 && call->answer.grpc_content;
	size_t left;

	call->heard = true;
	left = !wanted ? 0 : call->n_held ? n : take_messages(call, data, n);
	if (call->ended)
		left = 0;
	if (left)
		hold(call, data + (n - left), left);
	consume(link, stream_id, n - left);
}

void client_call_deliver_held(struct grpc_client_call *call)
{
	struct client_link *link = call->link;
	int32_t stream_id = call->stream_id;
	cleanup_free uint8_t *held = take_ptr(&call->held);
	size_t n = call->n_held;
	size_t left;

	call->n_held = 0;
	left = take_messages(call, held, n);
	if (call->ended)
		left = 0;
	if (left)
		hold(call, held + (n - left), left);
	if (stream_id >= 0)
		consume(link, stream_id, n - left);
	if (!call->ended && !call->n_held &&
	    call->stream_id < 0) /* the end came while it was paused */
		client_call_closed(call, NGHTTP2_NO_ERROR);
}

void grpc_client_pause(struct grpc_client_call *call)
{
	call->paused = true;
}

void grpc_client_resume(struct grpc_client_call *call)
{
	if (!call->paused)
		return;
	call->paused = false;
	if (call->ended || call->is_ready || !call->n_held)
		return;
	call->is_ready = true;
	call->next_ready = call->link->ready;
	call->link->ready = call;
	client_link_kick(call->link);
}

/* --- how the stream ended --- */

void client_call_refused(struct grpc_client_call *call)
{
	struct err err = { 0 };

	if (!call->request || call->retried || call->heard) {
		client_call_end(call, GRPC_UNAVAILABLE, false, "%s refused the call",
				call->client->target);
		return;
	}
	call->retried = true;
	/* The link that refused is not asked again. */
	if (call->client->current == call->link)
		call->client->current = NULL;
	leave_link(call);
	outbox_done(&call->outbox);
	if (outbox_put_bytes(&call->outbox, call->request, call->n_request) < 0)
		(void)err_oom(&err);
	else if (submit_somewhere(call, &err) == 0)
		return;
	client_call_end(call, GRPC_UNAVAILABLE, false, "%s", err.text);
}

void client_call_closed(struct grpc_client_call *call, uint32_t h2_error)
{
	const struct client_answer *answer = &call->answer;

	call->stream_id = -1;
	if (call->n_held) /* the rest is delivered first */
		return;
	if (answer->has_status && answer->code == GRPC_OK && lpm_partial(&call->lpm))
		client_call_end(call, GRPC_INTERNAL, false, "the answer ends within a message");
	else if (answer->has_status)
		end(call, answer->code, true, answer->message ? answer->message : "");
	else if (h2_error == NGHTTP2_REFUSED_STREAM)
		client_call_refused(call);
	else if (answer->http_status && answer->http_status != 200)
		client_call_end(call, grpc_code_from_http(answer->http_status), false,
				"%s answered HTTP status %u", call->client->target,
				answer->http_status);
	else if (answer->http_status && !answer->grpc_content)
		client_call_end(call, GRPC_UNKNOWN, false, "%s does not speak gRPC",
				call->client->target);
	else if (h2_error != NGHTTP2_NO_ERROR)
		client_call_end(call, grpc_code_from_h2_error(h2_error), false,
				"%s reset the call: %s", call->client->target,
				nghttp2_http2_strerror(h2_error));
	else
		client_call_end(call, GRPC_UNKNOWN, false, "%s ended the call without a status",
				call->client->target);
}
