/* With real processes that share a descriptor table, as the first process and its monitor do. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/gate.h"

static pid_t clone_sharing_files(void)
{
	struct clone_args args = { .flags = CLONE_FILES, .exit_signal = SIGCHLD };

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static void reap(pid_t pid, int expected)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, expected);
}

static void a_waiting_process_goes_on_when_let(void **state)
{
	struct gate gate;
	struct pollfd polled;
	pid_t pid;

	assert_int_equal(gate_init(&gate, NULL), 0);
	pid = clone_sharing_files();
	if (pid == 0) {
		gate_tell(&gate, GATE_WAITING);
		_exit(gate_wait(&gate) == 0 ? 0 : 1);
	}
	polled = (struct pollfd){ gate.up_fd, POLLIN, 0 };
	assert_int_equal(poll(&polled, 1, 10000), 1);
	assert_int_equal(gate_phase(&gate), GATE_WAITING);
	gate_let_pass(&gate);
	reap(pid, 0);
	gate_done(&gate);
}

static void exec_is_noticed_though_the_table_is_shared(void **state)
{
	struct gate gate;
	int hold[2];
	char byte;
	pid_t pid;

	assert_int_equal(gate_init(&gate, NULL), 0);
	assert_int_equal(pipe(hold), 0);
	pid = clone_sharing_files();
	if (pid == 0) {
		if (gate_watch_exec(&gate) < 0)
			_exit(3);
		gate_tell(&gate, GATE_LOADING);
		(void)!read(hold[0], &byte, 1);
		/* No descriptor but 0, 1 and 2 is needed: the program only sleeps for ever. */
		(void)execl("/bin/sleep", "sleep", "1000", (char *)NULL);
		_exit(4);
	}
	while (gate_phase(&gate) != GATE_LOADING) {
		struct pollfd polled = { gate.up_fd, POLLIN, 0 };

		assert_int_equal(poll(&polled, 1, 10000), 1);
	}
	assert_int_equal(gate_wait_exec(&gate, 50), -ETIME);
	assert_int_equal(write(hold[1], "x", 1), 1);
	assert_int_equal(gate_wait_exec(&gate, 10000), 0);
	assert_int_equal(kill(pid, 0), 0); /* it runs: that was the exec, not its end */
	assert_int_equal(kill(pid, SIGKILL), 0);
	reap(pid, SIGKILL);
	(void)close(hold[0]);
	(void)close(hold[1]);
	gate_done(&gate);
}

static void death_is_noticed_too(void **state)
{
	struct gate gate;
	pid_t pid;

	assert_int_equal(gate_init(&gate, NULL), 0);
	pid = clone_sharing_files();
	if (pid == 0) {
		if (gate_watch_exec(&gate) == 0)
			(void)kill(getpid(), SIGKILL);
		_exit(3);
	}
	/* Before the word is set there is nothing to wait for. */
	while (!__atomic_load_n(&gate.page->owner, __ATOMIC_ACQUIRE))
		(void)sched_yield();
	assert_int_equal(gate_wait_exec(&gate, 10000), 0);
	reap(pid, SIGKILL);
	gate_done(&gate);
}

/* As when the filter is loaded: one low number is free, and a limit forbids all others. */
static _Noreturn void take_low_number(struct gate *gate, int low)
{
	const struct rlimit limit = { (rlim_t)low + 1, (rlim_t)low + 1 };
	int fd;

	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		_exit(2);
	gate_take_table(gate);
	(void)close(low);
	(void)sched_yield();
	fd = open("/dev/null", O_RDONLY);
	gate_give_table(gate);
	_exit(fd == low ? 0 : 3);
}

static void the_low_number_is_the_process_s_whatever_the_monitor_makes(void **state)
{
	for (int i = 0; i < 200; i++) {
		int status;
		int low = open("/dev/null", O_RDONLY);
		struct gate gate;
		pid_t pid;

		assert_int_equal(gate_init(&gate, NULL), 0);
		pid = clone_sharing_files();
		if (pid == 0)
			take_low_number(&gate, low);
		for (int j = 0; j < 20; j++) /* it has the table at first */
			assert_int_equal(close(dup(1)), 0);
		gate_free_table(&gate);
		while (waitpid(pid, &status, WNOHANG) == 0) {
			if (!gate_try_table(&gate))
				continue;
			assert_int_equal(close(dup(1)), 0);
			gate_free_table(&gate);
		}
		assert_int_equal(status, 0);
		(void)close(low);
		gate_done(&gate);
	}
}

static void the_monitor_makes_nothing_while_the_process_has_the_table(void **state)
{
	struct gate gate;
	struct pollfd polled;
	pid_t pid;

	assert_int_equal(gate_init(&gate, NULL), 0);
	assert_false(gate_try_table(&gate)); /* it has it */
	pid = clone_sharing_files();
	if (pid == 0) {
		gate_take_table(&gate);
		gate_tell(&gate, GATE_WAITING);
		(void)gate_wait(&gate);
		gate_give_table(&gate);
		_exit(0);
	}
	gate_free_table(&gate);
	polled = (struct pollfd){ gate.up_fd, POLLIN, 0 };
	assert_int_equal(poll(&polled, 1, 10000), 1);
	assert_false(gate_try_table(&gate));
	gate_let_pass(&gate);
	reap(pid, 0);
	assert_true(gate_try_table(&gate));
	gate_done(&gate);
}

static void who_waits_sees_that_the_monitor_is_dead(void **state)
{
	int said[2];
	char answer = 0;
	struct gate gate;
	pid_t pid;

	assert_int_equal(pipe(said), 0);
	pid = fork();
	if (pid == 0) { /* the monitor, which dies when it has a process */
		struct pollfd end;

		if (gate_init(&gate, NULL) < 0 || gate_is_abandoned(&gate) || fork() != 0)
			_exit(0);
		end = (struct pollfd){ .fd = gate.monitor_fd, .events = POLLIN };
		(void)poll(&end, 1, 10000);
		answer = gate_is_abandoned(&gate) ? 'd' : 'l';
		(void)!write(said[1], &answer, 1);
		_exit(0);
	}
	(void)close(said[1]);
	reap(pid, 0);
	assert_int_equal(read(said[0], &answer, 1), 1);
	assert_int_equal(answer, 'd');
	(void)close(said[0]);
}

static void warnings_are_cut_and_counted(void **state)
{
	struct gate gate;
	struct err err;

	assert_int_equal(gate_init(&gate, NULL), 0);
	memset(err.text, 'w', sizeof(err.text));
	for (int i = 0; i < GATE_WARNINGS_MAX + 3; i++)
		gate_warn(&gate, &err);
	assert_int_equal(gate.page->warning_count, GATE_WARNINGS_MAX);
	assert_int_equal(strlen(gate.page->warnings[0].text),
			 sizeof(gate.page->warnings[0].text) - 1);
	gate_done(&gate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_waiting_process_goes_on_when_let),
		cmocka_unit_test(exec_is_noticed_though_the_table_is_shared),
		cmocka_unit_test(death_is_noticed_too),
		cmocka_unit_test(the_low_number_is_the_process_s_whatever_the_monitor_makes),
		cmocka_unit_test(the_monitor_makes_nothing_while_the_process_has_the_table),
		cmocka_unit_test(who_waits_sees_that_the_monitor_is_dead),
		cmocka_unit_test(warnings_are_cut_and_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
