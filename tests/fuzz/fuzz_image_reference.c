/* An image's name: what is taken has one whole form, which is taken as the same. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "agent/image/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[REFERENCE_TEXT_MAX + 16], whole[REFERENCE_TEXT_MAX], again[REFERENCE_TEXT_MAX];
	struct reference reference;
	struct err err = { 0 };
	int r;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (reference_parse(text, &reference, &err) < 0) {
		assert(err.kind == ERR_INVALID || err.kind == ERR_UNSUPPORTED);
		return 0;
	}
	assert(reference_is_host(reference.host));
	assert(!strstr(reference.path, "..") && reference.path[0] != '/');
	(void)reference_text(&reference, whole);
	r = reference_parse(whole, &reference, &err);
	assert(r == 0);
	assert(strcmp(reference_text(&reference, again), whole) == 0);
	return 0;
}
