/*
 * A token bucket: how often a peer may do what costs us more than it costs the peer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bucket {
	uint32_t burst;       /* tokens when full */
	uint32_t per_second;  /* refill */
	uint64_t microtokens; /* exact: a microsecond earns per_second of them */
	uint64_t updated_usec;
};

/* A full bucket. @now_usec is CLOCK_BOOTTIME here and below; going back in time refills nothing. */
void bucket_init(struct bucket *bucket, uint32_t burst, uint32_t per_second, uint64_t now_usec);

/* Take one token: false if there is none. */
bool bucket_take(struct bucket *bucket, uint64_t now_usec);

/* Give @tokens back, up to the burst: for work that justifies more of the peer's. */
void bucket_credit(struct bucket *bucket, uint32_t tokens);
