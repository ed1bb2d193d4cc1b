#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "agent/json/protojson.h"
#include "every_type.pb-c.h"
#include "proto/wirecheck.h"

#define EVERYTHING &berth__test__everything__descriptor
#define TREE       &berth__test__tree__descriptor

/* compare_json.py has the mapping itself, against another implementation; here are the failures, the
 * limits, and what is ours alone. */

static void expect_print(const ProtobufCMessage *message, const struct protojson_options *options,
			 const char *expected)
{
	cleanup_free char *text = NULL;
	struct err err = { 0 };

	if (protojson_print(message, options, &text, &err) != 0)
		fail_msg("%s", err.text);
	assert_string_equal(text, expected);
}

static void expect_wrong(const ProtobufCMessageDescriptor *descriptor, const char *json,
			 const char *text)
{
	cleanup_arena struct arena arena;
	struct err err = { 0 };

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	if (protojson_parse(descriptor, json, strlen(json), &arena, &err))
		fail_msg("%s was taken", json);
	assert_int_equal(err.kind, ERR_INVALID);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

static void nothing_set_is_an_empty_object(void **state)
{
	const struct protojson_options pretty = { .pretty = true };
	Berth__Test__Everything message = BERTH__TEST__EVERYTHING__INIT;

	expect_print(&message.base, NULL, "{}");
	expect_print(&message.base, &pretty, "{}");
}

static void pretty_indents_by_two(void **state)
{
	const struct protojson_options pretty = { .pretty = true };
	Berth__Test__Everything message = BERTH__TEST__EVERYTHING__INIT;
	Berth__Test__Everything__Inner inner = BERTH__TEST__EVERYTHING__INNER__INIT;
	char word[] = "x", *words[] = { word, word };

	inner.words = words;
	inner.n_words = 2;
	message.an_int64 = 5;
	message.inner = &inner;
	expect_print(&message.base, &pretty,
		     "{\n"
		     "  \"anInt64\": \"5\",\n"
		     "  \"inner\": {\n"
		     "    \"words\": [\n"
		     "      \"x\",\n"
		     "      \"x\"\n"
		     "    ]\n"
		     "  }\n"
		     "}");
}

static void reals_are_as_short_as_they_can_be(void **state)
{
	Berth__Test__Everything message = BERTH__TEST__EVERYTHING__INIT;

	message.a_double = 0.35;
	message.a_float = 0.1F;
	expect_print(&message.base, NULL, "{\"aDouble\":0.35,\"aFloat\":0.1}");
	message.a_double = -0.0;
	message.a_float = (float)NAN;
	expect_print(&message.base, NULL, "{\"aDouble\":-0.0,\"aFloat\":\"NaN\"}");
}

static void a_maps_last_entry_counts_and_keys_are_sorted(void **state)
{
	char b[] = "b", a[] = "a", one[] = "1", two[] = "2";
	Berth__Test__Everything__LabelsEntry entries[3];
	Berth__Test__Everything__LabelsEntry *labels[] = { &entries[0], &entries[1], &entries[2] };
	Berth__Test__Everything message = BERTH__TEST__EVERYTHING__INIT;

	for (size_t i = 0; i < 3; i++)
		berth__test__everything__labels_entry__init(&entries[i]);
	entries[0].key = b;
	entries[0].value = one;
	entries[1].key = a;
	entries[1].value = one;
	entries[2].key = b;
	entries[2].value = two;
	message.labels = labels;
	message.n_labels = 3;
	expect_print(&message.base, NULL, "{\"labels\":{\"a\":\"1\",\"b\":\"2\"}}");
}

static void an_unknown_any_is_written_with_its_bytes(void **state)
{
	Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
	Berth__Test__Everything message = BERTH__TEST__EVERYTHING__INIT;
	char type[] = "type.googleapis.com/no.Such";
	uint8_t bytes[] = { 'h', 'i' };

	any.type_url = type;
	any.value = (ProtobufCBinaryData){ .len = 2, .data = bytes };
	message.detail = &any;
	expect_print(&message.base, NULL,
		     "{\"detail\":{\"@type\":\"type.googleapis.com/no.Such\",\"value\":\"aGk=\"}}");
}

static void what_json_cannot_hold_is_an_error(void **state)
{
	Google__Protobuf__Timestamp when = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
	Google__Protobuf__Duration span = GOOGLE__PROTOBUF__DURATION__INIT;
	Berth__Test__Everything message = BERTH__TEST__EVERYTHING__INIT;
	char bad[] = "\xff", *text = NULL;
	struct err err = { 0 };

	message.when = &when;
	when.seconds = INT64_MAX;
	assert_true(protojson_print(&message.base, NULL, &text, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	when.seconds = 0;
	when.nanos = -1;
	assert_true(protojson_print(&message.base, NULL, &text, &err) < 0);
	message.when = NULL;
	message.how_long = &span;
	span.seconds = 1;
	span.nanos = -1;
	assert_true(protojson_print(&message.base, NULL, &text, &err) < 0);
	span.seconds = INT64_MIN;
	assert_true(protojson_print(&message.base, NULL, &text, &err) < 0);
	message.how_long = NULL;
	message.a_string = bad;
	assert_true(protojson_print(&message.base, NULL, &text, &err) < 0);
	assert_non_null(strstr(err.text, "berth.test.Everything"));
	assert_null(text);
}

static void a_full_disk_is_an_error(void **state)
{
	Berth__Test__Everything message = BERTH__TEST__EVERYTHING__INIT;
	cleanup_file FILE *full = fopen("/dev/full", "w");
	struct err err = { 0 };

	assert_non_null(full);
	setbuf(full, NULL);
	assert_int_equal(protojson_write(full, &message.base, NULL, &err), -EIO);
	assert_int_equal(err.kind, ERR_INTERNAL);
}

static void a_map_told_by_its_shape_is_no_list(void **state)
{
	cleanup_arena struct arena arena;
	const char *json = "{\"labels\":{\"a\":\"b\"},\"innerByNumber\":{\"-1\":{\"name\":\"n\"}}}";
	Berth__Test__Everything *got;

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	got = protojson_parse(EVERYTHING, json, strlen(json), &arena, NULL);
	assert_non_null(got);
	assert_int_equal(got->n_labels, 1);
	assert_string_equal(got->labels[0]->value, "b");
	assert_int_equal(got->inner_by_number[0]->key, -1);
	assert_string_equal(got->inner_by_number[0]->value->name, "n");
	expect_wrong(EVERYTHING, "{\"labels\":[{\"key\":\"a\"}]}", "labels: must be an object");
}

static void presence_is_read(void **state)
{
	cleanup_arena struct arena arena;
	const char *json = "{\"maybeInt32\":0,\"maybeString\":null,\"choiceText\":\"\"}";
	Berth__Test__Everything *got;

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	got = protojson_parse(EVERYTHING, json, strlen(json), &arena, NULL);
	assert_non_null(got);
	assert_int_equal(got->_maybe_int32_case, BERTH__TEST__EVERYTHING___MAYBE_INT32_MAYBE_INT32);
	assert_int_equal(got->_maybe_string_case, 0);
	assert_int_equal(got->choice_case, BERTH__TEST__EVERYTHING__CHOICE_CHOICE_TEXT);
}

static void the_path_is_in_the_sentence(void **state)
{
	expect_wrong(EVERYTHING, "{\"inners\":[{},{\"words\":[\"x\",5]}]}",
		     "Everything: inners[1].words[1]: must be a string, not a number");
	expect_wrong(EVERYTHING, "{\"spanByName\":{\"a b\":\"x\"}}",
		     "Everything: spanByName[\"a b\"]: must be seconds");
	expect_wrong(EVERYTHING, "{\"anInt32\":2147483648}",
		     "anInt32: must be a whole number from -2147483648 to 2147483647");
	expect_wrong(EVERYTHING, "{\"detail\":{\"@type\":\"x/google.rpc.ErrorInfo\",\"domain\":1}}",
		     "detail.domain: must be a string");
}

static void unknown_fields_suggest_the_nearest(void **state)
{
	expect_wrong(EVERYTHING, "{\"inner\":{\"nubmer\":1}}",
		     "inner: unknown field \"nubmer\" of Inner; did you mean number?");
	expect_wrong(EVERYTHING, "{\"maybeStrin\":1}", "did you mean maybeString?");
	expect_wrong(EVERYTHING, "{\"zzzzzz\":1}", "unknown field \"zzzzzz\" of Everything");
	expect_wrong(EVERYTHING, "{\"a\\u001bb\":1}", "unknown field \"a\\x1bb\"");
	expect_wrong(EVERYTHING, "{\"colour\":\"COLOUR_ERD\"}", "COLOUR_RED");
}

static void names_given_twice_are_wrong(void **state)
{
	expect_wrong(EVERYTHING, "{\"aBool\":true,\"aBool\":true}", "line 1");
	expect_wrong(EVERYTHING, "{\"aBool\":true,\"a_bool\":true}", "a_bool: is given twice");
	expect_wrong(EVERYTHING, "{\"a_bool\":null,\"aBool\":true}", "given twice");
	expect_wrong(EVERYTHING, "{\"labels\":{\"a\":\"1\",\"a\":\"2\"}}", "line 1");
	expect_wrong(EVERYTHING, "{\"choiceText\":\"a\",\"choiceBool\":true}",
		     "choiceBool: excludes choiceText");
}

static void syntax_errors_name_the_line(void **state)
{
	expect_wrong(EVERYTHING, "{\n\"aBool\": tru\n}", "line 2");
	expect_wrong(EVERYTHING, "{\"aString\":\"\xff\"}", "0xff");
	expect_wrong(EVERYTHING, "{\"aString\":\"a\\u0000b\"}", "line 1");
	expect_wrong(EVERYTHING, "{\"aUint64\":18446744073709551615}", "as strings");
	expect_wrong(EVERYTHING, "\x1b[2J", "line 1");
	expect_wrong(EVERYTHING, "[]", "must be an object, not a list");
	expect_wrong(EVERYTHING, "null", "line 1");
	expect_wrong(EVERYTHING, "{\"inner\":[]}", "inner: must be an object, not a list");
}

/* {"left":{"left": ... }} of @depth messages */
static char *nested(size_t depth)
{
	static char text[20000];
	size_t used = 0;

	for (size_t i = 1; i < depth; i++)
		used += (size_t)sprintf(text + used, "{\"left\":");
	used += (size_t)sprintf(text + used, "{}");
	memset(text + used, '}', depth - 1);
	text[used + depth - 1] = '\0';
	return text;
}

static void depth_32_is_read_and_33_is_not(void **state)
{
	cleanup_arena struct arena arena;
	const char *text = nested(32);

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	assert_non_null(protojson_parse(TREE, text, strlen(text), &arena, NULL));
	expect_wrong(TREE, nested(33), "nested too deeply");
	expect_wrong(TREE, nested(1900), "nested too deeply");
}

static void the_budget_holds(void **state)
{
	const size_t n = 100000;
	cleanup_free char *text = malloc(3 * n + 20);
	cleanup_arena struct arena arena;
	struct err err = { 0 };
	size_t used = (size_t)sprintf(text, "{\"branches\":[{}");

	for (size_t i = 0; i < n; i++, used += 3)
		memcpy(text + used, ",{}", 3);
	memcpy(text + used, "]}", 3);
	arena_init(&arena, 1 << 20);
	assert_null(protojson_parse(TREE, text, strlen(text), &arena, &err));
	assert_int_equal(err.kind, ERR_EXHAUSTED);
	assert_null(protojson_parse(TREE, text, PROTOJSON_TEXT_MAX + 1, &arena, &err));
	assert_int_equal(err.kind, ERR_EXHAUSTED);
}

static void every_allocation_may_fail(void **state)
{
	const char *json =
		"{\"strings\":[\"a\"],\"labels\":{\"a\":\"b\"},\"inner\":{\"name\":\"x\"},"
		"\"someBytes\":\"aGk=\",\"inners\":[{}],"
		"\"detail\":{\"@type\":\"x/google.rpc.ErrorInfo\",\"reason\":\"r\"}}";
	bool is_read = false;

	for (size_t room = 0; room < 8000 && !is_read; room += 16) {
		cleanup_arena struct arena arena;
		struct err err = { 0 };

		arena_init(&arena, room);
		arena.next = arena.end; /* without its first bytes */
		is_read = protojson_parse(EVERYTHING, json, strlen(json), &arena, &err);
		if (!is_read)
			assert_int_equal(err.kind, ERR_EXHAUSTED);
	}
	assert_true(is_read);
}

static void times_are_exact(void **state)
{
	cleanup_arena struct arena arena;
	const char *json = "{\"when\":\"2024-02-29T23:59:59.5-01:30\",\"howLong\":\"-0.25s\"}";
	Berth__Test__Everything *got;

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	got = protojson_parse(EVERYTHING, json, strlen(json), &arena, NULL);
	assert_non_null(got);
	assert_int_equal(got->when->seconds, 1709256599);
	assert_int_equal(got->when->nanos, 500000000);
	assert_int_equal(got->how_long->seconds, 0);
	assert_int_equal(got->how_long->nanos, -250000000);
	expect_wrong(EVERYTHING, "{\"when\":\"0001-01-01T00:00:00+00:01\"}",
		     "when: must be a time");
	expect_wrong(EVERYTHING, "{\"when\":\"2023-02-29T00:00:00Z\"}", "when");
	expect_wrong(EVERYTHING, "{\"when\":\"2024-01-01T00:00:00.1234567890Z\"}", "when");
	expect_wrong(EVERYTHING, "{\"when\":\"2024-01-01T00:00:00.Z\"}", "when");
	expect_wrong(EVERYTHING, "{\"when\":\"2024-01-01t00:00:00Z\"}", "when");
	expect_wrong(EVERYTHING, "{\"when\":\"2024-1-1T00:00:00Z\"}", "when");
	expect_wrong(EVERYTHING, "{\"howLong\":\"s\"}", "howLong");
	expect_wrong(EVERYTHING, "{\"howLong\":\"1.s\"}", "howLong");
	expect_wrong(EVERYTHING, "{\"howLong\":\"+1s\"}", "howLong");
	expect_wrong(EVERYTHING, "{\"howLong\":\"315576000000.1s\"}", "howLong");
}

static void numbers_in_strings_are_strict(void **state)
{
	expect_wrong(EVERYTHING, "{\"aDouble\":\"0x10\"}", "aDouble");
	expect_wrong(EVERYTHING, "{\"aDouble\":\" 1\"}", "aDouble");
	expect_wrong(EVERYTHING, "{\"aDouble\":\"inf\"}", "aDouble");
	expect_wrong(EVERYTHING, "{\"aDouble\":\"\"}", "aDouble");
	expect_wrong(EVERYTHING, "{\"aDouble\":\"1e999\"}", "aDouble");
	expect_wrong(EVERYTHING, "{\"anInt64\":\" 1\"}", "anInt64");
	expect_wrong(EVERYTHING, "{\"anInt64\":\"+1\"}", "anInt64");
	expect_wrong(EVERYTHING, "{\"anInt64\":\"-\"}", "anInt64");
	expect_wrong(EVERYTHING, "{\"anInt64\":1e19}", "anInt64");
	expect_wrong(EVERYTHING, "{\"someBytes\":\"a\"}", "base64");
	expect_wrong(EVERYTHING, "{\"someBytes\":\"====\"}", "base64");
	expect_wrong(EVERYTHING, "{\"someBytes\":\"aG k\"}", "base64");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_set_is_an_empty_object),
		cmocka_unit_test(pretty_indents_by_two),
		cmocka_unit_test(reals_are_as_short_as_they_can_be),
		cmocka_unit_test(a_maps_last_entry_counts_and_keys_are_sorted),
		cmocka_unit_test(an_unknown_any_is_written_with_its_bytes),
		cmocka_unit_test(what_json_cannot_hold_is_an_error),
		cmocka_unit_test(a_full_disk_is_an_error),
		cmocka_unit_test(a_map_told_by_its_shape_is_no_list),
		cmocka_unit_test(presence_is_read),
		cmocka_unit_test(the_path_is_in_the_sentence),
		cmocka_unit_test(unknown_fields_suggest_the_nearest),
		cmocka_unit_test(names_given_twice_are_wrong),
		cmocka_unit_test(syntax_errors_name_the_line),
		cmocka_unit_test(depth_32_is_read_and_33_is_not),
		cmocka_unit_test(the_budget_holds),
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(times_are_exact),
		cmocka_unit_test(numbers_in_strings_are_strict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
