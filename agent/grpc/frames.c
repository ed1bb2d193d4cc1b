/*
 * What nghttp2 calls while it takes bytes apart or puts frames together: streams become calls here, and
 * here is counted what a peer may not do too often.
 *
 * Nothing in here sends, receives or frees a connection: nghttp2 is on the stack.
 */
#include <errno.h>

#include "agent/grpc/call_private.h"
#include "agent/grpc/connection.h"

static struct grpc_call *call_of(nghttp2_session *session, int32_t stream_id)
{
	return nghttp2_session_get_stream_user_data(session, stream_id);
}

/* Whoever costs us a frame in vain pays from one purse. */
static void charge_small_frame(struct connection *conn)
{
	if (!bucket_take(&conn->small_frames, server_now(conn->server)))
		connection_calm(conn, "too many small frames");
}

/* --- the peer's frames --- */

static bool has_room(const struct connection *conn)
{
	const struct grpc_server *server = conn->server;

	return conn->n_calls < server->options.max_calls_per_connection &&
	       server->stats.calls < server->options.max_calls;
}

/* Provably not processed, so that the client may try again elsewhere. */
static int refuse_stream(nghttp2_session *session, struct connection *conn, int32_t stream_id)
{
	conn->server->stats.calls_refused++;
	charge_small_frame(conn);
	(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id,
					NGHTTP2_REFUSED_STREAM);
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct connection *conn = user;
	uint64_t deadline_usec = server_now(conn->server) + conn->server->options.header_usec;
	struct grpc_call *call;

	conn->header_deadline_usec = deadline_usec;
	connection_arm(conn, deadline_usec);
	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	if (!has_room(conn))
		return refuse_stream(session, conn, frame->hd.stream_id);
	call = call_new(conn, frame->hd.stream_id);
	if (!call)
		return refuse_stream(session, conn, frame->hd.stream_id);
	return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, call);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
		     size_t n_name, const uint8_t *value, size_t n_value, uint8_t flags, void *user)
{
	struct connection *conn = user;
	struct grpc_call *call = call_of(session, frame->hd.stream_id);

	if (!call)
		return 0;
	if (call->opened || call->answered) { /* trailers mean nothing to us, but are counted */
		call->head.bytes += n_name + n_value;
		if (call->head.bytes <= 16 * conn->server->options.max_header_bytes)
			return 0;
	} else if (request_header(call, (const char *)name, (const char *)value, n_name, n_value) ==
		   0) {
		return 0;
	}
	conn->server->stats.connections_abusive++;
	server_log(conn->server, 5, "%s: closing: headers far over the limit", conn->peer.address);
	return NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* A frame that begins while a header block is open can only be its CONTINUATION. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
	struct connection *conn = user;

	if (hd->type != NGHTTP2_CONTINUATION)
		conn->header_deadline_usec = 0;
	return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
			 const uint8_t *data, size_t n, void *user)
{
	struct connection *conn = user;
	struct grpc_call *call = call_of(session, stream_id);

	/* At once for the connection, so that one paused stream does not stop the others. */
	if (nghttp2_session_consume_connection(session, n) != 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (!call) {
		(void)nghttp2_session_consume_stream(session, stream_id, n);
		return 0;
	}
	request_data(call, data, n);
	return conn->pump.failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static void on_reset(struct connection *conn)
{
	if (bucket_take(&conn->resets, server_now(conn->server)))
		return;
	/* A client that cancels much is moved to a new connection, and not harmed. One that goes on is. */
	if (conn->phase >= CONNECTION_NOTICE) {
		connection_calm(conn, "too many cancelled calls");
		return;
	}
	bucket_init(&conn->resets, conn->resets.burst, conn->resets.per_second,
		    server_now(conn->server));
	connection_drain(conn);
}

static void on_headers_complete(nghttp2_session *session, struct connection *conn,
				const nghttp2_frame *frame)
{
	struct grpc_call *call = call_of(session, frame->hd.stream_id);

	conn->header_deadline_usec = 0;
	if (call && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		request_opened(call);
	if (call && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		request_half_closed(call);
}

static void on_data_complete(nghttp2_session *session, struct connection *conn,
			     const nghttp2_frame *frame)
{
	struct grpc_call *call = call_of(session, frame->hd.stream_id);
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (frame->hd.length == 0 && !end)
		charge_small_frame(conn);
	if (frame->data.padlen > 0 && frame->hd.length == frame->data.padlen)
		charge_small_frame(
			conn); /* padding alone; nghttp2 gives its window back by itself */
	if (call && end)
		request_half_closed(call);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct connection *conn = user;

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		on_headers_complete(session, conn, frame);
		break;
	case NGHTTP2_DATA:
		on_data_complete(session, conn, frame);
		break;
	case NGHTTP2_RST_STREAM:
		on_reset(conn);
		break;
	case NGHTTP2_SETTINGS:
		if (conn->phase == CONNECTION_PREFACE && !(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
			conn->phase = CONNECTION_OPEN;
			conn->phase_deadline_usec = 0;
			if (conn->server->draining)
				connection_drain(conn);
		}
		break;
	case NGHTTP2_PING:
		if (frame->hd.flags & NGHTTP2_FLAG_ACK && conn->phase == CONNECTION_NOTICE)
			connection_notice_acked(conn);
		break;
	case NGHTTP2_PRIORITY:
	case NGHTTP2_WINDOW_UPDATE:
		charge_small_frame(conn);
		break;
	default:
		break;
	}
	return conn->pump.failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_invalid_frame_recv(nghttp2_session *session, const nghttp2_frame *frame,
				 int library_error, void *user)
{
	struct connection *conn = user;

	conn->header_deadline_usec = 0;
	return 0;
}

/* --- our frames --- */

/* What the peer made us reset costs it; what we reset of our own accord does not. */
static void on_reset_sent(struct connection *conn, uint32_t error_code)
{
	if (error_code == NGHTTP2_NO_ERROR || error_code == NGHTTP2_REFUSED_STREAM ||
	    error_code == NGHTTP2_CANCEL || error_code == NGHTTP2_ENHANCE_YOUR_CALM)
		return;
	if (!bucket_take(&conn->provoked, server_now(conn->server)))
		connection_calm(conn, "too many broken streams");
}

/* A peer that takes data must update windows: what it takes pays for that. */
static void on_data_sent(struct connection *conn, size_t n)
{
	enum { BYTES_PER_TOKEN = 4096 };

	conn->sent_since_credit += n;
	bucket_credit(&conn->small_frames, (uint32_t)(conn->sent_since_credit / BYTES_PER_TOKEN));
	conn->sent_since_credit %= BYTES_PER_TOKEN;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct connection *conn = user;
	int32_t stream_id = frame->hd.stream_id;

	if (frame->hd.type == NGHTTP2_RST_STREAM)
		on_reset_sent(conn, frame->rst_stream.error_code);
	if (frame->hd.type == NGHTTP2_DATA)
		on_data_sent(conn, frame->hd.length);
	/* We are done before the peer is: tell it to stop, or the stream stays half open for ever. */
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	    frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
	    nghttp2_session_get_stream_remote_close(session, stream_id) == 0)
		(void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id,
						NGHTTP2_NO_ERROR);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
			   void *user)
{
	struct grpc_call *call = call_of(session, stream_id);

	if (call)
		call_stream_closed(call, false);
	return 0;
}

int frames_callbacks_new(nghttp2_session_callbacks **ret_callbacks)
{
	nghttp2_session_callbacks *callbacks;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return -ENOMEM;
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks,
								     on_invalid_frame_recv);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	*ret_callbacks = callbacks;
	return 0;
}
