#include "proto/cpulist.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct cpulist {
	uint64_t bits[CPULIST_MAX / 64];
};

/* The decimal at *@text, which moves behind it; -1 where there is none below CPULIST_MAX. */
static int take_number(const char **text)
{
	int number = 0;

	if (**text < '0' || **text > '9')
		return -1;
	while (**text >= '0' && **text <= '9') {
		number = number * 10 + (*(*text)++ - '0');
		if (number >= CPULIST_MAX)
			return -1;
	}
	return number;
}

static bool parse(const char *text, struct cpulist *list)
{
	memset(list, 0, sizeof(*list));
	for (;;) {
		int first = take_number(&text), last = first;

		if (first >= 0 && *text == '-') {
			text++;
			last = take_number(&text);
		}
		if (first < 0 || last < first)
			return false;
		for (int i = first; i <= last; i++)
			list->bits[i / 64] |= UINT64_C(1) << (i % 64);
		if (*text == '\0')
			return true;
		if (*text++ != ',')
			return false;
	}
}

bool cpulist_is_valid(const char *text)
{
	struct cpulist list;

	return parse(text, &list);
}

bool cpulist_is_subset(const char *text, const char *of)
{
	struct cpulist list, all;

	if (!parse(text, &list) || !parse(of, &all))
		return false;
	for (size_t i = 0; i < CPULIST_MAX / 64; i++) {
		if (list.bits[i] & ~all.bits[i])
			return false;
	}
	return true;
}
