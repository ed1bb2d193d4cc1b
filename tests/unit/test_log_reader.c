#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/logs/log_cursor.h"
#include "agent/logs/log_reader.h"

struct fixture {
	char dir[64];
	sd_event *event;
	unsigned int ready;
};

static void on_ready(void *userdata)
{
	struct fixture *f = userdata;

	f->ready++;
}

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){ .dir = "/tmp/berth-test-logs.XXXXXX" };
	assert_non_null(mkdtemp(f.dir));
	assert_int_equal(sd_event_new(&f.event), 0);
	*state = &f;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	return remove(path);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	sd_event_unref(f->event);
	return nftw(f->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void append(struct fixture *f, const char *container, unsigned int file, const char *text)
{
	char path[256];
	cleanup_fd int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/%s", f->dir, container);
	(void)mkdir(path, 0755);
	(void)snprintf(path, sizeof(path), "%s/%s/%09u.log", f->dir, container, file);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void append_line(struct fixture *f, const char *container, unsigned int file,
			unsigned int second, const char *text)
{
	char line[512];

	(void)snprintf(line, sizeof(line), "2026-01-02T03:04:%02u.000000005Z stdout F %s\n", second,
		       text);
	append(f, container, file, line);
}

static struct log_reader *open_reader(struct fixture *f, size_t count,
				      const struct log_reader_options *options)
{
	static const char *const names[] = { "web", "side" };
	struct log_reader *reader = NULL;
	struct err err = { 0 };

	assert_int_equal(
		log_reader_new(f->event, f->dir, names, count, options, on_ready, f, &reader, &err),
		0);
	return reader;
}

static void expect_line(struct log_reader *reader, size_t container, const char *text)
{
	struct log_line line;
	struct err err = { 0 };
	size_t index = 99;

	assert_int_equal(log_reader_next(reader, &line, &index, &err), 1);
	assert_int_equal(index, container);
	assert_int_equal(line.length, strlen(text));
	assert_memory_equal(line.text, text, line.length);
}

static void expect_result(struct log_reader *reader, int expected)
{
	struct log_line line;
	struct err err = { 0 };
	size_t index;

	assert_int_equal(log_reader_next(reader, &line, &index, &err), expected);
}

static void a_record_is_parsed_to_its_parts(void **state)
{
	const char *text = "1970-01-01T00:00:01.000000002Z stderr P a b";
	struct log_line line;

	assert_int_equal(log_line_parse(text, strlen(text), &line), 0);
	assert_int_equal(line.time_unix_ns, 1000000002);
	assert_true(line.is_stderr);
	assert_true(line.partial);
	assert_int_equal(line.length, 3);
	for (size_t cut = 0; cut < 40; cut++)
		assert_int_equal(log_line_parse(text, cut, &line), -EBADMSG);
}

static void lines_of_containers_come_in_the_order_of_time(void **state)
{
	struct fixture *f = *state;
	cleanup(log_reader_free_p) struct log_reader *reader = NULL;

	append_line(f, "web", 1, 1, "one");
	append_line(f, "side", 1, 2, "two");
	append_line(f, "web", 2, 3, "three");
	append_line(f, "side", 1, 4, "four");
	reader = open_reader(f, 2, &(struct log_reader_options){ 0 });
	expect_line(reader, 0, "one");
	expect_line(reader, 1, "two");
	expect_line(reader, 0, "three");
	expect_line(reader, 1, "four");
	expect_result(reader, -ENODATA);
}

/* From each place in two containers' logs: what follows it, all of it, and nothing twice. */
static void a_reader_goes_on_after_any_line(void **state)
{
	struct fixture *f = *state;
	static const char *const texts[] = { "one", "", "three", "four", "five", "six" };
	uint64_t places[ARRAY_SIZE(texts)] = { 0 };
	struct log_reader *reader;

	/* All at one time: only a place tells them apart. The odd ones are of the other container. */
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		append_line(f, i % 2 ? "side" : "web", i < 3 ? 1 : 2, (unsigned int)i, texts[i]);
	reader = open_reader(f, 2, &(struct log_reader_options){ 0 });
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		expect_line(reader, i % 2, texts[i]);
		places[i] = log_reader_place(reader, i % 2);
		assert_true(i < 2 || places[i] > places[i - 2]);
	}
	log_reader_free(reader);
	for (size_t last = 0; last < ARRAY_SIZE(texts); last++) {
		struct log_reader_after after[2] = { { "web", places[last / 2 * 2] },
						     { "side", last ? places[(last - 1) / 2 * 2 + 1]
								    : 0 } };

		reader = open_reader(f, 2,
				     &(struct log_reader_options){ .after = after,
								   .after_count = last ? 2 : 1,
								   .has_tail = last % 2,
								   .tail = 0 });
		for (size_t i = last + 1; i < ARRAY_SIZE(texts); i++)
			expect_line(reader, i % 2, texts[i]);
		expect_result(reader, -ENODATA);
		assert_int_equal(log_reader_take_missed(reader), 0);
		log_reader_free(reader);
	}
}

static void a_place_that_rotation_removed_is_told_as_missed(void **state)
{
	struct fixture *f = *state;
	struct log_reader_after after = { .container = "web" };
	struct log_reader *reader;
	char path[128];

	append_line(f, "web", 1, 1, "one");
	append_line(f, "web", 3, 3, "three");
	reader = open_reader(f, 1, &(struct log_reader_options){ 0 });
	expect_line(reader, 0, "one");
	after.place = log_reader_place(reader, 0);
	log_reader_free(reader);
	(void)snprintf(path, sizeof(path), "%s/web/000000001.log", f->dir);
	assert_int_equal(unlink(path), 0);
	reader = open_reader(f, 1,
			     &(struct log_reader_options){ .after = &after, .after_count = 1 });
	expect_line(reader, 0, "three");
	assert_int_equal(log_reader_take_missed(reader), 2); /* what was left of 1, and 2 */
	log_reader_free(reader);

	/* Bytes that no line ends at, or beyond the file: a peer's invention, answered with lines. */
	after.place = UINT64_MAX;
	reader = open_reader(f, 1,
			     &(struct log_reader_options){ .after = &after, .after_count = 1 });
	expect_result(reader, -ENODATA);
	log_reader_free(reader);
	after.place = (3ULL << 36) + 1000000;
	reader = open_reader(f, 1,
			     &(struct log_reader_options){ .after = &after, .after_count = 1 });
	expect_line(reader, 0, "three");
	log_reader_free(reader);
}

static void tail_counts_over_files_and_containers(void **state)
{
	struct fixture *f = *state;
	cleanup(log_reader_free_p) struct log_reader *reader = NULL;
	char text[16];

	for (unsigned int i = 0; i < 9; i++) {
		(void)snprintf(text, sizeof(text), "line %u", i);
		append_line(f, i % 3 ? "web" : "side", 1 + i / 4, i, text);
	}
	reader = open_reader(f, 2, &(struct log_reader_options){ .has_tail = true, .tail = 4 });
	expect_line(reader, 0, "line 5");
	expect_line(reader, 1, "line 6");
	expect_line(reader, 0, "line 7");
	expect_line(reader, 0, "line 8");
	expect_result(reader, -ENODATA);
}

static void since_leaves_older_lines_out(void **state)
{
	struct fixture *f = *state;
	cleanup(log_reader_free_p) struct log_reader *reader = NULL;
	struct log_line line;

	append_line(f, "web", 1, 1, "old");
	append_line(f, "web", 1, 2, "new");
	assert_int_equal(log_line_parse("2026-01-02T03:04:02.000000005Z stdout F ", 40, &line), 0);
	reader = open_reader(f, 1,
			     &(struct log_reader_options){ .since_unix_ns = line.time_unix_ns });
	expect_line(reader, 0, "new");
	expect_result(reader, -ENODATA);
}

static void following_is_told_of_new_lines_and_files(void **state)
{
	struct fixture *f = *state;
	cleanup(log_reader_free_p) struct log_reader *reader = NULL;

	append_line(f, "web", 1, 1, "one");
	reader = open_reader(f, 1, &(struct log_reader_options){ .follow = true });
	expect_line(reader, 0, "one");
	expect_result(reader, 0);
	append_line(f, "web", 1, 2, "two");
	append_line(f, "web", 2, 3, "three");
	f->ready = 0;
	assert_true(sd_event_run(f->event, 5000000) > 0);
	assert_true(f->ready > 0);
	expect_line(reader, 0, "two");
	expect_line(reader, 0, "three");
	expect_result(reader, 0);
	log_reader_finish(reader);
	expect_result(reader, -ENODATA);
}

static void a_container_that_starts_later_is_found(void **state)
{
	struct fixture *f = *state;
	cleanup(log_reader_free_p) struct log_reader *reader =
		open_reader(f, 2, &(struct log_reader_options){ .follow = true });

	expect_result(reader, 0);
	append_line(f, "side", 1, 1, "hello");
	log_reader_refresh(reader);
	expect_line(reader, 1, "hello");
}

static void files_that_were_rotated_away_are_counted(void **state)
{
	struct fixture *f = *state;
	cleanup(log_reader_free_p) struct log_reader *reader = NULL;
	char path[128];

	append_line(f, "web", 1, 1, "one");
	reader = open_reader(f, 1, &(struct log_reader_options){ .follow = true });
	expect_line(reader, 0, "one");
	for (unsigned int i = 2; i < 6; i++)
		append_line(f, "web", i, i, "more");
	for (unsigned int i = 1; i < 5; i++) {
		(void)snprintf(path, sizeof(path), "%s/web/%09u.log", f->dir, i);
		assert_int_equal(unlink(path), 0);
	}
	expect_line(reader, 0, "more");
	expect_result(reader, 0);
	assert_int_equal(log_reader_take_missed(reader), 3);
	assert_int_equal(log_reader_take_missed(reader), 0);
}

static void damaged_bytes_are_passed_over(void **state)
{
	struct fixture *f = *state;
	cleanup(log_reader_free_p) struct log_reader *reader = NULL;
	char garbage[70001];

	memset(garbage, 'x', sizeof(garbage) - 1);
	garbage[sizeof(garbage) - 1] = '\0';
	append(f, "web", 1, "torn");
	append(f, "web", 1, "\n\n\n");
	append(f, "web", 1, garbage);
	append(f, "web", 1, "\n");
	append_line(f, "web", 1, 1, "good");
	reader = open_reader(f, 1, &(struct log_reader_options){ 0 });
	expect_line(reader, 0, "good");
	expect_result(reader, -ENODATA);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_is_parsed_to_its_parts),
		cmocka_unit_test_setup_teardown(a_reader_goes_on_after_any_line, setup, teardown),
		cmocka_unit_test_setup_teardown(a_place_that_rotation_removed_is_told_as_missed,
						setup, teardown),
		cmocka_unit_test_setup_teardown(lines_of_containers_come_in_the_order_of_time,
						setup, teardown),
		cmocka_unit_test_setup_teardown(tail_counts_over_files_and_containers, setup,
						teardown),
		cmocka_unit_test_setup_teardown(since_leaves_older_lines_out, setup, teardown),
		cmocka_unit_test_setup_teardown(following_is_told_of_new_lines_and_files, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_container_that_starts_later_is_found, setup,
						teardown),
		cmocka_unit_test_setup_teardown(files_that_were_rotated_away_are_counted, setup,
						teardown),
		cmocka_unit_test_setup_teardown(damaged_bytes_are_passed_over, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
