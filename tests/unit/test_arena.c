#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "every_type.pb-c.h"
#include "proto/arena.h"

static void small_things_need_no_malloc(void **state)
{
	cleanup_arena struct arena arena;

	arena_init(&arena, 0);
	assert_non_null(arena_alloc(&arena, 100));
	assert_string_equal(arena_strdup(&arena, "hello"), "hello");
	assert_int_equal(arena.held_bytes, 0);
}

static void every_piece_is_aligned_and_apart(void **state)
{
	cleanup_arena struct arena arena;
	unsigned char *pieces[500];

	arena_init(&arena, 1 << 20);
	for (size_t i = 0; i < 500; i++) {
		pieces[i] = arena_alloc(&arena, i);
		assert_non_null(pieces[i]);
		assert_int_equal((uintptr_t)pieces[i] % _Alignof(max_align_t), 0);
		memset(pieces[i], (int)i, i);
	}
	for (size_t i = 0; i < 500; i++)
		for (size_t k = 0; k < i; k++)
			assert_int_equal(pieces[i][k], i & 0xff);
}

static void a_size_of_zero_gives_a_pointer(void **state)
{
	cleanup_arena struct arena arena;

	arena_init(&arena, 0);
	assert_non_null(arena_alloc(&arena, 0));
	assert_non_null(arena_calloc(&arena, 0, 8));
	assert_ptr_not_equal(arena_alloc(&arena, 0), arena_alloc(&arena, 0));
}

static void the_budget_is_never_exceeded_and_can_be_used_up(void **state)
{
	static const size_t sizes[] = { 16, 100, 1000, 5000, 70000 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		const size_t limit = 1 << 20;
		cleanup_arena struct arena arena;
		size_t given = 0;

		arena_init(&arena, limit);
		while (arena_alloc(&arena, sizes[i]))
			given += sizes[i];
		assert_true(arena.held_bytes <= limit);
		assert_true(given >= limit * 85 / 100);
		assert_null(arena_alloc(&arena, sizes[i])); /* and it stays so */
	}
}

static void absurd_sizes_fail_cleanly(void **state)
{
	volatile size_t huge = SIZE_MAX / 2; /* the compiler would see through a constant */
	cleanup_arena struct arena arena;

	arena_init(&arena, 1 << 20);
	assert_null(arena_calloc(&arena, huge, 3));
	assert_null(arena.allocator.alloc(&arena, SIZE_MAX - 1));
	assert_null(arena.allocator.alloc(&arena, SIZE_MAX - 40));
	assert_int_equal(arena.held_bytes, 0);
}

static void a_large_piece_does_not_waste_the_open_chunk(void **state)
{
	cleanup_arena struct arena arena;
	unsigned char *before;

	arena_init(&arena, 1 << 20);
	before = arena_alloc(&arena, 16);
	assert_non_null(arena_alloc(&arena, 100000));
	assert_ptr_equal(arena_alloc(&arena, 16), before + 16);
}

static void calloc_clears_reused_memory(void **state)
{
	cleanup_arena struct arena arena;
	unsigned char *piece;

	arena_init(&arena, 0);
	memset(arena_alloc(&arena, 64), 0xff, 64);
	arena_reset(&arena);
	piece = arena_calloc(&arena, 8, 8);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(piece[i], 0);
}

static void a_reset_gives_the_budget_back(void **state)
{
	cleanup_arena struct arena arena;

	arena_init(&arena, 100000);
	for (int i = 0; i < 10; i++) {
		assert_non_null(arena_alloc(&arena, 90000));
		assert_null(arena_alloc(&arena, 90000));
		arena_reset(&arena);
		assert_int_equal(arena.held_bytes, 0);
	}
}

static void texts_are_copied_cut_and_printed(void **state)
{
	cleanup_arena struct arena arena;
	char *text;

	arena_init(&arena, 1 << 20);
	assert_string_equal(arena_strndup(&arena, "abcdef", 3), "abc");
	assert_string_equal(arena_strndup(&arena, "ab\0def", 6), "ab");
	assert_string_equal(arena_printf(&arena, "%s-%d", "x", 42), "x-42");
	text = arena_printf(&arena, "%05000d", 7);
	assert_int_equal(strlen(text), 5000);
	assert_memory_equal(arena_memdup(&arena, "\0\1", 2), "\0\1", 2);
	assert_non_null(arena_memdup(&arena, NULL, 0));
}

static void texts_beyond_the_budget_are_null(void **state)
{
	cleanup_arena struct arena arena;

	arena_init(&arena, 0);
	assert_null(arena_printf(&arena, "%05000d", 7));
	assert_null(arena_calloc(&arena, 5000, 1));
	while (arena_alloc(&arena, 1))
		;
	assert_null(arena_strdup(&arena, "x"));
	assert_null(arena_strndup(&arena, "x", 1));
	assert_null(arena_memdup(&arena, "x", 1));
	assert_null(arena_message(&arena, &berth__test__tree__descriptor));
}

static void append_builds_a_repeated_field(void **state)
{
	cleanup_arena struct arena arena;
	Berth__Test__Tree *tree;

	arena_init(&arena, 1 << 20);
	tree = arena_message(&arena, &berth__test__tree__descriptor);
	for (size_t i = 0; i < 100; i++) {
		Berth__Test__Tree *branch = arena_message(&arena, &berth__test__tree__descriptor);

		branch->leaf = arena_printf(&arena, "%zu", i);
		assert_int_equal(arena_append(&arena, &tree->branches, &tree->n_branches, branch),
				 0);
	}
	assert_int_equal(tree->n_branches, 100);
	assert_string_equal(tree->branches[0]->leaf, "0");
	assert_string_equal(tree->branches[63]->leaf, "63");
	assert_string_equal(tree->branches[99]->leaf, "99");
}

static void append_changes_nothing_when_it_fails(void **state)
{
	cleanup_arena struct arena arena;
	char **items = NULL;
	size_t n = 0;

	arena_init(&arena, 0);
	assert_int_equal(arena_append(&arena, &items, &n, NULL), -ENOMEM);
	assert_int_equal(n, 0);
	while (arena_append(&arena, &items, &n, arena.first) == 0)
		;
	assert_true(n > 10);
	assert_ptr_equal(items[n - 1], (char *)arena.first);
}

static void protobuf_c_unpacks_into_it(void **state)
{
	static const uint8_t tree[] = { 0x1a, 2, 'h', 'i', 0x0a, 3, 0x1a, 1, 'x' };
	cleanup_arena struct arena arena;
	Berth__Test__Tree *got;

	arena_init(&arena, 1 << 20);
	got = berth__test__tree__unpack(&arena.allocator, sizeof(tree), tree);
	assert_non_null(got);
	assert_string_equal(got->leaf, "hi");
	assert_string_equal(got->left->leaf, "x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_things_need_no_malloc),
		cmocka_unit_test(every_piece_is_aligned_and_apart),
		cmocka_unit_test(a_size_of_zero_gives_a_pointer),
		cmocka_unit_test(the_budget_is_never_exceeded_and_can_be_used_up),
		cmocka_unit_test(absurd_sizes_fail_cleanly),
		cmocka_unit_test(a_large_piece_does_not_waste_the_open_chunk),
		cmocka_unit_test(calloc_clears_reused_memory),
		cmocka_unit_test(a_reset_gives_the_budget_back),
		cmocka_unit_test(texts_are_copied_cut_and_printed),
		cmocka_unit_test(texts_beyond_the_budget_are_null),
		cmocka_unit_test(append_builds_a_repeated_field),
		cmocka_unit_test(append_changes_nothing_when_it_fails),
		cmocka_unit_test(protobuf_c_unpacks_into_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
