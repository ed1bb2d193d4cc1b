#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/reaper.h"

struct seen {
	pid_t pid;
	int code;
	int status;
	int times;
};

static void note(pid_t pid, int code, int status, void *userdata)
{
	struct seen *seen = userdata;

	seen->pid = pid;
	seen->code = code;
	seen->status = status;
	seen->times++;
}

static struct reaper *new_reaper(sd_event **event)
{
	struct reaper *reaper = NULL;
	struct err err = { 0 };
	sigset_t set;

	assert_int_equal(sigemptyset(&set), 0);
	assert_int_equal(sigaddset(&set, SIGCHLD), 0);
	assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
	assert_int_equal(sd_event_new(event), 0);
	assert_int_equal(reaper_new(*event, &reaper, &err), 0);
	return reaper;
}

static void run_until(sd_event *event, const int *value)
{
	while (!*value)
		assert_true(sd_event_run(event, 10 * 1000 * 1000) > 0);
}

static void an_end_is_told_once_and_exactly(void **state)
{
	sd_event *event = NULL;
	struct reaper *reaper = new_reaper(&event);
	struct seen seen = { 0 };
	pid_t pid = fork();

	if (pid == 0)
		_exit(41);
	assert_int_equal(reaper_watch(reaper, pid, note, &seen, NULL), 0);
	run_until(event, &seen.times);
	assert_int_equal(seen.pid, pid);
	assert_int_equal(seen.code, CLD_EXITED);
	assert_int_equal(seen.status, 41);
	reaper_collect(reaper);
	assert_int_equal(seen.times, 1);
	reaper_free(reaper);
	sd_event_unref(event);
}

/* The grandchild is watched before it is our child; it becomes one when its parent dies. */
static void an_orphan_below_us_is_told_too(void **state)
{
	sd_event *event = NULL;
	struct reaper *reaper = new_reaper(&event);
	struct seen seen = { 0 };
	pid_t grandchild;
	int gate[2];
	int tell[2];

	assert_int_equal(pipe(gate), 0);
	assert_int_equal(pipe(tell), 0);
	if (fork() == 0) {
		pid_t pid = fork();
		char byte;

		if (pid == 0) {
			(void)close(gate[1]);
			(void)!read(gate[0], &byte, 1);
			(void)kill(getpid(), SIGKILL);
		}
		_exit(write(tell[1], &pid, sizeof(pid)) != sizeof(pid));
	}
	assert_int_equal(read(tell[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
	assert_int_equal(reaper_watch(reaper, grandchild, note, &seen, NULL), 0);
	(void)close(gate[1]);
	run_until(event, &seen.times);
	assert_int_equal(seen.pid, grandchild);
	assert_int_equal(seen.code, CLD_KILLED);
	assert_int_equal(seen.status, SIGKILL);
	reaper_free(reaper);
	sd_event_unref(event);
}

static void only_a_child_is_killed_by_its_number(void **state)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		for (;;)
			(void)pause();
	}
	reaper_kill_child(getpid()); /* alive, and nobody's child of ours */
	reaper_kill_child(pid);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	reaper_kill_child(pid); /* collected: whoever has it now */
}

static void what_is_forgotten_is_not_told(void **state)
{
	sd_event *event = NULL;
	struct reaper *reaper = new_reaper(&event);
	struct seen seen = { 0 };
	struct seen other = { 0 };
	siginfo_t end;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	assert_int_equal(reaper_watch(reaper, pid, note, &seen, NULL), 0);
	reaper_forget(reaper, pid, &other); /* not its */
	assert_int_equal(waitid(P_PID, (id_t)pid, &end, WEXITED | WNOWAIT), 0);
	reaper_forget(reaper, pid, &seen);
	reaper_collect(reaper);
	assert_int_equal(seen.times, 0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &end, WEXITED | WNOHANG), -1);
	reaper_free(reaper);
	sd_event_unref(event);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_end_is_told_once_and_exactly),
		cmocka_unit_test(an_orphan_below_us_is_told_too),
		cmocka_unit_test(only_a_child_is_killed_by_its_number),
		cmocka_unit_test(what_is_forgotten_is_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
