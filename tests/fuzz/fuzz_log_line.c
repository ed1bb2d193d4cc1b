/* A record of a log file: what a full disk tore, or somebody wrote over. */
#include <assert.h>
#include <stdint.h>

#include "agent/logs/log_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *record = (const char *)data;
	struct log_line line;

	if (log_line_parse(record, size, &line) == 0)
		assert(line.text >= record && line.text + line.length == record + size);
	return 0;
}
