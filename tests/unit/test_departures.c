#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/departures.h"

/* A child that ends when it is hung up on. */
struct child {
	pid_t pid;
	int pipe_fd;
};

static struct child child_new(void)
{
	struct child child;
	int pair[2];
	char byte;

	assert_int_equal(pipe(pair), 0);
	child.pid = fork();
	assert_true(child.pid >= 0);
	if (child.pid == 0) {
		(void)close(pair[1]);
		(void)!read(pair[0], &byte, 1);
		_exit(0);
	}
	(void)close(pair[0]);
	child.pipe_fd = pair[1];
	return child;
}

static void child_done(struct child *child)
{
	fd_close(&child->pipe_fd);
	assert_int_equal(waitpid(child->pid, NULL, 0), child->pid);
}

static struct departures *new_departures(sd_event **event)
{
	struct departures *departures = NULL;
	struct err err = { 0 };

	assert_int_equal(sd_event_new(event), 0);
	assert_int_equal(departures_new(*event, &departures, &err), 0);
	return departures;
}

static void each_counts_until_it_has_ended(void **state)
{
	sd_event *event = NULL;
	struct departures *departures = new_departures(&event);
	struct child first = child_new();
	struct child second = child_new();

	departures_expect(departures, pidfd_open(first.pid, 0));
	departures_expect(departures, pidfd_open(second.pid, 0));
	assert_int_equal(departures_count(departures), 2);
	assert_int_equal(sd_event_run(event, 0), 0); /* nothing has happened */
	assert_int_equal(departures_count(departures), 2);
	fd_close(&second.pipe_fd);
	assert_true(sd_event_run(event, 10 * 1000 * 1000) > 0);
	assert_int_equal(departures_count(departures), 1);
	fd_close(&first.pipe_fd);
	assert_true(sd_event_run(event, 10 * 1000 * 1000) > 0);
	assert_int_equal(departures_count(departures), 0);
	child_done(&first);
	child_done(&second);
	departures_free(departures);
	sd_event_unref(event);
}

static void one_that_has_ended_already_is_gone_with_the_next_turn(void **state)
{
	sd_event *event = NULL;
	struct departures *departures = new_departures(&event);
	struct child child = child_new();
	int pidfd = pidfd_open(child.pid, 0);

	child_done(&child);
	departures_expect(departures, pidfd);
	assert_true(sd_event_run(event, 10 * 1000 * 1000) > 0);
	assert_int_equal(departures_count(departures), 0);
	departures_free(departures);
	sd_event_unref(event);
}

static void what_cannot_be_held_is_not_waited_for(void **state)
{
	sd_event *event = NULL;
	struct departures *departures = new_departures(&event);
	int pidfd = pidfd_open(getpid(), 0);

	departures_expect(departures, -1);
	assert_int_equal(departures_count(departures), 0);
	departures_expect(NULL, pidfd);
	assert_int_equal(pidfd_send_signal(pidfd, 0, NULL, 0), -1); /* it was taken, and closed */
	assert_int_equal(departures_count(NULL), 0);
	departures_free(departures);
	departures_free(NULL);
	sd_event_unref(event);
}

static void the_end_of_all_leaves_those_who_are_still_there(void **state)
{
	sd_event *event = NULL;
	struct departures *departures = new_departures(&event);
	struct child child = child_new();

	departures_expect(departures, pidfd_open(child.pid, 0));
	departures_free(departures);
	assert_int_equal(sd_event_run(event, 0), 0);
	assert_int_equal(kill(child.pid, 0), 0);
	child_done(&child);
	sd_event_unref(event);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_counts_until_it_has_ended),
		cmocka_unit_test(one_that_has_ended_already_is_gone_with_the_next_turn),
		cmocka_unit_test(what_cannot_be_held_is_not_waited_for),
		cmocka_unit_test(the_end_of_all_leaves_those_who_are_still_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
