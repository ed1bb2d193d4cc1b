#include "agent/grpc/client_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/cleanup.h"

#define SEC 1000000ULL

/* --- what nghttp2 calls --- */

static struct grpc_client_call *call_of(nghttp2_session *session, int32_t stream_id)
{
	return nghttp2_session_get_stream_user_data(session, stream_id);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t n_name, const uint8_t *value, size_t n_value, uint8_t flags, void *user)
{
	struct grpc_client_call *call = call_of(session, frame->hd.stream_id);

	if (call)
		client_call_header(call, (const char *)name, (const char *)value, n_name, n_value);
	return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
			 const uint8_t *data, size_t n, void *user)
{
	struct grpc_client_call *call = call_of(session, stream_id);

	if (nghttp2_session_consume_connection(session, n) != 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (call)
		client_call_data(call, data, n);
	else
		(void)nghttp2_session_consume_stream(session, stream_id, n);
	return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct client_link *link = user;

	if (frame->hd.type != NGHTTP2_GOAWAY)
		return 0;
	link->told_to_go = true;
	if (link->client->current == link)
		link->client->current =
			NULL; /* what is in flight may finish; new calls go elsewhere */
	return 0;
}

/* GOAWAY is ours only when nghttp2 ends the session, and has its reason with it. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	const nghttp2_goaway *goaway = &frame->goaway;
	char what[160];

	if (frame->hd.type != NGHTTP2_GOAWAY || goaway->error_code == NGHTTP2_NO_ERROR)
		return 0;
	(void)snprintf(what, sizeof(what), "%s%s%.*s", nghttp2_http2_strerror(goaway->error_code),
		       goaway->opaque_data_len ? ", " : "", (int)goaway->opaque_data_len,
		       goaway->opaque_data_len ? (const char *)goaway->opaque_data : "");
	client_link_blame(user, what);
	return 0;
}

/*
 * Requests that had not left yet when the server said GOAWAY: it has not seen them. When it was we who ended
 * the session, for what the server did, it would do so again.
 */
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame,
			     int library_error, void *user)
{
	struct client_link *link = user;
	struct grpc_client_call *call;

	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	LIST_FOREACH (call, &link->calls, entry) {
		if (call->stream_id != frame->hd.stream_id)
			continue;
		(void)nghttp2_session_set_stream_user_data(session, call->stream_id, NULL);
		if (link->told_to_go)
			client_call_refused(call);
		else
			client_call_end(call, GRPC_UNAVAILABLE, false, "%s: %s",
					link->client->target, client_link_why(link));
		break;
	}
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
			   void *user)
{
	struct grpc_client_call *call = call_of(session, stream_id);

	if (call)
		client_call_closed(call, error_code);
	return 0;
}

static int callbacks_new(nghttp2_session_callbacks **ret_callbacks)
{
	nghttp2_session_callbacks *callbacks;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return -ENOMEM;
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	*ret_callbacks = callbacks;
	return 0;
}

/* --- ended calls --- */

static void tell_end(struct grpc_client_call *call)
{
	const struct grpc_outcome outcome = { .code = call->code,
					      .message = call->message,
					      .details = call->answer.details,
					      .n_details = call->answer.n_details,
					      .from_server = call->from_server };

	TAILQ_REMOVE(&call->client->ended, call, ended_entry);
	if (call->events->on_end)
		call->events->on_end(call, &outcome, call->user);
	client_call_free(call);
}

static int on_ender(sd_event_source *source, void *user)
{
	struct grpc_client *client = user;

	while (!TAILQ_EMPTY(&client->ended))
		tell_end(TAILQ_FIRST(&client->ended));
	return 0;
}

/* --- the client --- */

void grpc_client_free(struct grpc_client *client)
{
	if (!client)
		return;
	while (!LIST_EMPTY(&client->links)) {
		struct client_link *link = LIST_FIRST(&client->links);

		while (!LIST_EMPTY(&link->calls))
			client_call_end(LIST_FIRST(&link->calls), GRPC_CANCELLED, false,
					"the client was closed");
		client_link_free(link);
	}
	while (!TAILQ_EMPTY(&client->ended))
		tell_end(TAILQ_FIRST(&client->ended));
	fd_close(&client->socket.fd);
	sd_event_source_disable_unref(client->ender);
	sd_event_unref(client->event);
	nghttp2_session_callbacks_del(client->callbacks);
	grpc_tls_unref(client->tls);
	free(client->target);
	free(client->unix_path);
	free(client->host);
	free(client->port);
	free(client->authority);
	free(client->server_name);
	free(client->scratch);
	free(client);
}
DEFINE_CLEANUP(struct grpc_client *, grpc_client_free)

static int bad_target(const char *target, struct err *err)
{
	return err_set(err, ERR_INVALID, EINVAL,
		       "cannot connect to %s: it must be unix:///path, host:port or [address]:port",
		       target);
}

static int parse_tcp(struct grpc_client *client, const char *target, struct err *err)
{
	const char *colon = strrchr(target, ':');
	size_t n = colon ? (size_t)(colon - target) : 0;
	bool bracketed = n > 2 && target[0] == '[' && target[n - 1] == ']';

	if (!n || !colon[1] || (!bracketed && memchr(target, ':', n)) || memchr(target, '/', n))
		return bad_target(target, err);
	client->host = strndup(target + bracketed, n - 2 * (size_t)bracketed);
	client->port = strdup(colon + 1);
	client->authority = strdup(target);
	return client->host && client->port && client->authority ? 0 : err_oom(err);
}

/* Of grpc_client_options.socket: who gave it knows what it leads to. */
static int take_target(struct grpc_client *client, struct err *err)
{
	client->authority = strdup(client->target);
	return client->authority ? 0 : err_oom(err);
}

static int parse_target(struct grpc_client *client, const struct grpc_client_options *options,
			struct err *err)
{
	static const char scheme[] = "unix://";
	size_t n = sizeof(scheme) - 1;
	bool is_unix = strncmp(options->target, scheme, n) == 0;
	int r;

	if (options->socket)
		return take_target(client, err);
	if (is_unix && options->target[n] != '/')
		return bad_target(options->target, err);
	if (is_unix == (options->tls != NULL))
		return err_set(
			err, ERR_INVALID, EINVAL,
			is_unix ? "cannot connect to %s: no TLS on unix sockets"
				: "cannot connect to %s: TCP needs TLS: give certificate, key and authorities",
			options->target);
	if (is_unix) {
		client->unix_path = strdup(options->target + n);
		client->authority = strdup("localhost");
		return client->unix_path && client->authority ? 0 : err_oom(err);
	}
	r = parse_tcp(client, options->target, err);
	if (r < 0)
		return r;
	client->tls = grpc_tls_ref(options->tls);
	client->server_name = strdup(options->server_name ? options->server_name : client->host);
	return client->server_name ? 0 : err_oom(err);
}

int grpc_client_new(sd_event *event, const struct grpc_client_options *options,
		    struct grpc_client **ret_client, struct err *err)
{
	cleanup(grpc_client_free_p) struct grpc_client *client = calloc(1, sizeof(*client));
	cleanup_fd int socket_fd = options->socket ? options->socket->fd : -1;
	int r;

	if (!client)
		return err_oom(err);
	TAILQ_INIT(&client->ended);
	client->has_socket = options->socket;
	client->socket.fd = -1;
	if (options->socket)
		client->socket = *options->socket;
	(void)take_fd(&socket_fd); /* it ends with the client */
	client->max_connection_bytes = options->max_connection_bytes ?: UINT64_MAX;
	client->event = sd_event_ref(event);
	client->budget.limit_bytes = SIZE_MAX;
	client->connect_timeout_usec = options->connect_timeout_usec ?: 5 * SEC;
	client->max_receive_bytes = options->max_receive_bytes ?: 16U << 20;
	client->max_decoded_bytes = options->max_decoded_bytes ?: 64U << 20;
	client->target = strdup(options->target);
	client->scratch = malloc(PUMP_SCRATCH_BYTES);
	if (!client->target || !client->scratch || callbacks_new(&client->callbacks) < 0 ||
	    sd_event_add_defer(event, &client->ender, on_ender, client) < 0)
		return err_oom(err);
	(void)sd_event_source_set_enabled(client->ender, SD_EVENT_OFF);
	r = parse_target(client, options, err);
	if (r < 0)
		return r;
	*ret_client = take_ptr(&client);
	return 0;
}

/* --- waiting for one answer --- */

/* All that a struct grpc_reply points to. */
struct waiting {
	bool done;
	unsigned n_messages;
	const ProtobufCMessage *message;
	struct arena arena; /* of the message */
	char *text;
	uint8_t *details;
	struct grpc_outcome outcome;
};

static void waiting_free(struct waiting *waiting)
{
	arena_done(&waiting->arena);
	free(waiting->text);
	free(waiting->details);
	free(waiting);
}
DEFINE_CLEANUP(struct waiting *, waiting_free)

static void on_answer(struct grpc_client_call *call, const ProtobufCMessage *message, void *user)
{
	struct waiting *waiting = user;

	waiting->n_messages++;
	waiting->message = message;
	if (waiting->n_messages > 1)
		client_call_end(call, GRPC_INTERNAL, false, "more than one answer from %s",
				call->client->target);
}

static void on_answer_end(struct grpc_client_call *call, const struct grpc_outcome *outcome,
			  void *user)
{
	struct waiting *waiting = user;

	waiting->done = true;
	waiting->outcome = *outcome;
	waiting->text = strdup(outcome->message);
	waiting->outcome.message = waiting->text ? waiting->text : "";
	waiting->details = outcome->n_details ? malloc(outcome->n_details) : NULL;
	if (waiting->details)
		memcpy(waiting->details, outcome->details, outcome->n_details);
	else
		waiting->outcome.n_details = 0;
	waiting->outcome.details = waiting->details;
	if (outcome->code == GRPC_OK && waiting->n_messages != 1) {
		waiting->outcome.code = GRPC_INTERNAL;
		waiting->outcome.message = "the server answered OK, but sent no answer";
		waiting->outcome.from_server = false;
	}
}

static const struct grpc_client_events no_events = { 0 };
static const struct grpc_client_events wait_events = { .on_message = on_answer,
						       .on_end = on_answer_end };

int grpc_client_unary(struct grpc_client *client, const char *path, const ProtobufCMessage *request,
		      const ProtobufCMessageDescriptor *response, uint64_t timeout_usec,
		      struct grpc_reply *ret_reply, struct err *err)
{
	cleanup(waiting_free_p) struct waiting *waiting = calloc(1, sizeof(*waiting));
	struct grpc_client_call *call;
	int r;

	if (!waiting)
		return err_oom(err);
	arena_init(&waiting->arena, client->max_decoded_bytes);
	r = grpc_client_start(client, path, request, response, timeout_usec, &wait_events, waiting,
			      &call, err);
	if (r < 0)
		return r;
	call->into = &waiting->arena;
	while (!waiting->done) {
		r = sd_event_run(client->event, UINT64_MAX);
		if (r < 0 || sd_event_get_state(client->event) == SD_EVENT_FINISHED)
			break;
	}
	if (!waiting->done) { /* the loop is at its end: the call must not outlive what it points to */
		call->events = &no_events;
		client_call_end(call, GRPC_CANCELLED, false, "the event loop ended");
		return err_set(err, ERR_INTERNAL, r < 0 ? -r : ECANCELED, "cannot wait for %s: %m",
			       client->target);
	}
	ret_reply->outcome = waiting->outcome;
	ret_reply->message = waiting->outcome.code == GRPC_OK ? waiting->message : NULL;
	ret_reply->owner = take_ptr(&waiting);
	return 0;
}

void grpc_reply_done(struct grpc_reply *reply)
{
	if (reply->owner)
		waiting_free(reply->owner);
	*reply = (struct grpc_reply){ 0 };
}
