#include "agent/grpc/http2.h"

#include <errno.h>
#include <string.h>

/* The reader's own flags become nghttp2's here, and here alone. */
static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t n,
			 uint32_t *data_flags, nghttp2_data_source *source, void *user)
{
	const struct http2_body *body = source->ptr;
	unsigned flags = 0;
	ssize_t filled = body->read(session, stream_id, buf, n, &flags, body->user);

	if (flags & (HTTP2_BODY_END | HTTP2_BODY_THEN_TRAILERS))
		*data_flags |= NGHTTP2_DATA_FLAG_EOF;
	if (flags & HTTP2_BODY_THEN_TRAILERS)
		*data_flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	return filled;
}

/*
 * The numbers that bound floods inside nghttp2. The reset limiter is a backstop only, as it answers with
 * GOAWAY(INTERNAL_ERROR), which clients take for a failure, and sleeps once any GOAWAY was sent: the
 * connection's own bucket acts long before it.
 */
static int options_new(nghttp2_option **ret_option)
{
	nghttp2_option *option;

	if (nghttp2_option_new(&option) != 0)
		return -ENOMEM;
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_no_closed_streams(option, 1);
	nghttp2_option_set_max_outbound_ack(option, 200);
	nghttp2_option_set_max_settings(option, 16);
#ifdef HAVE_NGHTTP2_RESET_RATE_LIMIT
	nghttp2_option_set_stream_reset_rate_limit(option, 10000, 1000);
#endif
#ifdef HAVE_NGHTTP2_MAX_CONTINUATIONS
	nghttp2_option_set_max_continuations(option, 8);
#endif
	*ret_option = option;
	return 0;
}

int http2_server_new(const nghttp2_session_callbacks *callbacks, void *user,
		     nghttp2_session **ret_session)
{
	nghttp2_option *option;
	int r = options_new(&option);

	if (r < 0)
		return r;
	r = nghttp2_session_server_new2(ret_session, callbacks, user, option);
	nghttp2_option_del(option);
	return r == 0 ? 0 : -ENOMEM;
}

int http2_client_new(const nghttp2_session_callbacks *callbacks, void *user,
		     nghttp2_session **ret_session)
{
	nghttp2_option *option;
	int r = options_new(&option);

	if (r < 0)
		return r;
	r = nghttp2_session_client_new2(ret_session, callbacks, user, option);
	nghttp2_option_del(option);
	return r == 0 ? 0 : -ENOMEM;
}

int http2_recv(nghttp2_session *session, const uint8_t *data, size_t n)
{
	ssize_t taken = nghttp2_session_mem_recv(session, data, n);

	/* No callback of ours pauses, so a session takes all or fails. */
	return taken < 0 ? (int)taken : 0;
}

ssize_t http2_send(nghttp2_session *session, const uint8_t **ret_data)
{
	return nghttp2_session_mem_send(session, ret_data);
}

int http2_submit_response(nghttp2_session *session, int32_t stream_id, const nghttp2_nv *headers,
			  size_t n, const struct http2_body *body)
{
	nghttp2_data_provider provider = { .source.ptr = (void *)body, .read_callback = read_body };

	return nghttp2_submit_response(session, stream_id, headers, n, body ? &provider : NULL);
}

int32_t http2_submit_request(nghttp2_session *session, const nghttp2_nv *headers, size_t n,
			     const struct http2_body *body, void *stream_user)
{
	nghttp2_data_provider provider = { .source.ptr = (void *)body, .read_callback = read_body };

	return nghttp2_submit_request(session, NULL, headers, n, body ? &provider : NULL,
				      stream_user);
}

nghttp2_nv http2_header(const char *name, const char *value)
{
	return (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name,
			     .value = (uint8_t *)(uintptr_t)value,
			     .namelen = strlen(name),
			     .valuelen = strlen(value) };
}
