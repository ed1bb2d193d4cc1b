#include "agent/json/literal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/json/mapping.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool literal_from_int64(int64_t value, struct literal_integer *ret_value)
{
	ret_value->bits = (uint64_t)value;
	ret_value->is_negative = value < 0;
	return true;
}

bool literal_from_double(double value, struct literal_integer *ret_value)
{
	/* Both bounds are powers of two, hence exact. */
	if (!isfinite(value) || value != trunc(value) || value < -0x1p63 || value >= 0x1p64)
		return false;
	if (value < 0)
		return literal_from_int64((int64_t)value, ret_value);
	*ret_value = (struct literal_integer){ .bits = (uint64_t)value };
	return true;
}

bool literal_parse_integer(const char *text, struct literal_integer *ret_value)
{
	bool is_negative = *text == '-';
	uint64_t value = 0;

	if (is_negative)
		text++;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (!is_digit(*text) || __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return false;
	}
	if (is_negative && value > (uint64_t)INT64_MAX + 1)
		return false;
	ret_value->is_negative = is_negative && value > 0;
	ret_value->bits = is_negative ? -value : value;
	return true;
}

bool literal_fits(const struct literal_integer *value, int64_t low, uint64_t high)
{
	if (value->is_negative)
		return (int64_t)value->bits >= low;
	return value->bits <= high;
}

bool literal_parse_real(const char *text, double *ret_value)
{
	static const struct {
		const char *name;
		double value;
	} names[] = { { "NaN", NAN }, { "Infinity", INFINITY }, { "-Infinity", -INFINITY } };
	double value;
	char *end;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i].name) == 0) {
			*ret_value = names[i].value;
			return true;
		}
	}
	/* strtod(3) takes more than that: spaces, hexadecimal, "inf", "nan(...)". */
	if (!*text || strspn(text, "0123456789+-.eE") != strlen(text) || *text == '+')
		return false;
	value = strtod(text, &end);
	if (*end || !isfinite(value))
		return false;
	*ret_value = value;
	return true;
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (is_digit(c))
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	if (c == '/' || c == '_')
		return 63;
	return -1;
}

bool literal_parse_base64(const char *text, uint8_t *data, size_t *ret_length)
{
	size_t length = strlen(text), used = 0;
	uint32_t held = 0;

	if (length % 4 == 0 && length > 0 && text[length - 1] == '=')
		length -= text[length - 2] == '=' ? 2 : 1;
	if (length % 4 == 1)
		return false;
	for (size_t i = 0; i < length; i++) {
		int digit = base64_digit(text[i]);

		if (digit < 0)
			return false;
		held = held << 6 | (uint32_t)digit;
		/* After the 2nd, 3rd and 4th digit of a group another byte is whole. */
		if (i % 4 != 0)
			data[used++] = (uint8_t)(held >> (6 - 2 * (i % 4)));
	}
	*ret_length = used;
	return true;
}

/* @count digits at *@text, which then is behind them. */
static bool read_digits(const char **text, unsigned count, int *ret_value)
{
	int value = 0;

	for (unsigned i = 0; i < count; i++, (*text)++) {
		if (!is_digit(**text))
			return false;
		value = value * 10 + (**text - '0');
	}
	*ret_value = value;
	return true;
}

static bool read_char(const char **text, char c)
{
	if (**text != c)
		return false;
	(*text)++;
	return true;
}

/* ".5" → 500000000; nothing → 0. */
static bool read_nanos(const char **text, int32_t *ret_nanos)
{
	int32_t nanos = 0;
	unsigned digits = 0;

	if (read_char(text, '.')) {
		for (; is_digit(**text) && digits < 9; digits++, (*text)++)
			nanos = nanos * 10 + (**text - '0');
		if (digits == 0)
			return false;
		for (; digits < 9; digits++)
			nanos *= 10;
	}
	*ret_nanos = nanos;
	return true;
}

static int days_in_month(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && is_leap);
}

/* "2024-01-31T12:00:00" */
static bool read_clock(const char **text, struct tm *ret_tm)
{
	struct tm tm = { 0 };

	if (!read_digits(text, 4, &tm.tm_year) || !read_char(text, '-') ||
	    !read_digits(text, 2, &tm.tm_mon) || !read_char(text, '-') ||
	    !read_digits(text, 2, &tm.tm_mday) || !read_char(text, 'T') ||
	    !read_digits(text, 2, &tm.tm_hour) || !read_char(text, ':') ||
	    !read_digits(text, 2, &tm.tm_min) || !read_char(text, ':') ||
	    !read_digits(text, 2, &tm.tm_sec))
		return false;
	if (tm.tm_year < 1 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
	    tm.tm_mday > days_in_month(tm.tm_year, tm.tm_mon) || tm.tm_hour > 23 ||
	    tm.tm_min > 59 || tm.tm_sec > 59)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*ret_tm = tm;
	return true;
}

/* "Z", "+02:00", "-00:30", in seconds east of Greenwich. */
static bool read_offset(const char **text, int *ret_seconds)
{
	int sign = **text == '-' ? -1 : 1;
	int hours, minutes;

	if (read_char(text, 'Z')) {
		*ret_seconds = 0;
		return true;
	}
	if (!read_char(text, '+') && !read_char(text, '-'))
		return false;
	if (!read_digits(text, 2, &hours) || !read_char(text, ':') ||
	    !read_digits(text, 2, &minutes) || hours > 23 || minutes > 59)
		return false;
	*ret_seconds = sign * (hours * 3600 + minutes * 60);
	return true;
}

bool literal_parse_timestamp(const char *text, Google__Protobuf__Timestamp *timestamp)
{
	int64_t seconds;
	int32_t nanos;
	struct tm tm;
	int offset;

	if (!read_clock(&text, &tm) || !read_nanos(&text, &nanos) || !read_offset(&text, &offset) ||
	    *text)
		return false;
	seconds = (int64_t)timegm(&tm) - offset;
	if (seconds < MAPPING_TIMESTAMP_MIN || seconds > MAPPING_TIMESTAMP_MAX)
		return false;
	timestamp->seconds = seconds;
	timestamp->nanos = nanos;
	return true;
}

bool literal_parse_duration(const char *text, Google__Protobuf__Duration *duration)
{
	int sign = *text == '-' ? -1 : 1;
	int64_t seconds = 0;
	int32_t nanos;

	if (sign < 0)
		text++;
	if (!is_digit(*text))
		return false;
	for (; is_digit(*text); text++) {
		seconds = seconds * 10 + (*text - '0');
		if (seconds > MAPPING_DURATION_MAX)
			return false;
	}
	if (!read_nanos(&text, &nanos) || strcmp(text, "s") != 0)
		return false;
	if (seconds == MAPPING_DURATION_MAX && nanos > 0)
		return false;
	duration->seconds = sign * seconds;
	duration->nanos = sign * nanos;
	return true;
}
