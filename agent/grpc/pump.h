/*
 * Bytes between a socket and an HTTP/2 session, in both directions, for the server's connections and the
 * client's. It knows no clocks and no events: its owner calls it from the loop, never from a callback of
 * nghttp2.
 */
#pragma once

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/grpc/transport.h"

#define PUMP_SCRATCH_BYTES (96u << 10)

struct pump {
	struct transport tr;
	nghttp2_session *session; /* NULL before the handshake is over */
	uint8_t *scratch; /* PUMP_SCRATCH_BYTES of the owner's, shared by all pumps of one thread */
	unsigned in_http2; /* nghttp2 is on the stack */
	bool failed;       /* set by a callback, too: nothing moves any more */
	int http2_error;   /* why, if it was nghttp2 that gave up; 0 */
	uint8_t *out;      /* what the socket would not take yet */
	size_t n_out;
	size_t out_at;
	uint64_t received_bytes;
	uint64_t sent_bytes;
};

/* Takes @fd, which is non-blocking. */
void pump_init(struct pump *pump, int fd, uint8_t *scratch);
/* Close at once, session and all. */
void pump_done(struct pump *pump);

/*
 * Read once and hand it to the session, or throw it away if @discard.
 *
 * Returns 1 if there may be more to read now, 0 if not, or -EPIPE: the peer has hung up, or the session or a
 * callback failed.
 */
int pump_read(struct pump *pump, bool discard);
/* Decrypted bytes wait for which no event will come. */
bool pump_has_more(const struct pump *pump);

/* Write while the socket takes it, up to about a megabyte. Returns 1 if there is more to write now, 0 if all
 * was written, -EAGAIN if the socket is full, -EPIPE if the connection is over. */
int pump_write(struct pump *pump);
/* The socket is full: the next event to wait for is its having room. */
bool pump_is_stuck(const struct pump *pump);
/* The session has nothing left to say or to hear. */
bool pump_is_over(const struct pump *pump);
/* The events to wait for. */
uint32_t pump_events(const struct pump *pump);
