#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proto/cleanup.h"
#include "proto/signame.h"

static void names_and_numbers_are_read(void **state)
{
	static const struct {
		const char *text;
		int signal;
	} good[] = {
		{ "SIGTERM", SIGTERM },
		{ "TERM", SIGTERM },
		{ "term", SIGTERM },
		{ "15", 15 },
		{ "SIGKILL", SIGKILL },
		{ "HUP", SIGHUP },
		{ "1", 1 },
		{ "64", 64 },
		{ "RTMIN", 34 },
		{ "SIGRTMIN+3", 37 },
		{ "RTMIN+0", 34 },
		{ "rtmin+30", 64 },
		{ "RTMAX", 64 },
		{ "SIGRTMAX-1", 63 },
		{ "RTMAX-30", 34 },
		{ "32", 32 },
		{ "USR1", SIGUSR1 },
		{ "SIGWINCH", SIGWINCH },
		{ "SYS", SIGSYS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		int signal = -1;

		assert_int_equal(signame_parse(good[i].text, &signal, NULL), 0);
		assert_int_equal(signal, good[i].signal);
	}
}

static void anything_else_is_refused(void **state)
{
	static const char *const bad[] = {
		NULL,       "",           "0",        "65",        "-1",      "+15",      " 15",
		"SIG",      "SIGSIGTERM", "TERM ",    "TERMINATE", "RTMIN-1", "RTMIN+31", "RTMAX+1",
		"RTMAX-31", "RTMIN+",     "RTMIN+ 1", "RTMIN3",    "SIG15",   "RTMINX",   "RT",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = { 0 };
		int signal = 77;

		if (signame_parse(bad[i], &signal, &err) != -EINVAL)
			fail_msg("%s was taken for %d", bad[i] ? bad[i] : "NULL", signal);
		assert_int_equal(signal, 77);
		assert_int_equal(err.kind, ERR_INVALID);
		assert_non_null(strstr(err.text, "signal(7)"));
	}
}

static void every_signal_has_a_name_that_reads_back(void **state)
{
	for (int signal = 1; signal <= 64; signal++) {
		char buffer[SIGNAME_MAX];
		int got = 0;

		(void)signame_format(signal, buffer);
		if (signal == 32 || signal == 33) { /* the C library's own */
			assert_memory_equal(buffer, "signal 3", 8);
			continue;
		}
		assert_memory_equal(buffer, "SIG", 3);
		assert_int_equal(signame_parse(buffer, &got, NULL), 0);
		assert_int_equal(got, signal);
	}
}

static void numbers_without_a_name_are_shown(void **state)
{
	char buffer[SIGNAME_MAX];

	assert_string_equal(signame_format(0, buffer), "signal 0");
	assert_string_equal(signame_format(-1, buffer), "signal -1");
	assert_string_equal(signame_format(65, buffer), "signal 65");
	assert_string_equal(signame_format(37, buffer), "SIGRTMIN+3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_numbers_are_read),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(every_signal_has_a_name_that_reads_back),
		cmocka_unit_test(numbers_without_a_name_are_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
