/* The container page: shared memory that another process writes. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "proto/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct container_page page = { .magic = PAGE_MAGIC, .version = PAGE_VERSION }, copy;
	struct err err = { 0 };

	memcpy(&page, data, size < sizeof(page) ? size : sizeof(page));
	page.sequence &= ~1u; /* an odd one only costs time */
	if (page_read(&page, &copy, &err) == 0) {
		assert(copy.denied_count <= PAGE_DENIED_MAX);
		for (uint32_t i = 0; i < copy.denied_count; i++)
			assert(strlen(copy.denied[i].program) < PAGE_PROGRAM_MAX);
	}
	return 0;
}
