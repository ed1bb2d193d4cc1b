#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/log.h"

static char line[4096];
static int pipe_fds[2];
static int stderr_fd;

static int catch_stderr(void **state)
{
	assert_int_equal(pipe(pipe_fds), 0);
	stderr_fd = dup(2);
	assert_int_equal(dup2(pipe_fds[1], 2), 2);
	(void)unsetenv("JOURNAL_STREAM");
	log_open("test", LOG_INFO);
	return 0;
}

static int release_stderr(void **state)
{
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
	assert_int_equal(dup2(stderr_fd, 2), 2);
	return close(stderr_fd);
}

static const char *written(void)
{
	ssize_t n = read(pipe_fds[0], line, sizeof(line) - 1);

	assert_true(n > 0);
	line[n] = '\0';
	return line;
}

static void a_line_says_what_it_is_about(void **state)
{
	errno = ENOENT;
	log_event(LOG_WARNING,
		  &(struct log_about){ .workload = "w-1", .container = "main", .request = 7 },
		  "cannot do %s: %m", "it");
	assert_int_equal(errno, ENOENT);
	assert_non_null(strstr(written(), "]: warning: workload w-1 container main request 7: "
					  "cannot do it: No such file or directory\n"));
	log_event(LOG_INFO, NULL, "plain");
	assert_non_null(strstr(written(), "]: info: plain\n"));
}

static void a_peers_words_make_no_lines_of_their_own(void **state)
{
	log_event(LOG_INFO, &(struct log_about){ .peer = "x\nforged" }, "a\x1b[2J\nberthd: b");
	(void)written();
	assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
	assert_null(strchr(line, 0x1b));
}

static void long_sentences_are_cut(void **state)
{
	char text[3000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_event(LOG_INFO, NULL, "%s", text);
	assert_true(strlen(written()) < 2000);
	assert_int_equal(line[strlen(line) - 1], '\n');
}

static void what_is_below_the_priority_is_not_written(void **state)
{
	log_event(LOG_DEBUG, NULL, "unseen");
	log_event(LOG_INFO, NULL, "seen");
	assert_null(strstr(written(), "unseen"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_line_says_what_it_is_about, catch_stderr,
						release_stderr),
		cmocka_unit_test_setup_teardown(a_peers_words_make_no_lines_of_their_own,
						catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(long_sentences_are_cut, catch_stderr,
						release_stderr),
		cmocka_unit_test_setup_teardown(what_is_below_the_priority_is_not_written,
						catch_stderr, release_stderr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
