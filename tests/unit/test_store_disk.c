/* The durable store on a disk that is full, fails, is slow, or goes away. */
#include "store_desk.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "played_disk.h"

static void on_recovered(void *userdata)
{
	((struct desk *)userdata)->recoveries++;
}

static void open_well(struct desk *desk)
{
	desk_open(desk, 0);
	desk->store->recovered = on_recovered;
	desk->store->userdata = desk;
	desk_load(desk);
	assert_string_equal(desk->store->failure, "");
}

static void reopen(struct desk *desk)
{
	desk_close(desk);
	desk_open(desk, 0);
	desk_load(desk);
	assert_int_equal(desk->wrong, 0);
}

static ino_t inode(const struct desk *desk, const char *name)
{
	struct stat st;

	assert_int_equal(stat(desk_file(desk, name), &st), 0);
	return st.st_ino;
}

/* An intent of what is new: the first to go on a full disk. */
static void put_new(struct desk *desk, const char *id, uint64_t ticket)
{
	const struct store_intent intent = { .id = id,
					     .instance = 7,
					     .generation = 1,
					     .epoch = 5,
					     .spec = (const uint8_t *)"ssss",
					     .spec_bytes = 4,
					     .is_new = true };
	struct store_done d = desk_done(desk, ticket);

	desk->store->ops->put_intent(desk->store, &intent, &d);
}

/* ---- EIO ------------------------------------------------------------------------------------------ */

static void a_sync_that_failed_is_never_taken_for_one_that_worked(void **state)
{
	struct desk *desk = *state;
	ino_t before;

	open_well(desk);
	desk_put_event(desk, 1);
	desk_submit(desk);
	desk_until_answered(desk, 1);
	before = inode(desk, "agent.db");
	played_disk_fail(NULL, OP_SYNC, 0, 1, EIO);
	desk_put_event(desk, 2);
	desk_submit(desk);
	desk_until_answered(desk, 2);
	assert_true(desk->failed[1]);
	assert_non_null(strstr(desk->store->failure, "Input/output error"));
	desk_until_well(desk);
	assert_int_equal(desk->recoveries, 1);
	/* All of it in a new file, and an operator hears of the disk. */
	assert_true(inode(desk, "agent.db") != before);
	assert_non_null(strstr(desk->store->damage, "disk"));
	assert_int_equal(desk_count_files(desk, "damaged"), 0);
	desk_put_event(desk, 3);
	desk_submit(desk);
	desk_until_answered(desk, 3);
	assert_false(desk->failed[2]);
	reopen(desk);
	assert_int_equal(desk->last_event, 3);
	assert_true(desk->events >= 2);
}

/* SQLite does its own checkpoints without a word about their failures: ours count. */
static void a_checkpoint_that_fails_is_a_failure(void **state)
{
	struct desk *desk = *state;
	char spec[60000];
	size_t n = 0;

	memset(spec, 's', sizeof(spec));
	open_well(desk);
	played_disk_fail("agent.db", OP_SYNC, 0, 1, EIO);
	while (!played_disk_failures()) {
		desk_put_intent(desk, "w-1", spec, sizeof(spec), false);
		desk_submit(desk);
		desk_until_answered(desk, ++n);
		assert_true(!desk->failed[n - 1] || played_disk_failures());
	}
	while (!desk->recoveries)
		assert_true(sd_event_run(desk->event, 20000000) > 0);
	desk_until_well(desk);
	reopen(desk);
	assert_int_equal(desk->intents, 1);
}

/* What a scenario puts, and what must be there when it was answered. */
static size_t play(struct desk *desk)
{
	size_t n = desk->n_answers;

	desk_put_intent(desk, "w-1", "ssss", 4, false);
	desk_put_life(desk, "w-1", "alive");
	desk_put_event(desk, 1);
	desk_submit(desk);
	desk_until_answered(desk, n + 3);
	desk_put_record(desk, 2);
	desk_put_event(desk, 2);
	desk_submit(desk);
	desk_until_answered(desk, n + 5);
	return n + 5;
}

static size_t failed_answers(const struct desk *desk, size_t from)
{
	size_t n = 0;

	for (size_t i = from; i < desk->n_answers; i++)
		n += desk->failed[i];
	return n;
}

/* One failure after the other, at every operation that there is. */
static void fail_everywhere(struct desk *desk, unsigned int kind, int number)
{
	for (size_t skip = 0;; skip++) {
		size_t failures;

		desk_empty_directory(desk);
		open_well(desk);
		desk->n_answers = 0;
		desk->recoveries = 0;
		played_disk_fail(NULL, kind, skip, 1, number);
		(void)play(desk);
		failures = played_disk_failures();
		desk_until_well(desk);
		played_disk_mend();
		if (failed_answers(desk, 0)) { /* then the engine puts it again */
			assert_true(failures > 0);
			while (!desk->recoveries)
				assert_true(sd_event_run(desk->event, 20000000) > 0);
			desk->n_answers = 0;
			(void)play(desk);
			assert_int_equal(failed_answers(desk, 0), 0);
		}
		reopen(desk);
		assert_int_equal(desk->intents, 1);
		assert_int_equal(desk->lives, 1);
		assert_int_equal(desk->events, 2);
		assert_int_equal(desk->records, 1);
		desk_close(desk);
		if (!failures)
			return; /* past the last one */
	}
}

static void any_write_may_fail(void **state)
{
	fail_everywhere(*state, OP_WRITE, EIO);
	fail_everywhere(*state, OP_WRITE, ENOSPC);
	fail_everywhere(*state, OP_WRITE, EROFS);
}

static void any_sync_may_fail(void **state)
{
	fail_everywhere(*state, OP_SYNC | OP_TRUNCATE | OP_DELETE, EIO);
}

/* ---- a full disk ---------------------------------------------------------------------------------- */

static void fill_disk(const struct desk *desk)
{
	static char bytes[65536];
	int fd = open(desk_file(desk, "filler"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	for (size_t n = sizeof(bytes); n > 0;)
		if (write(fd, bytes, n) <= 0)
			n /= 2;
	(void)close(fd);
}

/* A disk of 4 MiB at the desk's directory, in a mount namespace of this process's own. */
static bool mount_small_disk(const struct desk *desk, const char *options)
{
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", desk->directory, "tmpfs", 0, options) < 0) {
		print_message("skipped: a disk of its own needs root\n");
		return false;
	}
	return true;
}

static void a_full_disk_takes_nothing_new_and_all_that_ends(void **state)
{
	struct desk *desk = *state;
	size_t n;

	if (!mount_small_disk(desk, "size=4m"))
		return;
	open_well(desk);
	desk_put_intent(desk, "w-1", "ssss", 4, false);
	desk_submit(desk);
	desk_until_answered(desk, 1);
	fill_disk(desk);
	put_new(desk, "w-2", 2);
	desk_put_life(desk, "w-2", "alive");
	/* More than the journal has room for. */
	for (uint64_t i = 1; i <= 200; i++) {
		desk_put_event(desk, i);
		desk_put_record(desk, i);
		desk_submit(desk);
		desk_until_answered(desk, desk->n_answers + 2 + (i == 1) * 2);
	}
	assert_true(desk->store->failure[0]);
	assert_non_null(strstr(desk->store->failure, "full"));
	desk_put_intent(desk, "w-1", "ssss", 4, true); /* a stop */
	desk_put_tombstone(desk, "w-2", 0);
	desk_put_tombstone(desk, "w-3", 8);
	put_new(desk, "w-4", 4);
	n = desk->n_answers;
	desk_submit(desk);
	desk_until_answered(desk, n + 4);
	assert_false(desk->failed[n] || desk->failed[n + 1] || desk->failed[n + 2]);
	assert_true(desk->failed[n + 3]);
	assert_int_equal(desk->recoveries, 0); /* nothing is missing */

	assert_int_equal(unlink(desk_file(desk, "filler")), 0);
	desk_until_well(desk);
	put_new(desk, "w-4", 4);
	n = desk->n_answers;
	desk_submit(desk);
	desk_until_answered(desk, n + 1);
	assert_false(desk->failed[n]);
	reopen(desk);
	assert_int_equal(desk->intents, 2);
	assert_int_equal(desk->lives, 0);
	assert_int_equal(desk->events, 200);
	assert_int_equal(desk->records, 200);
	assert_int_equal(desk->tombstones, 1);
	desk_close(desk);
	assert_int_equal(umount2(desk->directory, MNT_DETACH), 0);
}

static void a_disk_that_is_full_at_the_start_is_no_reason_not_to(void **state)
{
	struct desk *desk = *state;

	if (!mount_small_disk(desk, "size=4m"))
		return;
	open_well(desk);
	desk_put_intent(desk, "w-1", "ssss", 4, false);
	desk_submit(desk);
	desk_until_answered(desk, 1);
	desk_close(desk);
	fill_disk(desk);
	desk_open(desk, 0);
	desk_load(desk);
	assert_int_equal(desk->intents, 1);
	desk_put_tombstone(desk, "w-1", 1);
	desk_submit(desk);
	desk_until_answered(desk, 2);
	assert_false(desk->failed[1]);
	desk_close(desk);
	/* And with the reserve given up, and the journal full. */
	fill_disk(desk);
	desk_open(desk, 0);
	desk_load(desk);
	assert_non_null(strstr(desk->store->failure, "full"));
	put_new(desk, "w-2", 2);
	desk_submit(desk);
	desk_until_answered(desk, 3);
	assert_true(desk->failed[2]);
	assert_int_equal(unlink(desk_file(desk, "filler")), 0);
	desk_until_well(desk);
	desk_close(desk);
	assert_int_equal(umount2(desk->directory, MNT_DETACH), 0);
}

static void without_inodes_what_is_open_goes_on(void **state)
{
	struct desk *desk = *state;
	char name[32];
	int fd;

	if (!mount_small_disk(desk, "size=4m,nr_inodes=16"))
		return;
	open_well(desk);
	for (int i = 0;; i++) {
		(void)snprintf(name, sizeof(name), "inode-%d", i);
		fd = open(desk_file(desk, name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			break;
		(void)close(fd);
	}
	assert_int_equal(errno, ENOSPC);
	desk_put_event(desk, 1);
	desk_submit(desk);
	desk_until_answered(desk, 1);
	assert_false(desk->failed[0]);
	desk_close(desk);
	/* Its journal needs one: the reserve's is given up for it. */
	fd = open(desk_file(desk, "inode-last"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	(void)close(fd);
	desk_open(desk, 0);
	desk_load(desk);
	assert_int_equal(desk->events, 1);
	desk_put_event(desk, 2);
	desk_submit(desk);
	desk_until_answered(desk, 2);
	assert_false(desk->failed[1]);
	desk_close(desk);
	assert_int_equal(umount2(desk->directory, MNT_DETACH), 0);
}

static void without_descriptors_what_is_open_goes_on(void **state)
{
	struct desk *desk = *state;
	struct rlimit before;
	struct rlimit none;

	open_well(desk);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (uint64_t i = 1; i <= 100; i++) {
		desk_put_event(desk, i);
		desk_submit(desk);
		desk_until_answered(desk, i);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(failed_answers(desk, 0), 0);
	reopen(desk);
	assert_int_equal(desk->events, 100);
}

/* ---- a slow disk ---------------------------------------------------------------------------------- */

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	int *ticks = userdata;

	(*ticks)++;
	return sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

static void a_slow_disk_holds_up_nobody_and_gets_larger_commits(void **state)
{
	struct desk *desk = *state;
	sd_event_source *timer = NULL;
	const struct played_op *ops;
	size_t n_ops;
	size_t syncs = 0;
	int ticks = 0;

	open_well(desk);
	played_disk_hold();
	desk_put_event(desk, 1);
	desk_submit(desk);
	played_disk_until_held(); /* the first commit, which will be long */
	played_disk_record(true);
	assert_true(sd_event_add_time_relative(desk->event, &timer, CLOCK_MONOTONIC, 0, 1, on_tick,
					       &ticks) >= 0);
	for (uint64_t i = 2; i <= 3000; i++) { /* each of another command */
		desk_put_event(desk, i);
		desk_submit(desk);
	}
	/* The loop has time for everybody else. */
	while (!ticks)
		assert_true(sd_event_run(desk->event, 20000000) > 0);
	sd_event_source_unref(timer);
	assert_int_equal(desk->n_answers, 0);
	assert_string_equal(desk->store->failure, "");
	played_disk_let_go();
	desk_until_answered(desk, 3000);
	assert_int_equal(failed_answers(desk, 0), 0);
	desk_close(desk);
	ops = played_disk_ops(&n_ops);
	for (size_t i = 0; i < n_ops; i++)
		syncs += ops[i].kind == OP_SYNC && strcmp(ops[i].name, "agent.db-wal") == 0;
	assert_in_range(syncs, 1, 5);
	played_disk_record(false);
}

/* ---- a directory that goes away ------------------------------------------------------------------- */

static void a_directory_that_is_moved_is_noticed_and_waited_for(void **state)
{
	struct desk *desk = *state;
	char away[96];

	(void)snprintf(away, sizeof(away), "%s.away", desk->directory);
	open_well(desk);
	desk_put_event(desk, 1);
	desk_submit(desk);
	desk_until_answered(desk, 1);
	assert_int_equal(rename(desk->directory, away), 0);
	desk_put_event(desk, 2);
	desk_submit(desk);
	desk_until_answered(desk, 2);
	assert_true(desk->failed[1]);
	assert_non_null(strstr(desk->store->failure, "moved or removed"));
	assert_int_equal(rename(away, desk->directory), 0);
	desk_until_well(desk);
	assert_int_equal(desk->recoveries, 1);
	desk_put_event(desk, 2);
	desk_submit(desk);
	desk_until_answered(desk, 3);
	assert_false(desk->failed[2]);
	reopen(desk);
	assert_int_equal(desk->events, 2);
}

static void a_directory_that_comes_back_empty_is_filled_again(void **state)
{
	struct desk *desk = *state;

	open_well(desk);
	desk_put_event(desk, 1);
	desk_submit(desk);
	desk_until_answered(desk, 1);
	desk_empty_directory(desk);
	desk_put_event(desk, 2);
	desk_submit(desk);
	desk_until_answered(desk, 2);
	assert_true(desk->failed[1]);
	while (!desk->recoveries)
		assert_true(sd_event_run(desk->event, 20000000) > 0);
	desk_put_event(desk, 1); /* as the engine does */
	desk_put_event(desk, 2);
	desk_submit(desk);
	desk_until_answered(desk, 4);
	reopen(desk);
	assert_int_equal(desk->events, 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, desk_begin, desk_end)
	const struct CMUnitTest tests[] = {
		T(a_sync_that_failed_is_never_taken_for_one_that_worked),
		T(a_checkpoint_that_fails_is_a_failure),
		T(any_write_may_fail),
		T(any_sync_may_fail),
		T(a_full_disk_takes_nothing_new_and_all_that_ends),
		T(a_disk_that_is_full_at_the_start_is_no_reason_not_to),
		T(without_inodes_what_is_open_goes_on),
		T(without_descriptors_what_is_open_goes_on),
		T(a_slow_disk_holds_up_nobody_and_gets_larger_commits),
		T(a_directory_that_is_moved_is_noticed_and_waited_for),
		T(a_directory_that_comes_back_empty_is_filled_again),
	};

	played_disk_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
