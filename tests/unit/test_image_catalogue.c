#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "image_desk.h"

#define ONE "r.example/one:1"
#define TWO "r.example/two:2"

static void put(struct image_desk *desk, const struct image *image)
{
	struct err err = { 0 };

	if (catalogue_put(desk->catalogue, image, &err) < 0)
		fail_msg("%s", err.text);
}

static void an_image_is_there_after_a_restart(void **state)
{
	struct image_desk *desk = *state;
	struct image image = image_desk_image(desk, ONE, "layer");
	const struct image *found;

	image.pinned = true;
	put(desk, &image);
	image_desk_reopen(desk);
	found = catalogue_find(desk->catalogue, ONE);
	assert_non_null(found);
	assert_true(found->pinned);
	assert_int_equal(found->used_unix_ms, 6);
	assert_int_equal(found->n_layers, 1);
	assert_true(found->size_bytes > strlen("layer"));
	assert_null(catalogue_find(desk->catalogue, TWO));
}

static void a_name_gets_another_image_as_a_whole(void **state)
{
	struct image_desk *desk = *state;
	struct image first = image_desk_image(desk, ONE, "layer"),
		     second = image_desk_image(desk, ONE, "another layer");

	put(desk, &first);
	put(desk, &second);
	image_desk_reopen(desk);
	assert_true(digest_equal(&catalogue_find(desk->catalogue, ONE)->digest, &second.digest));
	assert_null(TAILQ_NEXT(TAILQ_FIRST(catalogue_images(desk->catalogue)), link));
}

static void an_image_without_a_piece_does_not_count(void **state)
{
	struct image_desk *desk = *state;
	struct image image = image_desk_image(desk, ONE, "layer");
	struct digest layer;
	struct err err = { 0 };

	put(desk, &image);
	assert_int_equal(digest_of("layer", 5, &layer), 0);
	assert_int_equal(content_remove(desk->content, &layer, &err), 0);
	assert_int_equal(catalogue_put(desk->catalogue, &image, &err), -ENOENT);
	image_desk_reopen(desk);
	assert_null(catalogue_find(desk->catalogue, ONE));
}

static void damaged_files_are_left_out(void **state)
{
	static const char *const wrong[] = { "", "{}", "[", "{\"name\":\"UPPER\"}",
					     "{\"name\":\"short\",\"digest\":\"sha256:0\"}" };
	struct image_desk *desk = *state;
	struct image image = image_desk_image(desk, ONE, "layer");

	put(desk, &image);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		char path[256];
		int fd;

		(void)snprintf(path, sizeof(path), "%s/names/%064zu.json", desk->directory, i);
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, wrong[i], strlen(wrong[i])), strlen(wrong[i]));
		(void)close(fd);
	}
	image_desk_reopen(desk);
	assert_non_null(catalogue_find(desk->catalogue, ONE));
	assert_null(TAILQ_NEXT(TAILQ_FIRST(catalogue_images(desk->catalogue)), link));
}

static bool is_held(const struct digest *digest, void *user)
{
	return digest_equal(digest, user);
}

static void what_no_image_needs_is_collected(void **state)
{
	struct image_desk *desk = *state;
	struct image one = image_desk_image(desk, ONE, "layer"),
		     two = image_desk_image(desk, TWO, "another layer");
	struct descriptor held = image_desk_put(desk, "somebody pulls this");
	struct digest layer, another;
	struct err err = { 0 };
	uint64_t bytes = 0;

	put(desk, &one);
	put(desk, &two);
	assert_int_equal(digest_of("layer", 5, &layer), 0);
	assert_int_equal(digest_of("another layer", 13, &another), 0);
	assert_int_equal(catalogue_remove(desk->catalogue, TWO, &err), 0);
	assert_int_equal(
		catalogue_collect(desk->catalogue, false, is_held, &held.digest, &bytes, &err), 0);
	assert_true(bytes > 13);
	assert_true(content_has(desk->content, &another, NULL));
	assert_int_equal(
		catalogue_collect(desk->catalogue, true, is_held, &held.digest, &bytes, &err), 0);
	assert_true(content_has(desk->content, &layer, NULL));
	assert_false(content_has(desk->content, &another, NULL));
	assert_true(content_has(desk->content, &held.digest, NULL));
	assert_int_equal(catalogue_remove(desk->catalogue, TWO, &err), -ENOENT);
	image_desk_reopen(desk);
	assert_non_null(catalogue_find(desk->catalogue, ONE));
	assert_null(catalogue_find(desk->catalogue, TWO));
	/* Without any image nothing is needed. */
	assert_int_equal(catalogue_remove(desk->catalogue, ONE, &err), 0);
	assert_int_equal(catalogue_collect(desk->catalogue, true, NULL, NULL, &bytes, &err), 0);
	assert_false(content_has(desk->content, &layer, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_image_is_there_after_a_restart, image_desk_open,
						image_desk_close),
		cmocka_unit_test_setup_teardown(a_name_gets_another_image_as_a_whole,
						image_desk_open, image_desk_close),
		cmocka_unit_test_setup_teardown(an_image_without_a_piece_does_not_count,
						image_desk_open, image_desk_close),
		cmocka_unit_test_setup_teardown(damaged_files_are_left_out, image_desk_open,
						image_desk_close),
		cmocka_unit_test_setup_teardown(what_no_image_needs_is_collected, image_desk_open,
						image_desk_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
