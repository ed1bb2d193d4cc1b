/*
 * Bytes in, bytes out, and when to stop waiting for either.
 *
 * The socket is read and written only from the loop's callbacks (io, work, timer), never with nghttp2 on the
 * stack. Every one of them ends in settle(), which flushes, buries what has failed, lingers where nothing is
 * left to say, and sets the one timer.
 */
#include "agent/grpc/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <syslog.h>

#include "agent/grpc/call_private.h"
#include "proto/cleanup.h"

#define CONNECTION_WINDOW (1 << 20)
#define NOTICE_USEC       1000000ULL
#define LINGER_USEC       1000000ULL
/* grpcio looks at a connection without calls every 5 s only: one that we closed before it knows would fail
 * its next call. */
#define IDLE_LINGER_USEC    10000000ULL
#define TIMER_ACCURACY_USEC 1000 /* 0 would mean sd-event's 250 ms */
#define READS_PER_TURN      4

static void settle(struct connection *conn);

struct connection *connection_ref(struct connection *conn)
{
	conn->refs++;
	return conn;
}

void connection_unref(struct connection *conn)
{
	if (!conn || --conn->refs)
		return;
	pump_done(&conn->pump);
	peer_done(&conn->peer);
	server_unref(conn->server);
	free(conn);
}
DEFINE_CLEANUP(struct connection *, connection_unref)

/* What has moved since the last time, into the server's figures. */
static void count_bytes(struct connection *conn)
{
	struct grpc_server_stats *stats = &conn->server->stats;

	stats->received_bytes += conn->pump.received_bytes - conn->counted_received_bytes;
	stats->sent_bytes += conn->pump.sent_bytes - conn->counted_sent_bytes;
	conn->counted_received_bytes = conn->pump.received_bytes;
	conn->counted_sent_bytes = conn->pump.sent_bytes;
}

/* --- dying --- */

void connection_fail(struct connection *conn)
{
	conn->pump.failed = true;
	connection_kick(conn);
}

static void drop_ready(struct connection *conn)
{
	while (conn->ready) {
		struct grpc_call *call = conn->ready;

		conn->ready = call->next_ready;
		call->is_ready = false;
		grpc_call_unref(call);
	}
}

void connection_bury(struct connection *conn)
{
	struct grpc_server *server = conn->server;

	if (conn->phase == CONNECTION_DEAD)
		return;
	conn->phase = CONNECTION_DEAD;
	conn->pump.failed = true;
	conn->io = sd_event_source_disable_unref(conn->io);
	conn->timer = sd_event_source_disable_unref(conn->timer);
	conn->work = sd_event_source_disable_unref(conn->work);
	drop_ready(conn);
	while (!LIST_EMPTY(&conn->calls))
		call_stream_closed(LIST_FIRST(&conn->calls), true);
	count_bytes(conn);
	pump_done(&conn->pump);
	LIST_REMOVE(conn, entry);
	server->stats.connections--;
	(void)server_ref(server);
	connection_unref(conn); /* the loop's */
	server_connection_gone(server);
	server_unref(server);
}

void connection_kick(struct connection *conn)
{
	if (conn->pump.in_http2 || !conn->work) /* whoever called nghttp2 settles */
		return;
	(void)sd_event_source_set_enabled(conn->work, SD_EVENT_ONESHOT);
}

/* --- clocks --- */

void connection_arm(struct connection *conn, uint64_t at_usec)
{
	if (!conn->timer || at_usec >= conn->timer_usec)
		return;
	conn->timer_usec = at_usec;
	(void)sd_event_source_set_time(conn->timer, at_usec);
	(void)sd_event_source_set_enabled(conn->timer, SD_EVENT_ONESHOT);
}

static void arm_if(struct connection *conn, uint64_t at_usec)
{
	if (at_usec)
		connection_arm(conn, at_usec);
}

static bool is_idle(const struct connection *conn)
{
	return conn->phase == CONNECTION_OPEN && conn->n_streams == 0;
}

/* The connection's own; those of its calls are armed when they begin and in on_timer(). */
static void arm_own(struct connection *conn)
{
	const struct grpc_server_options *options = &conn->server->options;

	arm_if(conn, conn->phase_deadline_usec);
	arm_if(conn, conn->header_deadline_usec);
	arm_if(conn, conn->stall_deadline_usec);
	if (conn->phase >= CONNECTION_OPEN && conn->phase < CONNECTION_LINGER)
		connection_arm(conn, conn->ping_deadline_usec
					     ?: conn->last_read_usec + options->keepalive_usec);
	if (is_idle(conn))
		connection_arm(conn, conn->idle_since_usec + options->idle_usec);
}

static bool passed(uint64_t deadline_usec, uint64_t now_usec)
{
	return deadline_usec && now_usec >= deadline_usec;
}

static void note_abuse(struct connection *conn, const char *what)
{
	server_log(conn->server, LOG_NOTICE, "%s: closing: %s", conn->peer.address, what);
	conn->server->stats.connections_abusive++;
}

/* Slow on purpose, or as good as. */
static void give_up(struct connection *conn, const char *what)
{
	note_abuse(conn, what);
	connection_fail(conn);
}

static void phase_over(struct connection *conn)
{
	conn->phase_deadline_usec = 0;
	switch (conn->phase) {
	case CONNECTION_TLS:
	case CONNECTION_PREFACE:
		give_up(conn, "no handshake in time");
		conn->server->stats.connections_refused++;
		break;
	case CONNECTION_NOTICE:
		connection_notice_acked(conn);
		break;
	default:
		connection_fail(conn);
	}
}

static void check_calls(struct connection *conn, uint64_t now_usec)
{
	struct grpc_call *call = LIST_FIRST(&conn->calls);

	while (call) {
		/* Nothing below closes a stream: that happens when nghttp2 sends. */
		struct grpc_call *next = LIST_NEXT(call, entry);

		call_check_time(call, now_usec);
		connection_arm(conn, call_next_usec(call));
		call = next;
	}
}

static void check_keepalive(struct connection *conn, uint64_t now_usec)
{
	const struct grpc_server_options *options = &conn->server->options;

	if (conn->phase < CONNECTION_OPEN || conn->phase >= CONNECTION_LINGER)
		return;
	if (passed(conn->ping_deadline_usec, now_usec)) {
		server_log(conn->server, LOG_NOTICE, "%s: closing: no answer to PING",
			   conn->peer.address);
		connection_fail(conn);
	} else if (!conn->ping_deadline_usec &&
		   now_usec >= conn->last_read_usec + options->keepalive_usec) {
		conn->ping_deadline_usec = now_usec + options->keepalive_timeout_usec;
		(void)nghttp2_submit_ping(conn->pump.session, NGHTTP2_FLAG_NONE, NULL);
	}
}

static int on_timer(sd_event_source *source, uint64_t usec, void *user)
{
	struct connection *conn = user;
	uint64_t now_usec = server_now(conn->server);

	conn->timer_usec = UINT64_MAX;
	if (passed(conn->phase_deadline_usec, now_usec))
		phase_over(conn);
	if (passed(conn->header_deadline_usec, now_usec))
		give_up(conn, "a header block took too long");
	if (passed(conn->stall_deadline_usec, now_usec))
		give_up(conn, "takes no bytes");
	if (is_idle(conn) && now_usec >= conn->idle_since_usec + conn->server->options.idle_usec)
		connection_drain(conn);
	if (!conn->pump.failed)
		check_keepalive(conn, now_usec);
	if (!conn->pump.failed)
		check_calls(conn, now_usec);
	settle(conn);
	return 0;
}

/* --- bytes out --- */

static void flush(struct connection *conn)
{
	uint64_t sent_bytes = conn->pump.sent_bytes;
	int r = pump_write(&conn->pump);

	if (conn->pump.sent_bytes != sent_bytes || r != -EAGAIN)
		conn->stall_deadline_usec = 0;
	if (r > 0)
		connection_kick(conn); /* let others have their turn */
	else if (r == -EAGAIN && !conn->stall_deadline_usec)
		conn->stall_deadline_usec = server_now(conn->server) +
					    conn->server->options.stall_usec;
}

/* --- the way out --- */

void connection_stream_opened(struct connection *conn)
{
	conn->n_streams++;
}

void connection_stream_closed(struct connection *conn)
{
	conn->n_streams--;
	conn->idle_since_usec = server_now(conn->server);
}

void connection_calm(struct connection *conn, const char *what)
{
	if (conn->pump.failed || conn->calmed || conn->phase >= CONNECTION_LINGER)
		return;
	conn->calmed = true; /* what it has sent already still comes by */
	note_abuse(conn, what);
	(void)nghttp2_session_terminate_session(conn->pump.session, NGHTTP2_ENHANCE_YOUR_CALM);
	conn->phase = CONNECTION_GOAWAY;
	connection_kick(conn);
}

void connection_drain(struct connection *conn)
{
	if (conn->phase == CONNECTION_LINGER && conn->server->draining) {
		conn->phase_deadline_usec = server_now(conn->server) + LINGER_USEC;
		connection_arm(conn, conn->phase_deadline_usec);
	}
	if (conn->pump.failed || conn->phase >= CONNECTION_NOTICE)
		return;
	/* It was accepted, and may have calls on its way: it is told once it is open. */
	if (conn->phase < CONNECTION_OPEN) {
		uint64_t soon_usec = server_now(conn->server) + NOTICE_USEC;

		if (!conn->phase_deadline_usec || conn->phase_deadline_usec > soon_usec)
			conn->phase_deadline_usec = soon_usec;
		connection_arm(conn, conn->phase_deadline_usec);
		return;
	}
	/* What the client sends before it has seen the notice still counts; the PING shows when it has. */
	conn->phase = CONNECTION_NOTICE;
	conn->phase_deadline_usec = server_now(conn->server) + NOTICE_USEC;
	connection_arm(conn, conn->phase_deadline_usec);
	(void)nghttp2_submit_shutdown_notice(conn->pump.session);
	(void)nghttp2_submit_ping(conn->pump.session, NGHTTP2_FLAG_NONE, NULL);
	connection_kick(conn);
}

void connection_notice_acked(struct connection *conn)
{
	conn->phase = CONNECTION_GOAWAY;
	conn->phase_deadline_usec = 0;
	(void)nghttp2_submit_goaway(conn->pump.session, NGHTTP2_FLAG_NONE,
				    nghttp2_session_get_last_proc_stream_id(conn->pump.session),
				    NGHTTP2_NO_ERROR, NULL, 0);
	connection_kick(conn);
}

/* close() with unread bytes would send a reset, which can overtake our last answers. */
static void linger(struct connection *conn)
{
	conn->phase = CONNECTION_LINGER;
	conn->phase_deadline_usec = server_now(conn->server) +
				    (conn->calmed || conn->server->draining ? LINGER_USEC
									    : IDLE_LINGER_USEC);
	conn->stall_deadline_usec = 0;
	transport_shutdown_write(&conn->pump.tr);
}

static void watch_io(struct connection *conn)
{
	uint32_t events = pump_events(&conn->pump);

	if (events == conn->io_events)
		return;
	if (sd_event_source_set_io_events(conn->io, events) < 0)
		connection_fail(conn);
	conn->io_events = events;
}

static void deliver_ready(struct connection *conn)
{
	while (conn->ready) {
		struct grpc_call *call = conn->ready;

		conn->ready = call->next_ready;
		call->is_ready = false;
		conn->pump
			.in_http2++; /* as if the bytes came now: what handlers do is flushed below */
		request_deliver_held(call);
		conn->pump.in_http2--;
		grpc_call_unref(call);
	}
}

static void settle(struct connection *conn)
{
	count_bytes(conn);
	if (!conn->pump.failed && conn->pump.session && conn->phase < CONNECTION_LINGER) {
		deliver_ready(conn);
		flush(conn);
		if (conn->ready) /* resumed by a writer that was asked just now */
			connection_kick(conn);
	}
	if (!conn->pump.failed && conn->phase != CONNECTION_LINGER && pump_is_over(&conn->pump))
		linger(conn);
	if (!conn->pump.failed && conn->phase != CONNECTION_TLS)
		watch_io(conn);
	if (conn->pump.failed)
		connection_bury(conn);
	else
		arm_own(conn);
}

/* --- bytes in --- */

static int start_session(struct connection *conn)
{
	const struct grpc_server_options *options = &conn->server->options;
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options->max_streams },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)options->max_header_bytes },
	};

	if (http2_server_new(conn->server->callbacks, conn, &conn->pump.session) < 0 ||
	    nghttp2_submit_settings(conn->pump.session, NGHTTP2_FLAG_NONE, settings,
				    ARRAY_SIZE(settings)) != 0 ||
	    nghttp2_session_set_local_window_size(conn->pump.session, NGHTTP2_FLAG_NONE, 0,
						  CONNECTION_WINDOW) != 0)
		return -ENOMEM;
	conn->phase = CONNECTION_PREFACE; /* on the clock that began with accept */
	return 0;
}

/* Returns true once the session can go on. */
static bool shake_hands(struct connection *conn)
{
	struct err err = { 0 };
	bool wants_out;
	int r = transport_shake(&conn->pump.tr, &wants_out, &err);

	if (r == -EAGAIN) {
		conn->io_events = wants_out ? EPOLLOUT : EPOLLIN;
		if (sd_event_source_set_io_events(conn->io, conn->io_events) < 0)
			conn->pump.failed = true;
		return false;
	}
	if (r == 0)
		r = peer_learn_certificate(&conn->peer, conn->pump.tr.ssl, &err);
	if (r == 0 && start_session(conn) < 0)
		r = err_oom(&err);
	if (r == 0)
		return true;
	/* With TLS 1.3 the client learns no reason: it must be found here. */
	server_log(conn->server, LOG_NOTICE, "%s: refused: %s", conn->peer.address, err.text);
	conn->server->stats.connections_refused++;
	conn->pump.failed = true;
	return false;
}

/* Returns true if there may be more to read now. */
static bool read_once(struct connection *conn)
{
	bool lingers = conn->phase == CONNECTION_LINGER;
	uint64_t received_bytes = conn->pump.received_bytes;
	int r = pump_read(&conn->pump, lingers);

	if (conn->pump.received_bytes != received_bytes) {
		conn->last_read_usec = server_now(conn->server);
		conn->ping_deadline_usec = 0;
	}
	if (conn->pump.http2_error)
		server_log(conn->server, LOG_NOTICE, "%s: closing: %s", conn->peer.address,
			   nghttp2_strerror(conn->pump.http2_error));
	return r == 1;
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *user)
{
	struct connection *conn = user;

	if (conn->phase == CONNECTION_TLS && !shake_hands(conn)) {
		settle(conn);
		return 0;
	}
	for (int i = 0; i < READS_PER_TURN && read_once(conn); i++)
		;
	if (!conn->pump.failed && pump_has_more(&conn->pump))
		connection_kick(conn);
	settle(conn);
	return 0;
}

static int on_work(sd_event_source *source, void *user)
{
	struct connection *conn = user;

	/* TLS may hold bytes for which no event comes. */
	if (!conn->pump.failed && conn->phase != CONNECTION_TLS && pump_has_more(&conn->pump))
		(void)read_once(conn);
	if (!conn->pump.failed && pump_has_more(&conn->pump))
		connection_kick(conn);
	settle(conn);
	return 0;
}

/* --- birth --- */

static int add_sources(struct connection *conn)
{
	sd_event *event = conn->server->event;
	int r;

	r = sd_event_add_io(event, &conn->io, conn->pump.tr.fd, EPOLLIN, on_io, conn);
	if (r < 0)
		return r;
	conn->io_events = EPOLLIN;
	r = sd_event_add_defer(event, &conn->work, on_work, conn);
	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(conn->work, SD_EVENT_ONESHOT); /* our SETTINGS */
	if (r < 0)
		return r;
	conn->timer_usec = conn->phase_deadline_usec;
	return sd_event_add_time(event, &conn->timer, CLOCK_BOOTTIME, conn->timer_usec,
				 TIMER_ACCURACY_USEC, on_timer, conn);
}

static void init_limits(struct connection *conn, uint64_t now_usec)
{
	struct grpc_server *server = conn->server;

	bucket_init(&conn->resets, 1000, 100, now_usec);
	bucket_init(&conn->provoked, 200, 20, now_usec);
	bucket_init(&conn->small_frames, 20000, 5000, now_usec);
	conn->receive_budget =
		(struct budget){ .parent = &server->receive_budget,
				 .limit_bytes = server->options.receive_budget_bytes / 4 };
	conn->phase_deadline_usec = now_usec + server->options.handshake_usec;
	conn->last_read_usec = conn->idle_since_usec = now_usec;
}

/* How many connections of the same origin there are, and how many there may be. */
static int check_origin(const struct grpc_server *server, const struct grpc_peer *peer,
			struct err *err)
{
	unsigned limit = peer->kind == GRPC_PEER_UNIX ? server->options.max_connections_per_uid
						      : server->options.max_connections_per_address;
	const struct connection *other;
	unsigned n = 0;

	LIST_FOREACH (other, &server->connections, entry)
		n += peer_same_origin(&other->peer, peer);
	if (n < limit)
		return 0;
	return err_set(err, ERR_EXHAUSTED, EUSERS,
		       "%s: refused: its user or address has %u connections already", peer->address,
		       n);
}

static int prepare(struct connection *conn, const struct grpc_tls *tls, struct err *err)
{
	struct grpc_server *server = conn->server;
	int on = 1;
	int r;

	r = peer_init(&conn->peer, conn->pump.tr.fd, err);
	if (r < 0)
		return r;
	conn->peer.connection_id = ++server->last_connection_id;
	r = check_origin(server, &conn->peer, err);
	if (r < 0)
		return r;
	if (conn->peer.kind == GRPC_PEER_TLS)
		(void)setsockopt(conn->pump.tr.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	init_limits(conn, server_now(server));
	conn->phase = CONNECTION_TLS;
	r = tls ? transport_accept_tls(&conn->pump.tr, tls) : start_session(conn);
	if (r == 0)
		r = add_sources(conn);
	return r < 0 ? err_oom(err) : 0;
}

int connection_new(struct grpc_server *server, int fd, const struct grpc_tls *tls, struct err *err)
{
	cleanup(connection_unref_p) struct connection *conn = calloc(1, sizeof(*conn));
	int r;

	if (!conn) {
		fd_close(&fd);
		return err_oom(err);
	}
	conn->refs = 1;
	conn->server = server_ref(server);
	pump_init(&conn->pump, fd, server->scratch);
	r = prepare(conn, tls, err);
	if (r < 0) {
		conn->io = sd_event_source_disable_unref(conn->io);
		conn->work = sd_event_source_disable_unref(conn->work);
		conn->timer = sd_event_source_disable_unref(conn->timer);
		return r;
	}
	LIST_INSERT_HEAD(&server->connections, conn, entry);
	conn = NULL; /* the loop's now */
	server->stats.connections++;
	server->stats.connections_accepted++;
	return 0;
}
