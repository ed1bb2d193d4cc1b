#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/cleanup.h"
#include "sandbox/launch_program.h"

static char directory[] = "/tmp/berth-program.XXXXXX";

static void make(const char *name, const void *data, size_t length, mode_t mode)
{
	char path[PATH_MAX];
	cleanup_fd int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, length), (ssize_t)length);
	assert_int_equal(fchmod(fd, mode), 0);
}

static void expect(const char *name, const char *words)
{
	char search[PATH_MAX], path[PATH_MAX];
	const char *env[] = { "HOME=/", search, NULL };
	struct err err = { 0 };

	(void)snprintf(search, sizeof(search), "PATH=/nonexistent:%s:/bin", directory);
	if (!words) {
		assert_int_equal(program_find(name, env, path, sizeof(path), &err), 0);
		assert_int_equal(access(path, X_OK), 0);
		return;
	}
	assert_true(program_find(name, env, path, sizeof(path), &err) < 0);
	assert_int_equal(err.kind, ERR_START);
	if (!strstr(err.text, words))
		fail_msg("%s", err.text);
}

static void what_can_be_executed_is_found(void **state)
{
	expect("sh", NULL);
	expect("/bin/sh", NULL);
	make("script", "#!  /bin/sh -e\n", 15, 0755);
	expect("script", NULL);
}

static void why_it_cannot_is_told(void **state)
{
	static const unsigned char arm64[64] = {
		0x7f, 'E', 'L', 'F', 2, 1, 1, [16] = 2, [18] = 183
	};

	make("plain", "#!/bin/sh\n", 10, 0644);
	make("text", "hello\n", 6, 0755);
	make("empty", "", 0, 0755);
	make("short", "\177ELF", 4, 0755);
	make("lost", "#!/nonexistent/sh -e\n", 21, 0755);
	make("arm64", arm64, sizeof(arm64), 0755);
	expect("plain", "not executable");
	expect("nowhere", "there is no program nowhere");
	expect("./nowhere/at/all", "does not exist");
	expect(directory, "is a directory");
	expect("text", "neither a program nor a script");
	expect("empty", "is an empty file");
	expect("lost", "interpreter /nonexistent/sh does not exist");
	expect("arm64", "a program for arm64");
	expect("", "the command is empty");
	expect("short", NULL); /* execve(2) has the last word */
}

static void without_a_path_the_default_is_searched(void **state)
{
	static const char *const env[] = { NULL };
	char path[PATH_MAX];

	assert_int_equal(program_find("sh", env, path, sizeof(path), NULL), 0);
	assert_null(program_env(env, "PATH"));
}

static void a_name_that_is_too_long_is_no_overflow(void **state)
{
	char name[300], path[64];
	struct err err = { 0 };

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_true(program_find(name, NULL, path, sizeof(path), &err) < 0);
	name[0] = '/';
	assert_true(program_find(name, NULL, path, sizeof(path), &err) < 0);
	assert_int_equal(err.kind, ERR_START);
}

static int begin(void **state)
{
	return mkdtemp(directory) ? 0 : -1;
}

static int end(void **state)
{
	char command[64];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_can_be_executed_is_found),
		cmocka_unit_test(why_it_cannot_is_told),
		cmocka_unit_test(without_a_path_the_default_is_searched),
		cmocka_unit_test(a_name_that_is_too_long_is_no_overflow),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
