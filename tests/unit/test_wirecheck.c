#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "every_type.pb-c.h"
#include "proto/wirecheck.h"

#define EVERYTHING &berth__test__everything__descriptor
#define TREE       &berth__test__tree__descriptor

/* A message that is bad for the reason @text. */
static void expect_wrong(const ProtobufCMessageDescriptor *descriptor, const char *bytes,
			 size_t length, const char *text)
{
	struct err err = { 0 };

	assert_int_equal(wire_check(descriptor, bytes, length, &err), -EINVAL);
	assert_int_equal(err.kind, ERR_INVALID);
	if (!strstr(err.text, text))
		fail_msg("\"%s\" does not say \"%s\"", err.text, text);
}

#define expect_right(descriptor, literal) \
	assert_int_equal(wire_check(descriptor, literal, sizeof(literal) - 1, NULL), 0)
#define expect_wrong_literal(descriptor, literal, text) \
	expect_wrong(descriptor, literal, sizeof(literal) - 1, text)

/* @depth messages, each the `left` of the one before, built from the inside. */
static size_t nest(uint8_t *bytes, size_t size, unsigned depth)
{
	size_t length = 0;

	for (unsigned i = 1; i < depth; i++) {
		uint8_t head[8] = { 0x0a };
		size_t head_length = 1, rest = length;

		do {
			head[head_length++] = (uint8_t)(rest & 0x7f) | (rest > 0x7f ? 0x80 : 0);
			rest >>= 7;
		} while (rest);
		assert_true(length + head_length <= size);
		memmove(bytes + head_length, bytes, length);
		memcpy(bytes, head, head_length);
		length += head_length;
	}
	return length;
}

static void the_empty_message_is_right(void **state)
{
	assert_int_equal(wire_check(EVERYTHING, NULL, 0, NULL), 0);
}

static void depth_32_is_right_and_33_is_not(void **state)
{
	uint8_t bytes[4096];
	size_t length = nest(bytes, sizeof(bytes), 32);
	struct err err = { 0 };

	assert_int_equal(wire_check(TREE, bytes, length, &err), 0);
	length = nest(bytes, sizeof(bytes), 33);
	expect_wrong(TREE, (char *)bytes, length, "left.left.left");
	expect_wrong(TREE, (char *)bytes, length, "nested too deeply");
}

static void a_stack_of_9000_levels_is_rejected(void **state)
{
	static uint8_t bytes[40000];

	expect_wrong(TREE, (char *)bytes, nest(bytes, sizeof(bytes), 9000), "nested too deeply");
}

static void text_must_be_utf8(void **state)
{
	expect_right(TREE, "\x1a\x03\xe2\x82\xac");
	expect_wrong_literal(TREE, "\x1a\x02\xc0\x80", "berth.test.Tree: leaf: not valid UTF-8");
	expect_wrong_literal(TREE, "\x1a\x03\xed\xa0\x80", "UTF-8"); /* surrogate */
	expect_wrong_literal(TREE, "\x1a\x01\xff", "UTF-8");
	expect_wrong_literal(TREE, "\x1a\x02\xe2\x82", "UTF-8");
	expect_right(EVERYTHING, "\x7a\x01\xff"); /* bytes may be anything */
}

static void text_must_have_no_nul(void **state)
{
	expect_wrong_literal(TREE,
			     "\x1a\x03"
			     "a\0b",
			     "berth.test.Tree: leaf: a NUL");
	expect_right(EVERYTHING, "\x7a\x03"
				 "a\0b");
}

static void the_path_names_the_element(void **state)
{
	/* branches[1].branches[0].leaf */
	expect_wrong_literal(TREE, "\x12\x00\x1a\x01x\x12\x05\x12\x03\x1a\x01\xff",
			     "branches[1].branches[0].leaf: not valid UTF-8");
}

static void groups_and_unknown_wire_types_are_wrong(void **state)
{
	expect_wrong_literal(TREE, "\x0b\x0c", "groups are not supported");
	expect_wrong_literal(TREE, "\xa3\x06", "100: groups");
	expect_wrong_literal(TREE, "\x0c", "groups");
	expect_wrong_literal(TREE, "\x0e", "no such wire type");
	expect_wrong_literal(TREE, "\x0f", "no such wire type");
}

static void field_numbers_have_a_range(void **state)
{
	expect_wrong_literal(TREE, "\x02\x00", "no field starts");
	expect_wrong_literal(TREE, "\x00\x00", "no field starts");
	expect_right(TREE, "\xf8\xff\xff\xff\x0f\x00"); /* 2^29 - 1 */
	expect_wrong_literal(TREE, "\xf8\xff\xff\xff\x1f\x00", "no field starts");
	expect_wrong_literal(TREE, "\xf8\xff\xff\xff\x8f\x00\x00", "no field starts");
}

static void numbers_are_at_most_64_bits(void **state)
{
	expect_right(EVERYTHING, "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"); /* -1 */
	expect_wrong_literal(EVERYTHING, "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
			     "an_int32: the number is cut off or too long");
	expect_wrong_literal(EVERYTHING, "\x18\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00",
			     "an_int32: the number");
	expect_wrong_literal(EVERYTHING, "\x18\xff", "an_int32: the number");
	expect_wrong_literal(EVERYTHING, "\x18", "an_int32: the number");
}

static void fixed_numbers_must_be_whole(void **state)
{
	expect_right(EVERYTHING, "\x4d"
				 "1234");
	expect_wrong_literal(EVERYTHING,
			     "\x4d"
			     "123",
			     "a_fixed32: the number is cut off");
	expect_right(EVERYTHING, "\x51"
				 "12345678");
	expect_wrong_literal(EVERYTHING,
			     "\x51"
			     "1234567",
			     "a_fixed64: the number is cut off");
}

static void a_field_has_its_own_wire_type(void **state)
{
	expect_wrong_literal(EVERYTHING,
			     "\x1d"
			     "1234",
			     "an_int32: encoded as another type");
	expect_wrong_literal(EVERYTHING, "\x70\x01", "a_string: encoded as another type");
	expect_wrong_literal(EVERYTHING, "\x1a\x01\x01", "an_int32: encoded as another type");
	expect_right(EVERYTHING, "\xb8\x01\x05\xba\x01\x02\x06\x07"); /* int32s, both ways */
}

static void packed_numbers_must_be_whole(void **state)
{
	expect_wrong_literal(EVERYTHING, "\xba\x01\x02\x06\x80", "int32s[0]: a packed number");
	expect_wrong_literal(EVERYTHING, "\xb8\x01\x05\xba\x01\x01\x80", "int32s[1]: a packed");
	expect_right(EVERYTHING, "\xea\x01\x04"
				 "1234");
	expect_wrong_literal(EVERYTHING,
			     "\xea\x01\x05"
			     "12345",
			     "fixed32s[0]: packed numbers end");
	expect_wrong_literal(EVERYTHING,
			     "\xaa\x01\x04"
			     "1234",
			     "doubles[0]: packed numbers end");
}

static void lengths_stay_inside(void **state)
{
	expect_wrong_literal(TREE, "\x1a", "leaf: the length is cut off");
	expect_wrong_literal(TREE, "\x1a\x02x", "leaf: cut off");
	expect_wrong_literal(TREE, "\x1a\xff\xff\xff\xff\x07x", "leaf: cut off");
	expect_wrong_literal(TREE, "\x1a\xff\xff\xff\xff\x0fx", "leaf: the length");
	expect_wrong_literal(TREE, "\x1a\x81\x80\x80\x80\x80\x00x", "leaf: the length");
	expect_wrong_literal(TREE,
			     "\x0a\x02\x1a\x02"
			     "ab",
			     "left.leaf: cut off");
}

static void unknown_fields_pass(void **state)
{
	expect_right(TREE, "\xa2\x06\x02\xff\x00\xa0\x06\x07\xa5\x06"
			   "1234"
			   "\xa1\x06"
			   "12345678");
	expect_wrong_literal(TREE, "\xa2\x06\x02\xff", "Tree: 100: cut off");
	expect_wrong_literal(TREE, "\x0a\x04\xa2\x06\x02\xff", "left.100: cut off");
}

static void a_message_has_at_most_200000_fields(void **state)
{
	const size_t length = 2 * (WIRE_FIELDS_MAX + 1);
	cleanup_free char *bytes = malloc(length);

	assert_non_null(bytes);
	for (size_t i = 0; i < length; i += 2)
		memcpy(bytes + i, "\x12\x00", 2); /* an empty branch */
	assert_int_equal(wire_check(TREE, bytes, length - 2, NULL), 0);
	expect_wrong(TREE, bytes, length, "branches[200000]: the message has too many fields");
}

/* A good message with every kind of field in it, as bytes. */
static size_t good_message(uint8_t *bytes)
{
	Berth__Test__Everything message = BERTH__TEST__EVERYTHING__INIT;
	Berth__Test__Everything__Inner inner = BERTH__TEST__EVERYTHING__INNER__INIT;
	Berth__Test__Everything__Inner *inners[] = { &inner, &inner };
	char word[] = "w\xc3\xb6rd", *words[] = { word, word };
	int32_t numbers[] = { 1, -1, 300 };
	double doubles[] = { 0.5, -1 };

	inner.name = word;
	inner.words = words;
	inner.n_words = 2;
	message.a_double = 1.5;
	message.an_int64 = -5;
	message.a_fixed32 = 7;
	message.a_string = word;
	message.some_bytes = (ProtobufCBinaryData){ .len = 4, .data = (uint8_t *)word };
	message.inner = &inner;
	message.inners = inners;
	message.n_inners = 2;
	message.int32s = numbers;
	message.n_int32s = 3;
	message.doubles = doubles;
	message.n_doubles = 2;
	message._maybe_string_case = BERTH__TEST__EVERYTHING___MAYBE_STRING_MAYBE_STRING;
	message.maybe_string = word;
	message.choice_case = BERTH__TEST__EVERYTHING__CHOICE_CHOICE_INNER;
	message.choice_inner = &inner;
	return berth__test__everything__pack(&message, bytes);
}

static void cut_anywhere_the_check_and_the_decoder_agree(void **state)
{
	uint8_t bytes[1024];
	size_t length = good_message(bytes);
	unsigned whole = 0;

	assert_int_equal(wire_check(EVERYTHING, bytes, length, NULL), 0);
	for (size_t cut = 0; cut < length; cut++) {
		/* of exactly this size, so that a byte too far is seen */
		cleanup_free uint8_t *part = malloc(cut ? cut : 1);
		Berth__Test__Everything *got;
		struct err err = { 0 };
		int r;

		memcpy(part, bytes, cut);
		r = wire_check(EVERYTHING, part, cut, &err);
		got = berth__test__everything__unpack(NULL, cut, part);
		assert_int_equal(r == 0, got != NULL);
		whole += r == 0;
		if (got)
			berth__test__everything__free_unpacked(got, NULL);
		else
			assert_non_null(strstr(err.text, "cut off"));
	}
	assert_true(whole > 5); /* between two fields it is a message */
}

static void unpack_gives_the_message(void **state)
{
	cleanup_arena struct arena arena;
	Berth__Test__Everything *got;
	struct err err = { 0 };
	uint8_t bytes[1024];

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	got = wire_unpack(EVERYTHING, bytes, good_message(bytes), &arena, &err);
	assert_non_null(got);
	assert_string_equal(got->inner->words[1], "w\xc3\xb6rd");
	assert_int_equal(got->int32s[2], 300);
	assert_int_equal(got->choice_case, BERTH__TEST__EVERYTHING__CHOICE_CHOICE_INNER);
}

static void unpack_says_what_is_wrong(void **state)
{
	cleanup_arena struct arena arena;
	struct err err = { 0 };

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	assert_null(wire_unpack(TREE, "\x1a\x01\xff", 3, &arena, &err));
	assert_int_equal(err.kind, ERR_INVALID);
}

static void what_grows_beyond_the_arena_is_refused(void **state)
{
	const size_t length = 2 * 100000;
	cleanup_free char *bytes = malloc(length);
	cleanup_arena struct arena arena;
	struct err err = { 0 };

	for (size_t i = 0; i < length; i += 2)
		memcpy(bytes + i, "\x12\x00", 2);
	arena_init(&arena, 1 << 20);
	assert_null(wire_unpack(TREE, bytes, length, &arena, &err));
	assert_int_equal(err.kind, ERR_EXHAUSTED);
	assert_non_null(strstr(err.text, "memory"));
	assert_true(arena.held_bytes <= 1 << 20);
}

static void a_merge_of_many_ends_at_the_budget(void **state)
{
	/* A singular message given again and again: each merge copies what there is. */
	const size_t unit = 4, length = unit * 90000;
	cleanup_free char *bytes = malloc(length);
	cleanup_arena struct arena arena;
	struct err err = { 0 };

	for (size_t i = 0; i < length; i += unit)
		memcpy(bytes + i, "\x0a\x02\x12\x00", unit); /* one more branch of `left` */
	arena_init(&arena, ARENA_MESSAGE_BYTES);
	assert_null(wire_unpack(TREE, bytes, length, &arena, &err));
	assert_int_equal(err.kind, ERR_EXHAUSTED);
	assert_true(arena.held_bytes <= ARENA_MESSAGE_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_empty_message_is_right),
		cmocka_unit_test(depth_32_is_right_and_33_is_not),
		cmocka_unit_test(a_stack_of_9000_levels_is_rejected),
		cmocka_unit_test(text_must_be_utf8),
		cmocka_unit_test(text_must_have_no_nul),
		cmocka_unit_test(the_path_names_the_element),
		cmocka_unit_test(groups_and_unknown_wire_types_are_wrong),
		cmocka_unit_test(field_numbers_have_a_range),
		cmocka_unit_test(numbers_are_at_most_64_bits),
		cmocka_unit_test(fixed_numbers_must_be_whole),
		cmocka_unit_test(a_field_has_its_own_wire_type),
		cmocka_unit_test(packed_numbers_must_be_whole),
		cmocka_unit_test(lengths_stay_inside),
		cmocka_unit_test(unknown_fields_pass),
		cmocka_unit_test(a_message_has_at_most_200000_fields),
		cmocka_unit_test(cut_anywhere_the_check_and_the_decoder_agree),
		cmocka_unit_test(unpack_gives_the_message),
		cmocka_unit_test(unpack_says_what_is_wrong),
		cmocka_unit_test(what_grows_beyond_the_arena_is_refused),
		cmocka_unit_test(a_merge_of_many_ends_at_the_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
