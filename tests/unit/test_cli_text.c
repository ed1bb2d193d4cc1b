#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "agent/cli/text.h"

static void expect_escaped(const char *bytes, const char *expected)
{
	char buffer[TEXT_ESCAPED_MAX];

	assert_string_equal(text_escape(bytes, strlen(bytes), buffer), expected);
}

static void what_steers_a_terminal_is_escaped(void **state)
{
	expect_escaped("plain text, \xc3\xa9t\xc3\xa9", "plain text, \xc3\xa9t\xc3\xa9");
	expect_escaped("\033[2J\033]52;c;x\007", "\\x1b[2J\\x1b]52;c;x\\x07");
	expect_escaped("a\rb\nc\td", "a\\x0db\\x0ac\\x09d");
	expect_escaped("\xc2\x9b"
		       "31m",
		       "\\xc2\\x9b31m"); /* CSI as one C1 character */
	expect_escaped("\xe2\x80\xae"
		       "txt.exe",
		       "\\u{202e}txt.exe");
	expect_escaped("\xff\xc0\x80\xed\xa0\x80", "\\xff\\xc0\\x80\\xed\\xa0\\x80");
}

static void a_long_text_is_cut_between_characters(void **state)
{
	char buffer[TEXT_ESCAPED_MAX], bytes[TEXT_ESCAPED_MAX * 2];

	memset(bytes, '\033', sizeof(bytes));
	(void)text_escape(bytes, sizeof(bytes), buffer);
	assert_true(strlen(buffer) < TEXT_ESCAPED_MAX);
	assert_int_equal(strlen(buffer) % 4, 0);
}

static void a_stream_keeps_its_tabs_and_raw_keeps_all(void **state)
{
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);

	text_write(file, "a\tb\033", 4, false);
	text_write(file, "a\tb\033", 4, true);
	assert_int_equal(fclose(file), 0);
	assert_string_equal(text, "a\tb\\x1ba\tb\033");
	free(text);
}

static void figures_read_well(void **state)
{
	char text[TEXT_SHORT_MAX];

	assert_string_equal(text_bytes(0, text), "0 B");
	assert_string_equal(text_bytes(1023, text), "1023 B");
	assert_string_equal(text_bytes(64 << 20, text), "64.0 MiB");
	assert_string_equal(text_age(59000000000, text), "59s");
	assert_string_equal(text_age(7980000000000, text), "2h13m");
}

static void a_table_lines_up_and_shows_empty_cells(void **state)
{
	static const char *const heads[] = { "ID", "STATE", NULL };
	struct table *table = table_new(heads);
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);

	table_add(table, "%s", "a-long-one");
	table_add(table, "%s", "");
	table_end(table, file);
	assert_int_equal(fclose(file), 0);
	assert_string_equal(text, "ID          STATE\na-long-one  -\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_steers_a_terminal_is_escaped),
		cmocka_unit_test(a_long_text_is_cut_between_characters),
		cmocka_unit_test(a_stream_keeps_its_tabs_and_raw_keeps_all),
		cmocka_unit_test(figures_read_well),
		cmocka_unit_test(a_table_lines_up_and_shows_empty_cells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
