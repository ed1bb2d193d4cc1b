#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sandbox/idrange.h"

#define FIRST (16 * IDRANGE_IDS)

static struct idranges *new_ranges(uint32_t slots)
{
	struct idranges *ranges = idranges_new(FIRST, slots * IDRANGE_IDS);

	assert_non_null(ranges);
	return ranges;
}

static void ranges_do_not_overlap_and_run_out(void **state)
{
	cleanup(idranges_free_p) struct idranges *ranges = new_ranges(3);
	struct err err = { 0 };
	uint32_t first;

	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(idranges_take(ranges, &first, &err), 0);
		assert_int_equal(first, FIRST + i * IDRANGE_IDS);
	}
	assert_true(idranges_take(ranges, &first, &err) < 0);
	assert_int_equal(err.kind, ERR_EXHAUSTED);
}

static void a_range_that_came_back_is_the_last_to_be_used_again(void **state)
{
	cleanup(idranges_free_p) struct idranges *ranges = new_ranges(3);
	uint32_t first;

	assert_int_equal(idranges_take(ranges, &first, NULL), 0);
	idranges_give_back(ranges, first);
	for (uint32_t i = 1; i <= 3; i++) {
		assert_int_equal(idranges_take(ranges, &first, NULL), 0);
		assert_int_equal(first, FIRST + (i % 3) * IDRANGE_IDS);
	}
}

static void giving_back_twice_or_a_strangers_range_changes_nothing(void **state)
{
	cleanup(idranges_free_p) struct idranges *ranges = new_ranges(1);
	uint32_t first;

	assert_int_equal(idranges_take(ranges, &first, NULL), 0);
	idranges_give_back(ranges, 0);
	idranges_give_back(ranges, first + 1);
	idranges_give_back(ranges, first + IDRANGE_IDS);
	assert_true(idranges_take(ranges, &first, NULL) < 0);
	idranges_give_back(ranges, FIRST);
	idranges_give_back(ranges, FIRST);
	assert_int_equal(idranges_take(ranges, &first, NULL), 0);
	assert_true(idranges_take(ranges, &first, NULL) < 0);
}

static void a_known_range_is_taken_out_of_the_free_ones(void **state)
{
	cleanup(idranges_free_p) struct idranges *ranges = new_ranges(3);
	struct err err = { 0 };
	uint32_t first;

	assert_int_equal(idranges_take_this(ranges, FIRST + IDRANGE_IDS, &err), 0);
	assert_true(idranges_take_this(ranges, FIRST + IDRANGE_IDS, &err) < 0);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_true(idranges_take_this(ranges, FIRST + 7, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_int_equal(idranges_take(ranges, &first, NULL), 0);
	assert_int_equal(first, FIRST);
	assert_int_equal(idranges_take(ranges, &first, NULL), 0);
	assert_int_equal(first, FIRST + 2 * IDRANGE_IDS);
	assert_true(idranges_take(ranges, &first, NULL) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_do_not_overlap_and_run_out),
		cmocka_unit_test(a_range_that_came_back_is_the_last_to_be_used_again),
		cmocka_unit_test(giving_back_twice_or_a_strangers_range_changes_nothing),
		cmocka_unit_test(a_known_range_is_taken_out_of_the_free_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
