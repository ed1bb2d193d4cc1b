#include "agent/grpc/pump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "agent/grpc/http2.h"

#define READ_BYTES       (32u << 10)
#define WRITE_MARK_BYTES (64u << 10) /* in one go; PUMP_SCRATCH_BYTES has room for one frame more */
#define WRITES_PER_TURN  16

void pump_init(struct pump *pump, int fd, uint8_t *scratch)
{
	*pump = (struct pump){ .scratch = scratch };
	transport_init(&pump->tr, fd);
}

static void drop_pending(struct pump *pump)
{
	free(pump->out);
	pump->out = NULL;
	pump->n_out = pump->out_at = 0;
}

void pump_done(struct pump *pump)
{
	nghttp2_session_del(pump->session);
	pump->session = NULL;
	drop_pending(pump);
	transport_done(&pump->tr);
	pump->failed = true;
}

/* --- in --- */

bool pump_has_more(const struct pump *pump)
{
	return transport_has_more(&pump->tr);
}

int pump_read(struct pump *pump, bool discard)
{
	ssize_t n = transport_read(&pump->tr, pump->scratch, READ_BYTES);
	int r = 0;

	if (n == -EAGAIN)
		return 0;
	if (n <= 0) {
		pump->failed = true;
		return -EPIPE;
	}
	pump->received_bytes += (uint64_t)n;
	if (!discard) {
		pump->in_http2++;
		r = http2_recv(pump->session, pump->scratch, (size_t)n);
		pump->in_http2--;
	}
	if (r < 0) {
		pump->http2_error = r;
		pump->failed = true;
	}
	if (pump->failed)
		return -EPIPE;
	return n == READ_BYTES || pump_has_more(pump);
}

/* --- out --- */

bool pump_is_stuck(const struct pump *pump)
{
	return pump->out_at < pump->n_out;
}

/* Returns 0 when nothing waits, -EAGAIN, -EPIPE. */
static int write_pending(struct pump *pump)
{
	while (pump_is_stuck(pump)) {
		ssize_t put = transport_write(&pump->tr, pump->out + pump->out_at,
					      pump->n_out - pump->out_at);

		if (put < 0)
			return put == -EAGAIN ? -EAGAIN : -EPIPE;
		pump->out_at += (size_t)put;
		pump->sent_bytes += (uint64_t)put;
	}
	drop_pending(pump);
	return 0;
}

static int keep_pending(struct pump *pump, const uint8_t *bytes, size_t n)
{
	pump->out = malloc(n);
	if (!pump->out)
		return -EPIPE;
	memcpy(pump->out, bytes, n);
	pump->n_out = n;
	return -EAGAIN;
}

/* Have nghttp2 make frames, up to a good write's worth. Returns how many bytes, or -EPIPE. */
static ssize_t make_frames(struct pump *pump)
{
	size_t filled = 0;

	while (filled < WRITE_MARK_BYTES) {
		const uint8_t *data;
		ssize_t n;

		pump->in_http2++;
		n = http2_send(pump->session, &data);
		pump->in_http2--;
		/* No frame of ours is over 16 KiB; if one were, the connection would not be worth a crash. */
		if (n < 0 || pump->failed || (size_t)n > PUMP_SCRATCH_BYTES - filled)
			return -EPIPE;
		if (n == 0)
			break;
		memcpy(pump->scratch + filled, data, (size_t)n);
		filled += (size_t)n;
	}
	return (ssize_t)filled;
}

/* Returns 1 if something was written, and all of it. */
static int write_frames(struct pump *pump)
{
	ssize_t n = make_frames(pump);
	ssize_t put;

	if (n <= 0)
		return n < 0 ? -EPIPE : 0;
	put = transport_write(&pump->tr, pump->scratch, (size_t)n);
	if (put < 0 && put != -EAGAIN)
		return -EPIPE;
	if (put < 0)
		put = 0;
	pump->sent_bytes += (uint64_t)put;
	return put == n ? 1 : keep_pending(pump, pump->scratch + put, (size_t)(n - put));
}

int pump_write(struct pump *pump)
{
	int r = 1;

	for (int i = 0; r > 0 && i < WRITES_PER_TURN; i++)
		r = write_pending(pump) ?: write_frames(pump);
	if (r == -EPIPE)
		pump->failed = true;
	return r;
}

bool pump_is_over(const struct pump *pump)
{
	return pump->session && !pump_is_stuck(pump) && !nghttp2_session_want_read(pump->session) &&
	       !nghttp2_session_want_write(pump->session);
}

uint32_t pump_events(const struct pump *pump)
{
	bool out = (pump_is_stuck(pump) && !pump->tr.write_wants_in) || pump->tr.read_wants_out;

	return EPOLLIN | (out ? EPOLLOUT : 0);
}
