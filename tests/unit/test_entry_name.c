/* Names of entries of archives: where they lead, which are marks, which are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sandbox/unpack/entry_name.h"

static struct entry_name name;
static struct err err;

static void expect(const char *text, enum entry_kind kind, const char *parent, const char *last)
{
	assert_int_equal(entry_name_parse(text, &name, &err), 0);
	assert_int_equal(name.kind, kind);
	assert_string_equal(name.parent, parent);
	assert_string_equal(name.last, last);
}

static void expect_refused(const char *text, const char *why)
{
	err = (struct err){ 0 };
	assert_true(entry_name_parse(text, &name, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_non_null(strstr(err.text, why));
}

static void names_are_taken_apart(void **state)
{
	expect("a", ENTRY_NAMED, "", "a");
	expect("./a/b//c/./d/", ENTRY_NAMED, "a/b/c", "d");
	expect("...", ENTRY_NAMED, "", "...");
	expect("..a/b..", ENTRY_NAMED, "..a", "b..");
	expect("a\n\x01\xff", ENTRY_NAMED, "", "a\n\x01\xff");
	expect(".", ENTRY_ROOT, "", "");
	expect("./", ENTRY_ROOT, "", "");
}

static void marks_are_known(void **state)
{
	expect(".wh.a", ENTRY_WHITEOUT, "", "a");
	expect("d/.wh..hidden", ENTRY_WHITEOUT, "d", ".hidden");
	expect("d/.wh..wh..opq", ENTRY_OPAQUE, "d", ".wh..wh..opq");
	expect(".wh..wh..opq", ENTRY_OPAQUE, "", ".wh..wh..opq");
	expect(".wh..wh.plnk", ENTRY_IGNORED, "", ".wh..wh.plnk");
	expect("d/.wh", ENTRY_NAMED, "d", ".wh");
	expect_refused("d/.wh.", "marks nothing");
	expect_refused("d/.wh..", "marks nothing");
	expect_refused("d/.wh...", "marks nothing");
	expect_refused(".wh.d/f", "no directory");
	expect_refused("a/.wh..wh..opq/f", "no directory");
}

static void ways_out_are_refused(void **state)
{
	expect_refused("", "no name");
	expect_refused(NULL, "no name");
	expect_refused("/", "absolute");
	expect_refused("/etc", "absolute");
	expect_refused("..", "upwards");
	expect_refused("../a", "upwards");
	expect_refused("a/..", "upwards");
	expect_refused("a/../b", "upwards");
	expect_refused("./../b", "upwards");
}

static void sizes_are_bounded(void **state)
{
	static char text[3 * ENTRY_PATH_MAX];

	memset(text, 'a', NAME_MAX);
	text[NAME_MAX] = '\0';
	assert_int_equal(entry_name_parse(text, &name, &err), 0);
	text[NAME_MAX] = 'a';
	text[NAME_MAX + 1] = '\0';
	expect_refused(text, "too long");
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = i % 2 ? '/' : 'a';
	text[2 * ENTRY_DEPTH_MAX + 1] = '\0';
	assert_int_equal(entry_name_parse(text, &name, &err), 0);
	text[2 * ENTRY_DEPTH_MAX + 1] = '/';
	text[2 * ENTRY_DEPTH_MAX + 3] = '\0';
	expect_refused(text, "too deep");
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = i % 200 == 199 ? '/' : 'a';
	expect_refused(text, "too long");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_taken_apart),
		cmocka_unit_test(marks_are_known),
		cmocka_unit_test(ways_out_are_refused),
		cmocka_unit_test(sizes_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
