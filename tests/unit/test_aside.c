#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/aside.h"

static ino_t inode(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void what_is_set_aside_comes_back_with_its_numbers(void **state)
{
	const int fds[] = { open("/", O_PATH), -1, open("/tmp", O_PATH), open("/proc", O_PATH) };
	const int listed[] = { fds[2], fds[0], fds[1], fds[3], fds[0] };
	const ino_t inodes[] = { inode(fds[0]), 0, inode(fds[2]), inode(fds[3]) };
	struct aside aside = ASIDE_NONE;
	struct err err = { 0 };
	int none = -1;

	assert_int_equal(aside_put(&aside, listed, 5, &err), 0);
	assert_false(is_open(fds[0]) || is_open(fds[2]) || is_open(fds[3]));
	assert_int_equal(aside_take(&aside, &none, &err), 0);
	for (size_t i = 0; i < 4; i++) {
		if (fds[i] < 0)
			continue;
		assert_int_equal(inode(fds[i]), inodes[i]);
		assert_int_equal(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
		assert_int_equal(close(fds[i]), 0);
	}
	assert_int_equal(aside_take(&aside, &none, &err), 0); /* once */
}

static void who_took_a_number_meanwhile_gives_way(void **state)
{
	const int fds[] = { open("/", O_PATH), open("/tmp", O_PATH) };
	const ino_t inodes[] = { inode(fds[0]), inode(fds[1]) };
	struct aside aside = ASIDE_NONE;
	struct err err = { 0 };
	int event;
	ino_t events;

	assert_int_equal(aside_put(&aside, fds, 2, &err), 0);
	event = eventfd(7, 0);
	assert_int_equal(event, fds[0]);
	events = inode(event);
	assert_int_equal(aside_take(&aside, &event, &err), 0);
	assert_int_not_equal(event, fds[0]);
	assert_int_equal(inode(event), events);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(inode(fds[i]), inodes[i]);
		assert_int_equal(close(fds[i]), 0);
	}
	assert_int_equal(close(event), 0);
}

static void nothing_to_set_aside_is_no_failure(void **state)
{
	const int fds[] = { -1, -1 };
	struct aside aside = ASIDE_NONE;
	struct err err = { 0 };
	int none = -1;

	assert_int_equal(aside_put(&aside, fds, 2, &err), 0);
	assert_int_equal(aside.socket_fds[0], -1);
	assert_int_equal(aside_take(&aside, &none, &err), 0);
}

static void without_descriptors_all_stay_where_they_are(void **state)
{
	const int fd = open("/", O_PATH);
	struct rlimit old, few = { .rlim_cur = (rlim_t)fd + 1 };
	struct aside aside = ASIDE_NONE;
	struct err err = { 0 };

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(aside_put(&aside, &fd, 1, &err), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(err.kind, ERR_EXHAUSTED);
	assert_true(is_open(fd));
	assert_int_equal(aside.socket_fds[0], -1);
	assert_int_equal(close(fd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_set_aside_comes_back_with_its_numbers),
		cmocka_unit_test(who_took_a_number_meanwhile_gives_way),
		cmocka_unit_test(nothing_to_set_aside_is_no_failure),
		cmocka_unit_test(without_descriptors_all_stay_where_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
