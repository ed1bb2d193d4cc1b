#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proto/cleanup.h"
#include "proto/quantity.h"

struct good {
	const char *text;
	uint64_t value;
};

static void expect_good(int (*parse)(const char *, uint64_t *, struct err *),
			const struct good *good, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t value = 77;

		if (parse(good[i].text, &value, NULL) != 0)
			fail_msg("%s was refused", good[i].text);
		if (value != good[i].value)
			fail_msg("%s became %lu", good[i].text, value);
	}
}

static void expect_bad(int (*parse)(const char *, uint64_t *, struct err *), const char *const *bad,
		       size_t n, const char *allowed)
{
	for (size_t i = 0; i < n; i++) {
		struct err err = { 0 };
		uint64_t value = 77;

		if (parse(bad[i], &value, &err) != -EINVAL)
			fail_msg("%s was taken for %lu", bad[i] ? bad[i] : "NULL", value);
		assert_int_equal(value, 77);
		assert_int_equal(err.kind, ERR_INVALID);
		assert_non_null(strstr(err.text, allowed));
	}
}

static int parse_any(const char *text, uint64_t *ret_value, struct err *err)
{
	return quantity_parse_decimal(text, 0, UINT64_MAX, ret_value, err);
}

static int parse_5_to_10(const char *text, uint64_t *ret_value, struct err *err)
{
	return quantity_parse_decimal(text, 5, 10, ret_value, err);
}

static void decimals(void **state)
{
	static const struct good good[] = {
		{ "0", 0 },
		{ "7", 7 },
		{ "007", 7 },
		{ "18446744073709551615", UINT64_MAX },
	};
	static const char *const bad[] = {
		NULL,
		"",
		" 1",
		"1 ",
		"+1",
		"-1",
		"-0",
		"0x10",
		"1e3",
		"1.0",
		"1_000",
		"\xd9\xa1",
		"18446744073709551616",
		"99999999999999999999999999",
		"1\n",
	};
	static const struct good inside[] = { { "5", 5 }, { "10", 10 } };
	static const char *const outside[] = { "4", "11", "0" };

	expect_good(parse_any, good, ARRAY_SIZE(good));
	expect_bad(parse_any, bad, ARRAY_SIZE(bad), "whole number from 0 to 18446744073709551615");
	expect_good(parse_5_to_10, inside, ARRAY_SIZE(inside));
	expect_bad(parse_5_to_10, outside, ARRAY_SIZE(outside), "whole number from 5 to 10");
}

static void sizes(void **state)
{
	static const struct good good[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "64Mi", UINT64_C(64) << 20 },
		{ "1G", 1000000000 },
		{ "1K", 1000 },
		{ "1k", 1000 },
		{ "1Ki", 1024 },
		{ "1.5Gi", UINT64_C(3) << 29 },
		{ "0.5k", 500 },
		{ "1.001M", 1001000 },
		{ "2Ti", UINT64_C(2) << 40 },
		{ "16383Pi", UINT64_C(16383) << 50 },
		{ "1.5Pi", UINT64_C(3) << 49 },
		{ "2.0", 2 },
		{ "18446744073709551615", UINT64_MAX },
		{ "1P", UINT64_C(1000000000000000) },
	};
	static const char *const bad[] = {
		NULL,
		"",
		"Mi",
		"1mi",
		"1 Mi",
		"1MiB",
		"1B",
		"-1Mi",
		"+1Mi",
		"1.Mi",
		".5Mi",
		"1.5",
		"0.1Ki",
		"1,5Gi",
		"1MiMi",
		"1e3",
		"0x1",
		"16384Pi",
		"18446744073709551616",
		"1.0000000001Gi",
		"1Mi ",
		"1m",
		"1\n",
	};

	expect_good(quantity_parse_bytes, good, ARRAY_SIZE(good));
	expect_bad(quantity_parse_bytes, bad, ARRAY_SIZE(bad), "64Mi");
}

static void processors(void **state)
{
	static const struct good good[] = {
		{ "2", 2000 },
		{ "0.5", 500 },
		{ "500m", 500 },
		{ "0", 0 },
		{ "1.001", 1001 },
		{ "0m", 0 },
		{ "18446744073709551615m", UINT64_MAX },
	};
	static const char *const bad[] = {
		NULL, "",    "m",  "0.5m",   "0.0005",
		"-1", "1 m", "1M", "2cores", "18446744073709551615",
	};

	expect_good(quantity_parse_cpu_millis, good, ARRAY_SIZE(good));
	expect_bad(quantity_parse_cpu_millis, bad, ARRAY_SIZE(bad), "500m");
}

static void durations(void **state)
{
	static const struct good good[] = {
		{ "0", 0 },           { "0s", 0 },
		{ "10s", 10000 },     { "1m30s", 90000 },
		{ "250ms", 250 },     { "1.5h", 5400000 },
		{ "2d", 172800000 },  { "1d2h3m4s5ms", 93784005 },
		{ "1h5ms", 3600005 }, { "0.001s", 1 },
		{ "90s", 90000 },     { "18446744073709551615ms", UINT64_MAX },
	};
	static const char *const bad[] = {
		NULL,
		"",
		"10",
		"s",
		"10S",
		"-1s",
		"1s1m",
		"1s1s",
		"1 s",
		"1m 30s",
		"0.5ms",
		"0.0001s",
		"1us",
		"1w",
		"1s ",
		"1.5",
		"00",
		"1m30",
		"18446744073709551615s",
		"18446744073709551615ms1ms",
		"1s18446744073709551615ms",
		"1..5s",
	};

	expect_good(quantity_parse_duration_ms, good, ARRAY_SIZE(good));
	expect_bad(quantity_parse_duration_ms, bad, ARRAY_SIZE(bad), "1m30s");
}

static void what_is_written_reads_back(void **state)
{
	static const uint64_t values[] = {
		0,
		1,
		999,
		1000,
		1023,
		1024,
		1500,
		60000,
		90000,
		65536,
		1 << 20,
		86400000,
		93784005,
		UINT64_C(3) << 29,
		UINT64_C(1) << 50,
		UINT64_C(1) << 60,
		UINT64_MAX,
		UINT64_MAX - 1,
	};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		char buffer[QUANTITY_TEXT_MAX];
		uint64_t got = 77;

		assert_int_equal(
			quantity_parse_bytes(quantity_format_bytes(values[i], buffer), &got, NULL),
			0);
		assert_int_equal(got, values[i]);
		assert_int_equal(quantity_parse_cpu_millis(
					 quantity_format_cpu_millis(values[i], buffer), &got, NULL),
				 0);
		assert_int_equal(got, values[i]);
		assert_int_equal(
			quantity_parse_duration_ms(quantity_format_duration_ms(values[i], buffer),
						   &got, NULL),
			0);
		assert_int_equal(got, values[i]);
	}
}

static void the_written_form_is_short(void **state)
{
	char buffer[QUANTITY_TEXT_MAX];

	assert_string_equal(quantity_format_bytes(UINT64_C(64) << 20, buffer), "64Mi");
	assert_string_equal(quantity_format_bytes(1000, buffer), "1000");
	assert_string_equal(quantity_format_cpu_millis(1500, buffer), "1500m");
	assert_string_equal(quantity_format_cpu_millis(2000, buffer), "2");
	assert_string_equal(quantity_format_duration_ms(90000, buffer), "1m30s");
	assert_string_equal(quantity_format_duration_ms(0, buffer), "0");
	assert_string_equal(quantity_format_duration_ms(250, buffer), "250ms");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decimals),
		cmocka_unit_test(sizes),
		cmocka_unit_test(processors),
		cmocka_unit_test(durations),
		cmocka_unit_test(what_is_written_reads_back),
		cmocka_unit_test(the_written_form_is_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
