/*
 * All that depends on the version of nghttp2: newer ones have calls ending in 2 and another integer type,
 * and some limits are options only in patched or newer libraries.
 */
#pragma once

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What a body reader may add to its result. */
#define HTTP2_BODY_END           0x1u /* the last bytes; the stream ends with them */
#define HTTP2_BODY_THEN_TRAILERS 0x2u /* the last bytes; trailers were submitted in the reader */

/*
 * Where the bytes of a request or response body come from. read() is called while both flow-control
 * windows are open. It fills @buf with up to @n bytes and returns how many; or NGHTTP2_ERR_DEFERRED, until
 * nghttp2_session_resume_data(); or NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE to reset the stream.
 */
struct http2_body {
	ssize_t (*read)(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t n,
			unsigned *ret_flags, void *user);
	void *user;
};

/* A session with our options: no automatic window updates, floods bounded (see http2.c). The callbacks
 * stay the caller's. Returns 0 or -ENOMEM. */
int http2_server_new(const nghttp2_session_callbacks *callbacks, void *user,
		     nghttp2_session **ret_session);
int http2_client_new(const nghttp2_session_callbacks *callbacks, void *user,
		     nghttp2_session **ret_session);

/* nghttp2_session_mem_recv(): 0 (all taken) or an nghttp2 error. */
int http2_recv(nghttp2_session *session, const uint8_t *data, size_t n);
/* nghttp2_session_mem_send(): bytes in *ret_data, valid until the next call; 0 if there is nothing to
 * send; or an nghttp2 error. */
ssize_t http2_send(nghttp2_session *session, const uint8_t **ret_data);

/* @body NULL: headers alone. The pointers in @body must live as long as the stream. */
int http2_submit_response(nghttp2_session *session, int32_t stream_id, const nghttp2_nv *headers,
			  size_t n, const struct http2_body *body);
/* The stream's id, or an nghttp2 error. */
int32_t http2_submit_request(nghttp2_session *session, const nghttp2_nv *headers, size_t n,
			     const struct http2_body *body, void *stream_user);

/* A header of two C strings; nothing is copied, so both must live until the headers are submitted. */
nghttp2_nv http2_header(const char *name, const char *value);
