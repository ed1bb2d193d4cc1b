#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "image_desk.h"

static struct descriptor piece_of(const char *bytes)
{
	struct descriptor piece = { .size_bytes = strlen(bytes) };

	assert_int_equal(digest_of(bytes, strlen(bytes), &piece.digest), 0);
	return piece;
}

static struct content_writer *begin(struct image_desk *desk, const struct descriptor *piece)
{
	struct content_writer *writer;
	struct err err = { 0 };

	if (content_write(desk->content, piece, &writer, &err) < 0)
		fail_msg("%s", err.text);
	return writer;
}

static void piece_path(const struct image_desk *desk, const struct descriptor *piece,
		       const char *suffix, char path[static 256])
{
	(void)snprintf(path, 256, "%s/blobs/%s%s", desk->directory, piece->digest.hex, suffix);
}

static void a_piece_counts_when_it_is_whole_and_right(void **state)
{
	struct image_desk *desk = *state;
	struct descriptor piece = piece_of("hello");
	struct content_writer *writer = begin(desk, &piece);
	struct err err = { 0 };
	uint64_t size;

	assert_int_equal(content_writer_add(writer, "hel", 3, &err), 0);
	assert_false(content_has(desk->content, &piece.digest, NULL));
	assert_int_equal(content_writer_add(writer, "lo", 2, &err), 0);
	assert_false(content_has(desk->content, &piece.digest, NULL));
	assert_int_equal(content_writer_end(writer, &err), 0);
	assert_true(content_has(desk->content, &piece.digest, &size));
	assert_int_equal(size, 5);
}

static void what_a_try_left_is_used_by_the_next(void **state)
{
	struct image_desk *desk = *state;
	struct descriptor piece = piece_of("hello");
	struct content_writer *writer = begin(desk, &piece);
	struct err err = { 0 };

	assert_int_equal(content_writer_add(writer, "hel", 3, &err), 0);
	content_writer_stop(writer);
	image_desk_reopen(desk);
	assert_false(content_has(desk->content, &piece.digest, NULL));
	writer = begin(desk, &piece);
	assert_int_equal(content_writer_bytes(writer), 3);
	assert_int_equal(content_writer_add(writer, "lo", 2, &err), 0);
	assert_int_equal(content_writer_end(writer, &err), 0);
	assert_true(content_has(desk->content, &piece.digest, NULL));
}

static void wrong_bytes_are_no_piece_and_leave_nothing(void **state)
{
	struct image_desk *desk = *state;
	struct descriptor piece = piece_of("hello");
	struct content_writer *writer = begin(desk, &piece);
	struct err err = { 0 };
	char path[256];

	assert_int_equal(content_writer_add(writer, "hullo", 5, &err), 0);
	assert_int_equal(content_writer_end(writer, &err), -EBADMSG);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_non_null(strstr(err.text, "digest"));
	assert_false(content_has(desk->content, &piece.digest, NULL));
	piece_path(desk, &piece, ".part", path);
	assert_int_equal(access(path, F_OK), -1);

	writer = begin(desk, &piece);
	assert_int_equal(content_writer_add(writer, "hell", 4, &err), 0);
	assert_int_equal(content_writer_end(writer, &err), -EINVAL);
	assert_int_equal(access(path, F_OK), -1);

	writer = begin(desk, &piece);
	assert_int_equal(content_writer_add(writer, "hello!", 6, &err), -EINVAL);
	assert_int_equal(content_writer_bytes(writer), 0);
	content_writer_stop(writer);
}

static void more_than_a_piece_has_is_begun_anew(void **state)
{
	struct image_desk *desk = *state;
	struct descriptor piece = piece_of("hello");
	struct content_writer *writer;
	char path[256];
	int fd;

	piece_path(desk, &piece, ".part", path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "hello and more", 14), 14);
	(void)close(fd);
	writer = begin(desk, &piece);
	assert_int_equal(content_writer_bytes(writer), 0);
	content_writer_stop(writer);
}

static void a_damaged_document_is_told(void **state)
{
	struct image_desk *desk = *state;
	struct descriptor piece = image_desk_put(desk, "hello");
	void *bytes = NULL;
	size_t length = 0;
	struct err err = { 0 };
	char path[256];
	int fd;

	assert_int_equal(content_read(desk->content, &piece.digest, &bytes, &length, &err), 0);
	assert_int_equal(length, 5);
	assert_string_equal(bytes, "hello");
	free(bytes);
	piece_path(desk, &piece, "", path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "j", 1, 0), 1);
	(void)close(fd);
	assert_int_equal(content_read(desk->content, &piece.digest, &bytes, &length, &err),
			 -EBADMSG);
	assert_non_null(strstr(err.text, "damaged"));
}

static void what_is_to_be_left_free_is_left(void **state)
{
	struct image_desk *desk = *state;
	struct content *content;
	struct err err = { 0 };

	assert_int_equal(content_open(desk->directory, UINT64_MAX / 2, &content, &err), 0);
	assert_int_equal(content_check_room(content, 0, &err), -ENOSPC);
	assert_int_equal(content_check_room(desk->content, 1, &err), 0);
	assert_int_equal(err.kind, ERR_EXHAUSTED);
	assert_non_null(strstr(err.text, "KeepFree"));
	content_free(content);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_piece_counts_when_it_is_whole_and_right,
						image_desk_open, image_desk_close),
		cmocka_unit_test_setup_teardown(what_a_try_left_is_used_by_the_next,
						image_desk_open, image_desk_close),
		cmocka_unit_test_setup_teardown(wrong_bytes_are_no_piece_and_leave_nothing,
						image_desk_open, image_desk_close),
		cmocka_unit_test_setup_teardown(more_than_a_piece_has_is_begun_anew,
						image_desk_open, image_desk_close),
		cmocka_unit_test_setup_teardown(a_damaged_document_is_told, image_desk_open,
						image_desk_close),
		cmocka_unit_test_setup_teardown(what_is_to_be_left_free_is_left, image_desk_open,
						image_desk_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
