#include "agent/grpc/bucket.h"

#define MICRO 1000000ULL

static void add(struct bucket *bucket, uint64_t microtokens)
{
	uint64_t full = bucket->burst * MICRO;

	if (microtokens > full - bucket->microtokens)
		bucket->microtokens = full;
	else
		bucket->microtokens += microtokens;
}

static void refill(struct bucket *bucket, uint64_t now_usec)
{
	uint64_t elapsed_usec;

	if (now_usec <= bucket->updated_usec)
		return;
	elapsed_usec = now_usec - bucket->updated_usec;
	bucket->updated_usec = now_usec;
	if (!bucket->per_second)
		return;
	/* More than it takes to fill is as good as full, and would overflow. */
	if (elapsed_usec > bucket->burst * MICRO / bucket->per_second)
		add(bucket, bucket->burst * MICRO);
	else
		add(bucket, elapsed_usec * bucket->per_second);
}

void bucket_init(struct bucket *bucket, uint32_t burst, uint32_t per_second, uint64_t now_usec)
{
	*bucket = (struct bucket){ .burst = burst,
				   .per_second = per_second,
				   .microtokens = burst * MICRO,
				   .updated_usec = now_usec };
}

bool bucket_take(struct bucket *bucket, uint64_t now_usec)
{
	refill(bucket, now_usec);
	if (bucket->microtokens < MICRO)
		return false;
	bucket->microtokens -= MICRO;
	return true;
}

void bucket_credit(struct bucket *bucket, uint32_t tokens)
{
	add(bucket, tokens * MICRO);
}
