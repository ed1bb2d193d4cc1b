/* Prefixes, timeouts, percent coding, binary metadata, details: a peer's bytes each. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/grpc/binary.h"
#include "agent/grpc/details.h"
#include "agent/grpc/lpm.h"
#include "agent/grpc/percent.h"
#include "agent/grpc/timeout.h"
#include "proto/cleanup.h"

/* However the bytes are cut, the same messages come out. */
static uint64_t take_all(const uint8_t *data, size_t n, size_t step)
{
	struct budget budget = { .limit_bytes = 1 << 20 };
	uint64_t sum = 0;
	struct lpm lpm;
	int r = 0;

	lpm_init(&lpm, 4096, &budget);
	while (n && r >= 0) {
		size_t part = step < n ? step : n;

		n -= part;
		while (part && r >= 0) {
			const uint8_t *message;
			size_t length;

			r = lpm_take(&lpm, &data, &part, &message, &length);
			for (size_t i = 0; r == 1 && i < length; i++)
				sum = sum * 31 + message[i];
			sum += r == 1;
		}
	}
	lpm_done(&lpm);
	assert(budget.used_bytes == 0);
	return r < 0 ? (uint64_t)r : sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	cleanup_free char *text = strndup((const char *)data, n);
	cleanup_free char *encoded = malloc(PERCENT_ENCODED_MAX(n));
	cleanup_free uint8_t *bytes = NULL;
	struct grpc_details *details = NULL;
	size_t length = strlen(text), n_bytes;
	uint64_t usec;

	assert(take_all(data, n, SIZE_MAX) == take_all(data, n, 1));
	(void)timeout_parse(text, length, &usec);
	assert(percent_decode(encoded, percent_encode(text, length, encoded,
						      PERCENT_ENCODED_MAX(n))) == length);
	assert(memcmp(encoded, text, length) == 0);
	(void)percent_decode(text, length);
	(void)binary_decode((const char *)data, n, &bytes, &n_bytes);
	if (grpc_details_decode(data, n, &details) == 0)
		grpc_details_free(details);
	return 0;
}
