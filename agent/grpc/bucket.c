#include "agent/grpc/bucket.h"

#define MILLI 1000ULL

static void add(struct bucket *bucket, uint64_t millitokens)
{
	uint64_t full = bucket->burst * MILLI;

	if (millitokens > full - bucket->millitokens)
		bucket->millitokens = full;
	else
		bucket->millitokens += millitokens;
}

static void refill(struct bucket *bucket, uint64_t now_usec)
{
	uint64_t elapsed_usec;
	uint64_t earned;

	if (now_usec <= bucket->updated_usec)
		return;
	elapsed_usec = now_usec - bucket->updated_usec;
	/* More than it takes to fill is as good as full, and would overflow below. */
	if (elapsed_usec / 1000000 >=
	    bucket->burst / (bucket->per_second ? bucket->per_second : 1) + 1)
		earned = bucket->per_second ? bucket->burst * MILLI : 0;
	else
		earned = elapsed_usec * bucket->per_second / 1000;
	/* The clock moves only by what was counted: short steps must not round the refill away. */
	if (!earned)
		return;
	bucket->updated_usec = now_usec;
	add(bucket, earned);
}

void bucket_init(struct bucket *bucket, uint32_t burst, uint32_t per_second, uint64_t now_usec)
{
	*bucket = (struct bucket){ .burst = burst,
				   .per_second = per_second,
				   .millitokens = burst * MILLI,
				   .updated_usec = now_usec };
}

bool bucket_take(struct bucket *bucket, uint64_t now_usec)
{
	refill(bucket, now_usec);
	if (bucket->millitokens < MILLI)
		return false;
	bucket->millitokens -= MILLI;
	return true;
}

void bucket_credit(struct bucket *bucket, uint32_t tokens)
{
	add(bucket, tokens * MILLI);
}
