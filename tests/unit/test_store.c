/* The durable store on a real disk: what it keeps, in which order it answers, and what it makes of damage. */
#include "store_desk.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- keeping -------------------------------------------------------------------------------------- */

static void put_some(struct desk *desk)
{
	struct store_done d = desk_done(desk, 3);

	desk_put_intent(desk, "web", "spec", 4, true);
	desk_put_life(desk, "web", "alive");
	desk_put_event(desk, 10);
	desk_put_event(desk, 11);
	desk->store->ops->put_epoch(desk->store, 99, &d);
	desk->store->ops->put_node(desk->store, (const uint8_t *)"n", 1, &d);
	desk_put_intent(desk, "gone", "spec", 4, false);
	desk->store->ops->put_tombstone(desk->store, "gone", 44, &d);
	desk_submit(desk);
	desk_until_answered(desk, 8);
	desk->n_answers = 0;
}

static void what_was_put_is_there_again(void **state)
{
	struct desk *desk = *state;

	desk_open(desk, 0);
	assert_true(desk->store->fresh);
	desk_load(desk);
	put_some(desk);
	desk_put_life(desk, "web", "alive and well");
	desk_submit(desk);
	desk_close(desk); /* what was submitted is written first */

	desk_open(desk, 0);
	assert_false(desk->store->fresh);
	assert_string_equal(desk->store->damage, "");
	desk_load(desk);
	assert_int_equal(desk->intents, 1);
	assert_string_equal(desk->spec, "web 7 18446744073709551615 5 spec");
	assert_true(desk->stop);
	assert_string_equal(desk->life, "web alive and well");
	assert_int_equal(desk->lives, 1);
	assert_int_equal(desk->epoch, 99);
	assert_int_equal(desk->generation, 44);
	assert_int_equal(desk->events, 2);
	assert_int_equal(desk->last_event, 11);
	assert_int_equal(desk->nodes, 1);
}

static void answers_come_in_order_and_commits_are_grouped(void **state)
{
	struct desk *desk = *state;
	struct store_done d;

	desk_open(desk, 0);
	for (uint64_t i = 1; i <= 5000; i++) {
		desk_put_event(desk, i);
		if (i % 10 == 0)
			desk_submit(desk);
	}
	d = desk_done(desk, 5001);
	desk->store->ops->put_barrier(desk->store, &d);
	desk_submit(desk);
	desk_until_answered(desk, 5001);
	for (uint64_t i = 0; i <= 5000; i++) {
		assert_int_equal(desk->tickets[i], i + 1);
		assert_false(desk->failed[i]);
	}
}

static void what_is_not_submitted_is_not_written(void **state)
{
	struct desk *desk = *state;

	desk_open(desk, 0);
	desk_load(desk);
	desk_put_event(desk, 1);
	desk_put_life(desk, "web", "x");
	assert_true(sd_event_run(desk->event, 50000) == 0);
	assert_int_equal(desk->n_answers, 0);
	desk_close(desk);
	desk_open(desk, 0);
	desk_load(desk);
	assert_int_equal(desk->events, 0);
}

static void old_events_go(void **state)
{
	struct desk *desk = *state;

	desk_open(desk, 100);
	for (uint64_t i = 1; i <= 350; i++) {
		desk_put_event(desk, i);
		desk_submit(desk);
	}
	desk_until_answered(desk, 350);
	desk_close(desk);
	desk_open(desk, 100);
	desk_load(desk);
	assert_int_equal(desk->events, 100);
	assert_int_equal(desk->last_event, 350);
}

static void a_second_process_is_refused(void **state)
{
	struct desk *desk = *state;
	const struct store_sqlite_config config = { .directory = desk->directory };
	struct store *second = NULL;
	struct err err = { 0 };
	int tell[2];
	pid_t pid;
	int status;
	char byte;
	int r;

	assert_int_equal(pipe(tell), 0);
	pid = fork(); /* locks are of processes */
	if (pid == 0) {
		desk->event = NULL; /* a loop does not outlive a fork */
		(void)sd_event_new(&desk->event);
		desk_open(desk, 0);
		put_some(desk);
		(void)!write(tell[1], "x", 1);
		(void)pause();
		_exit(0);
	}
	(void)close(tell[1]);
	assert_int_equal(read(tell[0], &byte, 1), 1);
	r = store_sqlite_new(desk->event, &config, &second, &err);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(r, -EBUSY);
	assert_non_null(strstr(err.text, "second berthd"));
	(void)close(tell[0]);

	/* And what it had been answered for is there, though it died. */
	desk_open(desk, 0);
	desk_load(desk);
	assert_int_equal(desk->intents, 1);
	assert_int_equal(desk->last_event, 11);
}

/* ---- damage --------------------------------------------------------------------------------------- */

static off_t fill(struct desk *desk, size_t n)
{
	char spec[3000];
	struct stat st;
	char id[32];

	memset(spec, 's', sizeof(spec));
	desk_open(desk, 0);
	desk_load(desk);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(id, sizeof(id), "w-%zu", i);
		desk_put_intent(desk, id, spec, sizeof(spec), false);
		desk_put_life(desk, id, "alive");
		desk_put_event(desk, i + 1);
		desk_submit(desk);
	}
	desk_until_answered(desk, 3 * n);
	desk->n_answers = 0;
	desk_close(desk); /* and the journal goes into the file */
	assert_int_equal(stat(desk_file(desk, "agent.db"), &st), 0);
	return st.st_size;
}

/* It starts, says so, keeps the old file, and takes writes. */
static void check_damaged(struct desk *desk)
{
	desk_open(desk, 0);
	assert_true(desk->store->fresh);
	assert_non_null(strstr(desk->store->damage, "damaged"));
	assert_non_null(strstr(desk->store->damage, "agent.db.damaged-"));
	assert_int_equal(desk_count_files(desk, "damaged-"), 1);
	desk_load(desk);
	desk_put_event(desk, 100000);
	desk_submit(desk);
	desk_until_answered(desk, 1);
	assert_false(desk->failed[0]);
	desk->n_answers = 0;
	desk_close(desk);
}

static void a_file_cut_at_any_page_is_set_aside_and_mostly_taken_over(void **state)
{
	struct desk *desk = *state;
	off_t whole = fill(desk, 30);
	size_t saved = 0;

	for (off_t size = 0; size < whole; size += 4096) {
		desk_empty_directory(desk);
		assert_int_equal(fill(desk, 30), whole);
		assert_int_equal(truncate(desk_file(desk, "agent.db"), size), 0);
		check_damaged(desk);
		saved += desk->intents;
	}
	assert_true(saved > 0);
}

static void wrong_bytes_are_noticed_wherever_they_are(void **state)
{
	struct desk *desk = *state;
	off_t whole = fill(desk, 12);

	for (off_t at = 0; at < whole; at += 1021) {
		int fd = open(desk_file(desk, "agent.db"), O_RDWR);
		char byte;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		(void)close(fd);
		desk_open(desk, 0);
		desk_load(desk);
		/* Where the byte is in nobody's record nothing is lost; else it is said, and the
		 * others are there. */
		if (desk->intents < 12 || desk->lives < 12 || desk->events < 12)
			assert_true(desk->store->fresh && desk->store->damage[0]);
		assert_int_equal(desk->wrong, 0);
		desk_close(desk);
		desk_empty_directory(desk);
		assert_int_equal(fill(desk, 12), whole);
	}
}

/* As if a later release had been here: its version, and the oldest that it says can go on. */
static void make_later(const struct desk *desk, int version, int oldest_reader)
{
	char text[128];
	sqlite3 *handle;

	(void)snprintf(text, sizeof(text),
		       "CREATE TABLE later (x); PRAGMA user_version=%d; PRAGMA application_id=%d",
		       version, 0x42520000 + oldest_reader);
	assert_int_equal(sqlite3_open(desk_file(desk, "agent.db"), &handle), SQLITE_OK);
	assert_int_equal(sqlite3_exec(handle, text, NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(handle);
}

static int version_of(const struct desk *desk)
{
	sqlite3_stmt *statement;
	sqlite3 *handle;
	int version;

	assert_int_equal(sqlite3_open(desk_file(desk, "agent.db"), &handle), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(handle, "PRAGMA user_version", -1, &statement, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	version = sqlite3_column_int(statement, 0);
	(void)sqlite3_finalize(statement);
	(void)sqlite3_close(handle);
	return version;
}

static void a_file_of_a_later_release_is_left_alone(void **state)
{
	struct desk *desk = *state;

	(void)fill(desk, 1);
	make_later(desk, 999, 998);
	desk_open(desk, 0);
	assert_non_null(strstr(desk->store->failure, "later release"));
	assert_true(desk->store->unread && desk->store->fresh);
	desk_put_event(desk, 1);
	desk_submit(desk);
	desk_until_answered(desk, 1);
	assert_true(desk->failed[0]);
	desk_close(desk);
	assert_int_equal(desk_count_files(desk, "damaged"), 0);
	assert_int_equal(version_of(desk), 999);
}

/* What it added is not ours to understand: going back to this release works, and forth again. */
static void a_file_of_a_later_release_that_lets_us_is_used(void **state)
{
	struct desk *desk = *state;

	(void)fill(desk, 3);
	make_later(desk, 999, 2);
	desk_open(desk, 0);
	assert_string_equal(desk->store->failure, "");
	desk_load(desk);
	assert_int_equal(desk->intents, 3);
	desk_put_event(desk, 4);
	desk_submit(desk);
	desk_until_answered(desk, 1);
	desk_close(desk);
	assert_int_equal(version_of(desk), 999);
	desk_open(desk, 0);
	desk_load(desk);
	assert_int_equal(desk->last_event, 4);
}

/* ---- a disk that says no -------------------------------------------------------------------------- */

static void on_recovered(void *userdata)
{
	((struct desk *)userdata)->recoveries++;
}

static void a_full_disk_fails_writes_and_is_tried_again(void **state)
{
	struct desk *desk = *state;
	struct rlimit limit;
	struct stat st;
	char spec[60000];

	(void)signal(SIGXFSZ, SIG_IGN);
	memset(spec, 's', sizeof(spec));
	desk_open(desk, 0);
	desk->store->recovered = on_recovered;
	desk->store->userdata = desk;
	desk_load(desk);
	desk_put_event(desk, 1);
	desk_submit(desk);
	desk_until_answered(desk, 1);
	assert_int_equal(stat(desk_file(desk, "agent.db-wal"), &st), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = (rlim_t)st.st_size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);

	desk_put_intent(desk, "web", spec, sizeof(spec), false);
	desk_put_event(desk, 2);
	desk_submit(desk);
	desk_until_answered(desk, 3);
	assert_true(desk->failed[1] && desk->failed[2]);
	assert_true(desk->store->failure[0]);

	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	while (!desk->recoveries)
		assert_true(sd_event_run(desk->event, 20000000) > 0);
	assert_string_equal(desk->store->failure, "");
	desk_put_intent(desk, "web", spec, sizeof(spec), false);
	desk_submit(desk);
	desk_until_answered(desk, 4);
	assert_false(desk->failed[3]);
	desk_close(desk);
	desk_open(desk, 0);
	desk_load(desk);
	assert_int_equal(desk->intents, 1);
	assert_int_equal(desk->events, 1); /* of the failed transaction nothing */
}

static void a_directory_that_is_not_there_is_waited_for(void **state)
{
	struct desk *desk = *state;

	(void)fill(desk, 2);
	assert_int_equal(rename(desk->directory, "/tmp/test_store.away"), 0);
	desk_open(desk, 0);
	assert_true(desk->store->failure[0]);
	assert_true(desk->store->unread);
	desk_load(desk);
	assert_int_equal(desk->intents, 0);
	assert_int_equal(rename("/tmp/test_store.away", desk->directory), 0);
	while (desk->store->failure[0])
		assert_true(sd_event_run(desk->event, 20000000) > 0);
	assert_true(desk->store->unread);
	desk_close(desk);
	desk_open(desk, 0);
	desk_load(desk);
	assert_int_equal(desk->intents, 2);
}

static void a_queue_that_is_full_refuses(void **state)
{
	struct desk *desk = *state;
	const struct store_sqlite_config config = { .directory = desk->directory,
						    .retry_ms = 20,
						    .queue_max = 2000 };
	struct err err = { 0 };
	char spec[900];

	memset(spec, 's', sizeof(spec));
	assert_int_equal(store_sqlite_new(desk->event, &config, &desk->store, &err), 0);
	for (int i = 0; i < 4; i++)
		desk_put_intent(desk, "web", spec, sizeof(spec), false);
	assert_true(desk->n_answers >= 2);
	assert_true(desk->failed[0]);
	assert_non_null(strstr(desk->store->failure, "too slow"));
	desk_submit(desk);
	while (desk->store->failure[0])
		assert_true(sd_event_run(desk->event, 20000000) > 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, desk_begin, desk_end)
	const struct CMUnitTest tests[] = {
		T(what_was_put_is_there_again),
		T(answers_come_in_order_and_commits_are_grouped),
		T(what_is_not_submitted_is_not_written),
		T(old_events_go),
		T(a_second_process_is_refused),
		T(a_file_cut_at_any_page_is_set_aside_and_mostly_taken_over),
		T(wrong_bytes_are_noticed_wherever_they_are),
		T(a_file_of_a_later_release_is_left_alone),
		T(a_file_of_a_later_release_that_lets_us_is_used),
		T(a_full_disk_fails_writes_and_is_tried_again),
		T(a_directory_that_is_not_there_is_waited_for),
		T(a_queue_that_is_full_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
