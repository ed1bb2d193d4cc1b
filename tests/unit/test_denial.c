#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "filtered_child.h"
#include "proto/err.h"
#include "proto/page.h"
#include "sandbox/filter_image.h"

static struct filtered_results *results;

static struct filter *default_filter(void)
{
	const struct filter_request request = { .source = FILTER_DEFAULT, .listener = true };

	return compile_or_fail(&request);
}

static int errnum_of(const struct denial_table *table, int nr, uint64_t a0)
{
	const struct seccomp_data call = { .nr = nr, .args = { a0 } };

	return denial_errnum(table, &call);
}

static void the_first_rule_that_fits_gives_the_errno(void **state)
{
	static const struct denial_table table = {
		.count = 3,
		.default_errnum = EPERM,
		.rules = { { 41, EPROTONOSUPPORT, 0, 16 },
			   { 41, EAFNOSUPPORT, DENIAL_ANY_ARGS, 0 },
			   { 42, EACCES, 5, 7 } },
	};

	assert_int_equal(errnum_of(&table, 41, 16), EPROTONOSUPPORT);
	assert_int_equal(errnum_of(&table, 41, 16 | UINT64_C(1) << 40), EPROTONOSUPPORT);
	assert_int_equal(errnum_of(&table, 41, 17), EAFNOSUPPORT);
	assert_int_equal(errnum_of(&table, 42, 7), EPERM);
	assert_int_equal(errnum_of(&table, 43, 0), EPERM);
}

static int image_with(size_t at, uint32_t value, off_t grow)
{
	cleanup(filter_free_p) struct filter *filter = default_filter();
	struct err err = { 0 };
	cleanup_fd int sealed_fd = filter_serialize(filter, &err);
	int image_fd = memfd_create("image", MFD_CLOEXEC);
	struct stat st;

	assert_true(sealed_fd >= 0 && image_fd >= 0);
	assert_return_code(fstat(sealed_fd, &st), errno);
	{
		cleanup_free char *bytes = calloc(1, (size_t)st.st_size + 64);
		size_t length = (size_t)(st.st_size + grow);

		assert_int_equal(pread(sealed_fd, bytes, (size_t)st.st_size, 0), st.st_size);
		if (at != SIZE_MAX)
			memcpy(bytes + at, &value, sizeof(value));
		assert_int_equal(write(image_fd, bytes, length), length);
	}
	return image_fd;
}

static void an_image_is_read_back_or_refused_whole(void **state)
{
	static const struct {
		size_t at;
		uint32_t value;
		off_t grow;
		int r;
	} cases[] = {
		{ SIZE_MAX, 0, 0, 0 },
		{ SIZE_MAX, 0, 4, -EBADMSG },
		{ SIZE_MAX, 0, -4, -EBADMSG },
		{ offsetof(struct filter_image, magic), 1, 0, -EBADMSG },
		{ offsetof(struct filter_image, version), 2, 0, -EBADMSG },
		{ offsetof(struct filter_image, instruction_count), UINT32_MAX, 0, -EBADMSG },
		{ offsetof(struct filter_image, denial_count), DENIAL_RULES_MAX + 1, 0, -EBADMSG },
		{ offsetof(struct filter_image, default_errnum), 4096, 0, -EBADMSG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		cleanup_fd int image_fd = image_with(cases[i].at, cases[i].value, cases[i].grow);
		cleanup(filter_free_p) struct filter *filter = NULL;
		struct denial_table table;
		struct err err = { 0 };

		assert_int_equal(denial_table_read(image_fd, &table), cases[i].r);
		assert_int_equal(filter_deserialize(image_fd, &filter, &err), cases[i].r);
	}
}

static void a_rule_for_an_argument_that_is_none_is_refused(void **state)
{
	cleanup(filter_free_p) struct filter *filter = default_filter();
	cleanup_fd int image_fd = -1;
	struct denial_table table;
	struct err err = { 0 };

	filter->denials.rules[0].arg = 6;
	image_fd = filter_serialize(filter, &err);
	assert_true(image_fd >= 0);
	assert_int_equal(denial_table_read(image_fd, &table), -EBADMSG);
}

static void probe_mount(struct filtered_results *shared)
{
	for (int i = 0; i < 3; i++)
		shared->errnums[i] = mount("none", "/", "tmpfs", 0, NULL) < 0 ? errno : 0;
}

static void a_denial_names_the_call_and_the_program(void **state)
{
	cleanup(filter_free_p) struct filter *filter = default_filter();
	char self[PATH_MAX] = "";

	assert_true(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	assert_int_equal(run_filtered(filter, probe_mount, results), 0);
	assert_int_equal(results->denial_count, 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(results->errnums[i], EPERM);
		assert_int_equal(results->denials[i].nr, __NR_mount);
		assert_int_equal(results->denials[i].errnum, EPERM);
		assert_string_equal(results->denials[i].program, self);
	}
}

static volatile sig_atomic_t signals_seen;

static void count_signal(int signal_number)
{
	signals_seen++;
}

/* A signal that comes before the monitor has the call takes it back and makes it again; one that
 * comes later waits for the answer. Neither way is it counted twice. */
static void probe_under_signals(struct filtered_results *shared)
{
	const struct sigaction action = { .sa_handler = count_signal, .sa_flags = SA_RESTART };
	const struct itimerval every_50us = { { 0, 50 }, { 0, 50 } };
	const struct itimerval never = { { 0, 0 }, { 0, 0 } };

	(void)sigaction(SIGALRM, &action, NULL);
	(void)setitimer(ITIMER_REAL, &every_50us, NULL);
	for (int i = 0; i < 500; i++)
		shared->errnums[0] += unshare(CLONE_NEWNS) < 0 && errno == EPERM;
	(void)setitimer(ITIMER_REAL, &never, NULL);
	shared->errnums[1] = signals_seen > 0;
}

static void signals_neither_break_nor_repeat_a_denied_call(void **state)
{
	cleanup(filter_free_p) struct filter *filter = default_filter();

	assert_int_equal(run_filtered(filter, probe_under_signals, results), 0);
	assert_int_equal(results->errnums[0], 500);
	assert_int_equal(results->errnums[1], 1);
	assert_int_equal(results->denial_count, 500);
}

/* A child that is parked in a denied call, with its listener in our hands. */
struct parked {
	int listener_fd;
	pid_t pid;
	int pair[2];
};

static void park(const struct filter *filter, struct parked *parked)
{
	struct pollfd ready = { -1, POLLIN, 0 };
	cleanup_fd int pid_fd = -1;
	char byte = 0;

	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, parked->pair), errno);
	results->listener_fd = -1;
	parked->pid = fork();
	assert_return_code(parked->pid, errno);
	if (parked->pid == 0) {
		struct err err = { 0 };

		if (filter_load(filter, &results->listener_fd, &err) < 0 ||
		    write(parked->pair[1], &byte, 1) != 1 || read(parked->pair[1], &byte, 1) != 1)
			_exit(99);
		_exit(unshare(CLONE_NEWNS) == 0 ? 0 : errno);
	}
	assert_int_equal(read(parked->pair[0], &byte, 1), 1);
	pid_fd = (int)syscall(__NR_pidfd_open, parked->pid, 0);
	parked->listener_fd = (int)syscall(__NR_pidfd_getfd, pid_fd, results->listener_fd, 0);
	assert_return_code(parked->listener_fd, errno);
	assert_int_equal(write(parked->pair[0], &byte, 1), 1);
	ready.fd = parked->listener_fd;
	assert_int_equal(poll(&ready, 1, 10000), 1);
	assert_true(ready.revents & POLLIN);
}

static void leave(struct parked *parked)
{
	struct pollfd ready = { parked->listener_fd, POLLIN, 0 };

	assert_int_equal(poll(&ready, 1, 10000), 1);
	assert_true(ready.revents & POLLHUP);
	fd_close(&parked->listener_fd);
	(void)close(parked->pair[0]);
	(void)close(parked->pair[1]);
}

/* Killed while parked, before the monitor looks: nothing to answer, and no failure. */
static void a_caller_that_dies_before_the_answer_is_not_counted(void **state)
{
	cleanup(filter_free_p) struct filter *filter = default_filter();
	struct denial_room room = { .bytes = { 0 } };
	struct parked parked;
	struct denial denial;

	park(filter, &parked);
	assert_return_code(kill(parked.pid, SIGKILL), errno);
	assert_int_equal(waitpid(parked.pid, NULL, 0), parked.pid);

	assert_int_equal(denial_answer(parked.listener_fd, &filter->denials, &room, &denial), 0);
	assert_int_equal(denial_resume(parked.listener_fd, &filter->denials, &room, &denial), 0);
	leave(&parked);
}

/* A monitor has taken the call and died: the kernel tells it to nobody else, and the caller would wait for
 * ever. What it took is in the room. */
static void a_call_that_was_taken_and_not_answered_is_answered_by_the_next(void **state)
{
	cleanup(filter_free_p) struct filter *filter = default_filter();
	struct denial_room room = { .bytes = { 0 } };
	struct parked parked;
	struct denial denial;
	struct pollfd ready;
	int status;

	park(filter, &parked);
	assert_int_equal(ioctl(parked.listener_fd, SECCOMP_IOCTL_NOTIF_RECV, room.bytes), 0);
	ready = (struct pollfd){ parked.listener_fd, POLLIN, 0 };
	assert_int_equal(poll(&ready, 1, 0), 0); /* indeed: nothing to take any more */
	assert_int_equal(denial_resume(parked.listener_fd, &filter->denials, &room, &denial), 1);
	assert_int_equal(denial.nr, __NR_unshare);
	assert_int_equal(denial.errnum, EPERM);
	assert_int_equal(waitpid(parked.pid, &status, 0), parked.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EPERM);
	denial_forget(&room);
	assert_int_equal(denial_resume(parked.listener_fd, &filter->denials, &room, &denial), 0);
	leave(&parked);
}

static void the_page_counts_by_call_and_keeps_the_end_of_long_paths(void **state)
{
	struct container_page page = { 0 };
	struct denial denial = { .nr = 165, .errnum = EPERM, .program = "/bin/x" };

	assert_true(denial_count(&page, &denial));
	assert_false(denial_count(&page, &denial));
	assert_int_equal(page.denied_count, 1);
	assert_int_equal(page.denied[0].number, 165);
	assert_int_equal(page.denied[0].errnum, EPERM);
	assert_int_equal(page.denied[0].times, 2);
	assert_string_equal(page.denied[0].program, "/bin/x");

	memset(denial.program, 'a', sizeof(denial.program) - 1);
	memcpy(denial.program + sizeof(denial.program) - 5, "/end", 5);
	assert_false(denial_count(&page, &denial));
	assert_int_equal(strlen(page.denied[0].program), PAGE_PROGRAM_MAX - 1);
	assert_non_null(strstr(page.denied[0].program, "/end"));

	denial.errnum = EACCES;
	assert_true(denial_count(&page, &denial));
	assert_int_equal(page.denied_count, 2);
}

static void a_full_table_counts_in_the_total_only(void **state)
{
	struct container_page page = { 0 };
	struct denial denial = { .errnum = EPERM };

	for (uint32_t i = 0; i < PAGE_DENIED_MAX; i++) {
		denial.nr = i;
		assert_true(denial_count(&page, &denial));
	}
	denial.nr = PAGE_DENIED_MAX;
	assert_false(denial_count(&page, &denial));
	assert_int_equal(page.denied_count, PAGE_DENIED_MAX);
	assert_int_equal(page.denied_total, PAGE_DENIED_MAX + 1);
	denial.nr = 3;
	assert_false(denial_count(&page, &denial));
	assert_int_equal(page.denied[3].times, 2);
}

static int set_up(void **state)
{
	results = filtered_results_new();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_rule_that_fits_gives_the_errno),
		cmocka_unit_test(an_image_is_read_back_or_refused_whole),
		cmocka_unit_test(a_rule_for_an_argument_that_is_none_is_refused),
		cmocka_unit_test(a_denial_names_the_call_and_the_program),
		cmocka_unit_test(signals_neither_break_nor_repeat_a_denied_call),
		cmocka_unit_test(a_call_that_was_taken_and_not_answered_is_answered_by_the_next),
		cmocka_unit_test(a_caller_that_dies_before_the_answer_is_not_counted),
		cmocka_unit_test(the_page_counts_by_call_and_keeps_the_end_of_long_paths),
		cmocka_unit_test(a_full_table_counts_in_the_total_only),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
