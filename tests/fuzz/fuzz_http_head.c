/* The head of an answer to a probe: what a workload says. Cut at any place it comes to the same. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "agent/probe/http_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http_head whole, pieces;
	struct err err = { 0 };
	size_t step;
	size_t at = 0;
	ssize_t taken;
	ssize_t r = 0;

	if (size == 0)
		return 0;
	step = 1 + data[0] % 16;
	data++;
	size--;
	whole = (struct http_head){ 0 };
	pieces = (struct http_head){ 0 };
	taken = http_head_take(&whole, (const char *)data, size, &err);
	assert(taken <= (ssize_t)size);
	assert(taken < 0 || whole.done || taken == (ssize_t)size);
	assert(!whole.done || (whole.status >= 101 && whole.status <= 599));
	assert(memchr(whole.reason, '\0', sizeof(whole.reason)));
	while (at < size && !pieces.done && r >= 0) {
		size_t n = size - at < step ? size - at : step;

		r = http_head_take(&pieces, (const char *)data + at, n, &err);
		at += r > 0 ? (size_t)r : 0;
	}
	assert((r < 0) == (taken < 0));
	assert(taken < 0 || (pieces.done == whole.done && (ssize_t)at == taken));
	assert(taken < 0 || !whole.done ||
	       (pieces.status == whole.status && pieces.has_length == whole.has_length &&
		pieces.length == whole.length && strcmp(pieces.reason, whole.reason) == 0));
	return 0;
}
