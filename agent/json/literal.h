/*
 * The texts that stand for values in JSON: numbers in strings, base64, times and durations.
 *
 * Every function returns whether the text is right; the result is written only then.
 */
#pragma once

#include <google/protobuf/duration.pb-c.h>
#include <google/protobuf/timestamp.pb-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number from INT64_MIN to UINT64_MAX: two's complement, and its sign. */
struct literal_integer {
	uint64_t bits;
	bool is_negative;
};

bool literal_from_int64(int64_t value, struct literal_integer *ret_value);
bool literal_from_double(double value, struct literal_integer *ret_value); /* if it is whole */
bool literal_parse_integer(const char *text, struct literal_integer *ret_value);
bool literal_fits(const struct literal_integer *value, int64_t low, uint64_t high);

/* Decimal, with or without an exponent, or "NaN", "Infinity", "-Infinity". Infinite only when it says so. */
bool literal_parse_real(const char *text, double *ret_value);

/* Base64 of RFC 4648, either alphabet, with or without its padding. @data has room for strlen(@text). */
bool literal_parse_base64(const char *text, uint8_t *data, size_t *ret_length);

/* RFC 3339 with up to nine decimals, "Z" or an offset; the years 1 to 9999. */
bool literal_parse_timestamp(const char *text, Google__Protobuf__Timestamp *timestamp);

/* Seconds with up to nine decimals and an "s": "-1.5s". */
bool literal_parse_duration(const char *text, Google__Protobuf__Duration *duration);
