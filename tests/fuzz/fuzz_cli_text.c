/* What berthctl puts on a terminal holds no control character, whatever a workload wrote. */
#include <assert.h>
#include <stdint.h>

#include "agent/cli/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char buffer[TEXT_ESCAPED_MAX];

	(void)text_escape((const char *)data, size, buffer);
	for (const unsigned char *at = (const unsigned char *)buffer; *at; at++)
		assert(*at >= 0x20 && *at != 0x7f);
	return 0;
}
