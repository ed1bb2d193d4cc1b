#include "agent/grpc/server_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "agent/grpc/call_private.h"
#include "agent/grpc/connection.h"
#include "agent/grpc/listener.h"
#include "proto/cleanup.h"

#define RETRY_AFTER_DRAIN_MS 200 /* the next one is up by then */
#define SEC                  1000000ULL
#define CUT_USEC             (2 * SEC) /* after the grace: time to say so and to linger */
#define DRAIN_ACCURACY_USEC  10000

/* --- what a server is made of --- */

#define DEFAULT(field, value)                     \
	do {                                      \
		if (!options->field)              \
			options->field = (value); \
	} while (0)

static void set_defaults(struct grpc_server_options *options)
{
	DEFAULT(max_receive_bytes, 4U << 20);
	DEFAULT(max_send_bytes, 16U << 20);
	DEFAULT(max_decoded_bytes, ARENA_MESSAGE_BYTES);
	DEFAULT(receive_budget_bytes, 64U << 20);
	DEFAULT(decode_budget_bytes, 128U << 20);
	DEFAULT(send_budget_bytes, 128U << 20);
	DEFAULT(max_header_bytes, 16U << 10);
	DEFAULT(max_connections, 1024);
	DEFAULT(max_connections_per_uid, 256);
	DEFAULT(max_connections_per_address, 256);
	DEFAULT(max_streams, 256);
	DEFAULT(max_calls_per_connection, 2 * options->max_streams);
	DEFAULT(max_calls, 4096);
	DEFAULT(handshake_usec, 5 * SEC);
	DEFAULT(header_usec, 5 * SEC);
	DEFAULT(body_usec, 30 * SEC);
	DEFAULT(idle_usec, 1800 * SEC);
	DEFAULT(stall_usec, 30 * SEC);
	DEFAULT(keepalive_usec, 60 * SEC);
	DEFAULT(keepalive_timeout_usec, 20 * SEC);
}

struct grpc_server *server_ref(struct grpc_server *server)
{
	server->refs++;
	return server;
}

void server_unref(struct grpc_server *server)
{
	if (!server || --server->refs)
		return;
	sd_event_source_disable_unref(server->drain_timer);
	nghttp2_session_callbacks_del(server->callbacks);
	free(server->methods);
	free(server->scratch);
	free(server->reflection);
	sd_event_unref(server->event);
	free(server);
}
DEFINE_CLEANUP(struct grpc_server *, server_unref)

int grpc_server_new(sd_event *event, const struct grpc_server_options *options,
		    struct grpc_server **ret_server, struct err *err)
{
	cleanup(server_unref_p) struct grpc_server *server = calloc(1, sizeof(*server));

	if (!server)
		return err_oom(err);
	server->refs = 1;
	server->event = sd_event_ref(event);
	if (options)
		server->options = *options;
	set_defaults(&server->options);
	server->receive_budget.limit_bytes = server->options.receive_budget_bytes;
	server->decode_budget.limit_bytes = server->options.decode_budget_bytes;
	server->send_budget.limit_bytes = server->options.send_budget_bytes;
	server->scratch = malloc(PUMP_SCRATCH_BYTES);
	if (!server->scratch || frames_callbacks_new(&server->callbacks) < 0)
		return err_oom(err);
	*ret_server = take_ptr(&server);
	return 0;
}

void grpc_server_free(struct grpc_server *server)
{
	if (!server)
		return;
	server->freed = true;
	server->on_drained = NULL;
	server->drain_timer = sd_event_source_disable_unref(server->drain_timer);
	listeners_close(server);
	while (!LIST_EMPTY(&server->connections))
		connection_bury(LIST_FIRST(&server->connections));
	server_unref(server);
}

uint64_t server_now(struct grpc_server *server)
{
	uint64_t now_usec = 0;

	(void)sd_event_now(server->event, CLOCK_BOOTTIME, &now_usec);
	return now_usec;
}

void server_log(struct grpc_server *server, int priority, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (server->options.log)
		server->options.log(priority, text, server->options.user);
	else
		(void)fprintf(stderr, "<%d>grpc: %s\n", priority, text);
}

const struct grpc_server_stats *grpc_server_stats(struct grpc_server *server)
{
	server->stats.receive_buffered_bytes = server->receive_budget.used_bytes;
	return &server->stats;
}

/* --- methods --- */

static int compare_methods(const void *a, const void *b)
{
	const struct served_method *x = a, *y = b;

	return strcmp(x->method->path, y->method->path);
}

const struct served_method *server_find_method(const struct grpc_server *server, const char *path)
{
	const struct grpc_method method = { .path = path };
	const struct served_method key = { .method = &method };

	if (!server->n_methods)
		return NULL;
	return bsearch(&key, server->methods, server->n_methods, sizeof(key), compare_methods);
}

static int check_method(const struct grpc_server *server, const struct grpc_method *method,
			struct err *err)
{
	if (!method->path || method->path[0] != '/' || !method->request || !method->response ||
	    !method->handler || method->kind < GRPC_UNARY || method->kind > GRPC_BIDI)
		return err_set(err, ERR_INVALID, EINVAL, "the row of method %s is not complete",
			       method->path ? method->path : "(no path)");
	if (server_find_method(server, method->path))
		return err_set(err, ERR_EXISTS, EEXIST, "method %s is served already",
			       method->path);
	return 0;
}

int grpc_server_add_methods(struct grpc_server *server, const struct grpc_method *table, size_t n,
			    void *user, struct err *err)
{
	struct served_method *grown;

	for (size_t i = 0; i < n; i++) {
		int r = check_method(server, &table[i], err);

		if (r < 0)
			return r;
	}
	grown = reallocarray(server->methods, server->n_methods + n, sizeof(*grown));
	if (!grown)
		return err_oom(err);
	server->methods = grown;
	for (size_t i = 0; i < n; i++)
		grown[server->n_methods++] = (struct served_method){ .method = &table[i],
								     .user = user };
	qsort(grown, server->n_methods, sizeof(*grown), compare_methods);
	return 0;
}

int grpc_server_reload_tls(struct grpc_server *server, struct err *err)
{
	struct listener *listener;
	int result = 0;

	LIST_FOREACH (listener, &server->listeners, entry) {
		int r = listener_reload_tls(listener, result == 0 ? err : NULL);

		if (result == 0)
			result = r;
	}
	return result;
}

void grpc_server_hold(struct grpc_server *server, bool hold)
{
	struct listener *listener;

	server->holds = hold;
	LIST_FOREACH (listener, &server->listeners, entry)
		listener_hold(listener, hold);
}

/* --- draining --- */

bool grpc_server_draining(const struct grpc_server *server)
{
	return server->draining;
}

/* End calls of @conn that would not end by themselves; all of them if @all. */
static void end_calls(struct connection *conn, bool all)
{
	struct grpc_call *call = LIST_FIRST(&conn->calls);

	while (call) {
		struct grpc_call *next = LIST_NEXT(call,
						   entry); /* answering closes no stream yet */
		const struct grpc_method *method = call->served.method;

		if (all || (method && method->flags & GRPC_METHOD_ENDLESS)) {
			grpc_call_set_retry_after(call, RETRY_AFTER_DRAIN_MS);
			call_abort(call, GRPC_UNAVAILABLE, "the server is shutting down",
				   GRPC_CANCEL_DRAIN);
		}
		call = next;
	}
}

static void end_all_calls(struct grpc_server *server, bool all)
{
	struct connection *conn;

	LIST_FOREACH (conn, &server->connections, entry)
		end_calls(conn, all);
}

static void arm_drain(struct grpc_server *server, uint64_t after_usec)
{
	(void)sd_event_source_set_time_relative(server->drain_timer, after_usec);
	(void)sd_event_source_set_enabled(server->drain_timer, SD_EVENT_ONESHOT);
}

static void report_drained(struct grpc_server *server)
{
	void (*on_drained)(struct grpc_server *, void *) = server->on_drained;

	server->on_drained = NULL;
	if (on_drained)
		on_drained(server, server->on_drained_user);
}

static int on_drain_timer(sd_event_source *source, uint64_t usec, void *user)
{
	struct grpc_server *server = server_ref(user);

	if (LIST_EMPTY(&server->connections)) {
		report_drained(server);
	} else if (!server->cut) {
		server->cut = true;
		end_all_calls(server, true);
		arm_drain(server, CUT_USEC);
	} else {
		while (!LIST_EMPTY(&server->connections))
			connection_bury(LIST_FIRST(&server->connections));
	}
	server_unref(server);
	return 0;
}

void server_connection_gone(struct grpc_server *server)
{
	/* From the loop, and not from whatever buried the connection. */
	if (server->draining && !server->freed && LIST_EMPTY(&server->connections))
		arm_drain(server, 0);
}

int grpc_server_drain(struct grpc_server *server, uint64_t grace_usec,
		      void (*on_drained)(struct grpc_server *server, void *user), void *user)
{
	struct connection *conn;
	int r;

	if (server->draining)
		return -EALREADY;
	r = sd_event_add_time_relative(server->event, &server->drain_timer, CLOCK_BOOTTIME,
				       LIST_EMPTY(&server->connections) ? 0 : grace_usec,
				       DRAIN_ACCURACY_USEC, on_drain_timer, server);
	if (r < 0)
		return r;
	server->draining = true;
	server->on_drained = on_drained;
	server->on_drained_user = user;
	listeners_close(server);
	LIST_FOREACH (conn, &server->connections, entry)
		connection_drain(conn);
	end_all_calls(server, false);
	return 0;
}
