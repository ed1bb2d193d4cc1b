/*
 * Length-prefixed messages: how gRPC puts messages into an HTTP/2 stream (grpc/doc/PROTOCOL-HTTP2.md,
 * "Length-Prefixed-Message"). One byte of flags, four of length, the message.
 *
 * The length is a peer's claim: it is checked before anything is allocated, and the buffer grows with the
 * bytes that really come, within a budget.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/grpc/budget.h"

#define LPM_PREFIX_BYTES 5

struct lpm {
	size_t max_bytes; /* of one message */
	struct budget *budget;
	uint8_t prefix[LPM_PREFIX_BYTES];
	unsigned n_prefix;
	uint32_t length; /* valid once the prefix is complete */
	uint8_t *body;
	size_t n_body;
	size_t room; /* allocated, and taken from the budget */
};

void lpm_init(struct lpm *lpm, size_t max_bytes, struct budget *budget);
void lpm_done(struct lpm *lpm);

/*
 * Take bytes from *@data and *@n, moving both, until a message is complete or they run out.
 *
 * Returns 1 with a message in *ret_message and *ret_length, valid until the next call (it may point into
 * what was *@data); 0 if more bytes are needed; or
 *   -EMSGSIZE    the prefix claims more than max_bytes
 *   -EOPNOTSUPP  the message is compressed
 *   -EPROTO      flags that do not exist
 *   -ENOBUFS     the budget is used up
 *   -ENOMEM
 * After a failure only lpm_done() may follow.
 */
int lpm_take(struct lpm *lpm, const uint8_t **data, size_t *n, const uint8_t **ret_message,
	     size_t *ret_length);

/* True in the middle of a message. */
bool lpm_partial(const struct lpm *lpm);

/* Write the prefix of a message of @length bytes to @buf, LPM_PREFIX_BYTES long. */
void lpm_prefix(uint8_t *buf, uint32_t length);
