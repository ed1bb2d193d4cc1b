#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proto/cleanup.h"
#include "proto/utf8.h"

static void valid_texts_are_valid(void **state)
{
	static const char *const texts[] = {
		"",
		"plain",
		"\x7f",
		"\xc2\x80",
		"\xdf\xbf",
		"\xe0\xa0\x80",
		"\xed\x9f\xbf",
		"\xee\x80\x80",
		"\xef\xbf\xbf",
		"\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf",
		("12345678\xc3\xa4"
		 "12345678"),
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_true(utf8_valid(texts[i], strlen(texts[i])));
	assert_true(utf8_valid("a\0b", 3));
	assert_true(utf8_valid(NULL, 0));
}

static void invalid_texts_are_not(void **state)
{
	static const char *const texts[] = {
		"\x80",
		"\xbf",
		"\xc0\x80",
		"\xc1\xbf",
		"\xc2",
		("\xc2"
		 "a"),
		"\xe0\x9f\xbf",
		"\xe0\xa0",
		("\xe0\xa0"
		 "a"),
		"\xed\xa0\x80",
		"\xed\xbf\xbf",
		"\xf0\x8f\xbf\xbf",
		"\xf0\x90\x80",
		"\xf4\x90\x80\x80",
		"\xf5\x80\x80\x80",
		"\xf8\x88\x80\x80\x80",
		"\xfe",
		"\xff",
		"1234567\xff",
		("12345678\xff"
		 "1234567"),
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_false(utf8_valid(texts[i], strlen(texts[i])));
}

static void decode_gives_code_and_length(void **state)
{
	size_t bytes = 0;

	assert_int_equal(utf8_decode("A", 1, &bytes), 'A');
	assert_int_equal(bytes, 1);
	assert_int_equal(utf8_decode("\xe2\x82\xac", 3, &bytes), 0x20ac);
	assert_int_equal(bytes, 3);
	assert_int_equal(utf8_decode("\xf0\x9f\x98\x80", 4, &bytes), 0x1f600);
	assert_int_equal(bytes, 4);
	assert_int_equal(utf8_decode("\xe2\x82\xac", 2, &bytes), -1);
	assert_int_equal(utf8_decode("", 0, &bytes), -1);
}

static void what_moves_a_terminal_is_control(void **state)
{
	static const int32_t control[] = { 0,      '\t',   '\n',   0x1b,   0x7f,   0x85,
					   0x9f,   0x61c,  0x200e, 0x200f, 0x2028, 0x2029,
					   0x202a, 0x202e, 0x2066, 0x2069 };
	static const int32_t plain[] = { ' ', '~', 0xa0, 0xe4, 0x200d, 0x2027, 0x202f, 0x1f600 };

	for (size_t i = 0; i < ARRAY_SIZE(control); i++)
		assert_true(utf8_is_control(control[i]));
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		assert_false(utf8_is_control(plain[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(valid_texts_are_valid),
		cmocka_unit_test(invalid_texts_are_not),
		cmocka_unit_test(decode_gives_code_and_length),
		cmocka_unit_test(what_moves_a_terminal_is_control),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
