#include "proto/quantity.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "proto/cleanup.h"
#include "proto/names.h"

/*
 * A number may have a fraction ("1.5Gi"), but the result must be whole. Nothing here is floating point:
 * the digits are an integer, counted in units of 10^-decimals, and what does not divide is refused.
 */

#define DECIMALS_MAX 9

struct unit {
	const char *suffix;
	uint64_t factor;
};

static const struct unit byte_units[] = {
	{ "", 1 },
	{ "Ki", UINT64_C(1) << 10 },
	{ "Mi", UINT64_C(1) << 20 },
	{ "Gi", UINT64_C(1) << 30 },
	{ "Ti", UINT64_C(1) << 40 },
	{ "Pi", UINT64_C(1) << 50 },
	{ "k", UINT64_C(1000) },
	{ "K", UINT64_C(1000) },
	{ "M", UINT64_C(1000000) },
	{ "G", UINT64_C(1000000000) },
	{ "T", UINT64_C(1000000000000) },
	{ "P", UINT64_C(1000000000000000) },
};

static const struct unit cpu_units[] = { { "", 1000 }, { "m", 1 } };

/* The larger first, which is also the order that a duration is written in. */
static const struct unit time_units[] = {
	{ "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 },
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The digits at *@text, which then is behind them. False where there are none or too many. */
static bool read_digits(const char **text, uint64_t *value)
{
	const char *p = *text;

	if (!is_digit(*p))
		return false;
	for (; is_digit(*p); p++) {
		if (__builtin_mul_overflow(*value, 10, value) ||
		    __builtin_add_overflow(*value, (uint64_t)(*p - '0'), value))
			return false;
	}
	*text = p;
	return true;
}

/* "12" or "12.5" at *@text, in units of 10^-*@ret_decimals. */
static bool read_number(const char **text, uint64_t *ret_value, unsigned *ret_decimals)
{
	uint64_t value = 0;
	unsigned decimals = 0;

	if (!read_digits(text, &value))
		return false;
	if (**text == '.') {
		const char *fraction = ++*text;

		if (!read_digits(text, &value) || *text - fraction > DECIMALS_MAX)
			return false;
		decimals = (unsigned)(*text - fraction);
	}
	*ret_value = value;
	*ret_decimals = decimals;
	return true;
}

/* @value of 10^-@decimals times @factor, where that is whole and fits. */
static bool scale(uint64_t value, unsigned decimals, uint64_t factor, uint64_t *ret_result)
{
	uint64_t divisor = 1, result;

	for (unsigned i = 0; i < decimals; i++)
		divisor *= 10;
	/* Divide first what can be divided: 1.5 of 2^50 must not overflow. */
	while (divisor % 2 == 0 && factor % 2 == 0) {
		divisor /= 2;
		factor /= 2;
	}
	while (divisor % 5 == 0 && factor % 5 == 0) {
		divisor /= 5;
		factor /= 5;
	}
	if (value % divisor != 0 || __builtin_mul_overflow(value / divisor, factor, &result))
		return false;
	*ret_result = result;
	return true;
}

/* The unit that the letters at *@text spell, which then is behind them; NULL for none of them. */
static const struct unit *read_unit(const char **text, const struct unit *units, size_t n)
{
	size_t length = 0;

	while ((*text)[length] && !is_digit((*text)[length]))
		length++;
	for (size_t i = 0; i < n; i++) {
		if (strlen(units[i].suffix) != length ||
		    strncmp(units[i].suffix, *text, length) != 0)
			continue;
		*text += length;
		return &units[i];
	}
	return NULL;
}

static int wrong(struct err *err, const char *text, const char *allowed)
{
	char quoted[NAME_QUOTED_MAX];

	return err_set(err, ERR_INVALID, EINVAL, "%s is not %s", names_quote(text, quoted),
		       allowed);
}

int quantity_parse_decimal(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value,
			   struct err *err)
{
	char quoted[NAME_QUOTED_MAX];
	const char *p = text ? text : "";
	uint64_t value = 0;

	if (!read_digits(&p, &value) || *p || value < min || value > max)
		return err_set(err, ERR_INVALID, EINVAL,
			       "%s is not a whole number from %" PRIu64 " to %" PRIu64,
			       names_quote(text, quoted), min, max);
	*ret_value = value;
	return 0;
}

/* One number and one unit, and nothing else. */
static bool parse_one(const char *text, const struct unit *units, size_t n, uint64_t *ret_result)
{
	const struct unit *unit;
	unsigned decimals;
	uint64_t value;

	if (!text || !read_number(&text, &value, &decimals))
		return false;
	unit = read_unit(&text, units, n);
	return unit && !*text && scale(value, decimals, unit->factor, ret_result);
}

int quantity_parse_bytes(const char *text, uint64_t *ret_bytes, struct err *err)
{
	if (!parse_one(text, byte_units, ARRAY_SIZE(byte_units), ret_bytes))
		return wrong(
			err, text,
			"a size: whole bytes, or with Ki, Mi, Gi, Ti, k, M, G, T after the number, as in 64Mi");
	return 0;
}

int quantity_parse_cpu_millis(const char *text, uint64_t *ret_millis, struct err *err)
{
	if (!parse_one(text, cpu_units, ARRAY_SIZE(cpu_units), ret_millis))
		return wrong(err, text,
			     "a share of processors: 2, 0.5 or 500m, in steps of a thousandth");
	return 0;
}

static bool parse_duration(const char *text, uint64_t *ret_ms)
{
	const struct unit *units = time_units;
	size_t left = ARRAY_SIZE(time_units);
	uint64_t total = 0;

	if (!text || !*text)
		return false;
	if (strcmp(text, "0") == 0) {
		*ret_ms = 0;
		return true;
	}
	while (*text) {
		const struct unit *unit;
		unsigned decimals;
		uint64_t value, ms;

		if (!read_number(&text, &value, &decimals))
			return false;
		unit = read_unit(&text, units, left);
		if (!unit || !scale(value, decimals, unit->factor, &ms) ||
		    __builtin_add_overflow(total, ms, &total))
			return false;
		left -= (size_t)(unit + 1 - units); /* only smaller ones may follow */
		units = unit + 1;
	}
	*ret_ms = total;
	return true;
}

int quantity_parse_duration_ms(const char *text, uint64_t *ret_ms, struct err *err)
{
	if (!parse_duration(text, ret_ms))
		return wrong(
			err, text,
			"a duration: numbers with d, h, m, s or ms, the larger unit first, as in 1m30s");
	return 0;
}

const char *quantity_format_bytes(uint64_t bytes, char buffer[static QUANTITY_TEXT_MAX])
{
	const struct unit *unit = &byte_units[0];

	/* Powers of 1024 are the table's second to sixth rows. */
	for (size_t i = 1; i <= 5 && bytes > 0 && bytes % byte_units[i].factor == 0; i++)
		unit = &byte_units[i];
	(void)snprintf(buffer, QUANTITY_TEXT_MAX, "%" PRIu64 "%s", bytes / unit->factor,
		       unit->suffix);
	return buffer;
}

const char *quantity_format_cpu_millis(uint64_t millis, char buffer[static QUANTITY_TEXT_MAX])
{
	if (millis % 1000 == 0)
		(void)snprintf(buffer, QUANTITY_TEXT_MAX, "%" PRIu64, millis / 1000);
	else
		(void)snprintf(buffer, QUANTITY_TEXT_MAX, "%" PRIu64 "m", millis);
	return buffer;
}

const char *quantity_format_duration_ms(uint64_t ms, char buffer[static QUANTITY_TEXT_MAX])
{
	size_t used = 0;

	(void)snprintf(buffer, QUANTITY_TEXT_MAX, "0");
	for (size_t i = 0; i < ARRAY_SIZE(time_units); i++) {
		uint64_t count = ms / time_units[i].factor;

		ms %= time_units[i].factor;
		if (count > 0)
			used += (size_t)snprintf(buffer + used, QUANTITY_TEXT_MAX - used,
						 "%" PRIu64 "%s", count, time_units[i].suffix);
	}
	return buffer;
}
