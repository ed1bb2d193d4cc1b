#include "agent/grpc/timeout.h"

#include <errno.h>
#include <stdio.h>

#include "proto/cleanup.h"

#define DIGITS_MAX 8
#define VALUE_MAX  99999999ULL

/* Finest first. Nanoseconds are apart: they are the only ones below a microsecond. */
static const struct unit {
	char letter;
	uint64_t usec;
} units[] = {
	{ 'u', 1 },
	{ 'm', 1000 },
	{ 'S', 1000000 },
	{ 'M', 60 * 1000000ULL },
	{ 'H', 3600 * 1000000ULL },
};

int timeout_parse(const char *text, size_t n, uint64_t *ret_usec)
{
	uint64_t value = 0;

	if (n < 2 || n > DIGITS_MAX + 1)
		return -EINVAL;
	for (size_t i = 0; i + 1 < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EINVAL;
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	if (text[n - 1] == 'n') {
		*ret_usec = (value + 999) / 1000;
		return 0;
	}
	/* 99,999,999 hours are 3.6e17 us: no overflow. */
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (units[i].letter != text[n - 1])
			continue;
		*ret_usec = value * units[i].usec;
		return 0;
	}
	return -EINVAL;
}

void timeout_format(uint64_t usec, char *buf)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		uint64_t value = usec / units[i].usec + (usec % units[i].usec != 0);

		if (value > VALUE_MAX && i + 1 < ARRAY_SIZE(units))
			continue;
		if (value > VALUE_MAX)
			value = VALUE_MAX;
		(void)snprintf(buf, TIMEOUT_TEXT_MAX, "%u%c", (unsigned)value % 100000000U,
			       units[i].letter);
		return;
	}
}
