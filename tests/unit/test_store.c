/* The durable store on a real disk: what it keeps, in which order it answers, and what it makes of damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/store/store.h"

#define ANSWERS_MAX 20000

struct desk {
	sd_event *event;
	char directory[64];
	struct store *store;
	uint64_t tickets[ANSWERS_MAX];
	bool failed[ANSWERS_MAX];
	size_t n_answers;
	int recoveries;
	/* as loaded */
	uint64_t epoch;
	uint64_t generation;
	size_t intents, lives, events, records, nodes;
	uint64_t last_record;
	uint64_t last_event;
	char spec[64];
	char life[64];
	bool stop;
	size_t wrong; /* records that are not what fill() put */
};

/* ---- the desk ------------------------------------------------------------------------------------- */

static int begin(void **state)
{
	struct desk *desk = calloc(1, sizeof(*desk));

	strcpy(desk->directory, "/tmp/test_store.XXXXXX");
	assert_non_null(mkdtemp(desk->directory));
	assert_true(sd_event_new(&desk->event) >= 0);
	*state = desk;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	return remove(path);
}

static int end(void **state)
{
	struct desk *desk = *state;

	store_free(desk->store);
	sd_event_unref(desk->event);
	(void)nftw(desk->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(desk);
	return 0;
}

static void open_store(struct desk *desk, uint64_t events_max)
{
	const struct store_sqlite_config config = { .directory = desk->directory,
						    .events_max = events_max,
						    .retry_ms = 20 };
	struct err err = { 0 };

	assert_int_equal(store_sqlite_new(desk->event, &config, &desk->store, &err), 0);
}

static void close_store(struct desk *desk)
{
	store_free(desk->store);
	desk->store = NULL;
}

static int take_epoch(void *userdata, uint64_t epoch)
{
	((struct desk *)userdata)->epoch = epoch;
	return 0;
}

static int take_generation(void *userdata, const char *id, uint64_t generation)
{
	((struct desk *)userdata)->generation = generation;
	return 0;
}

static int take_node(void *userdata, const uint8_t *bytes, size_t n)
{
	((struct desk *)userdata)->nodes++;
	return 0;
}

static bool is_all(char letter, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != (uint8_t)letter)
			return false;
	return true;
}

static int take_intent(void *userdata, const struct store_intent *intent)
{
	struct desk *desk = userdata;

	desk->intents++;
	desk->wrong += !is_all('s', intent->spec, intent->spec_bytes) || intent->instance != 7 ||
		       strncmp(intent->id, "w-", 2) != 0;
	desk->stop = intent->stop;
	(void)snprintf(desk->spec, sizeof(desk->spec), "%s %llu %llu %llu %.*s", intent->id,
		       (unsigned long long)intent->instance, (unsigned long long)intent->generation,
		       (unsigned long long)intent->epoch,
		       (int)(intent->spec_bytes < 20 ? intent->spec_bytes : 20),
		       (const char *)intent->spec);
	return 0;
}

static int take_life(void *userdata, const char *id, const uint8_t *bytes, size_t n)
{
	struct desk *desk = userdata;

	desk->lives++;
	desk->wrong += n != 5 || memcmp(bytes, "alive", 5) != 0;
	(void)snprintf(desk->life, sizeof(desk->life), "%s %.*s", id, (int)n, (const char *)bytes);
	return 0;
}

static int take_event(void *userdata, uint64_t sequence, const uint8_t *bytes, size_t n)
{
	struct desk *desk = userdata;

	assert_true(sequence > desk->last_event);
	desk->last_event = sequence;
	desk->events++;
	desk->wrong += !is_all('e', bytes, n);
	return 0;
}

static int take_record(void *userdata, uint64_t sequence, const uint8_t *bytes, size_t n)
{
	struct desk *desk = userdata;

	desk->records++;
	desk->last_record = sequence;
	desk->wrong += !is_all('r', bytes, n);
	return 0;
}

static void load(struct desk *desk)
{
	const struct store_visitor visitor = { take_epoch,  take_generation,
					       take_node,   take_intent,
					       take_life,   take_event,
					       take_record, desk };
	struct err err = { 0 };

	desk->epoch = desk->generation = desk->last_event = 0;
	desk->intents = desk->lives = desk->events = desk->records = desk->nodes = desk->wrong = 0;
	assert_int_equal(desk->store->ops->load(desk->store, &visitor, &err), 0);
}

static void on_done(void *userdata, uint64_t ticket, const struct err *err)
{
	struct desk *desk = userdata;

	assert_true(desk->n_answers < ANSWERS_MAX);
	desk->tickets[desk->n_answers] = ticket;
	desk->failed[desk->n_answers++] = err != NULL;
}

static struct store_done done(struct desk *desk, uint64_t ticket)
{
	return (struct store_done){ .call = on_done, .userdata = desk, .ticket = ticket };
}

static void put_event(struct desk *desk, uint64_t sequence)
{
	char bytes[200];
	struct store_done d = done(desk, sequence);

	memset(bytes, 'e', sizeof(bytes));
	desk->store->ops->put_event(desk->store, sequence, (const uint8_t *)bytes, sizeof(bytes),
				    &d);
}

static void put_intent(struct desk *desk, const char *id, const char *spec, size_t n, bool stop)
{
	const struct store_intent intent = { .id = id,
					     .instance = 7,
					     .generation = UINT64_MAX,
					     .epoch = 5,
					     .spec = (const uint8_t *)spec,
					     .spec_bytes = n,
					     .stop = stop };
	struct store_done d = done(desk, 1);

	desk->store->ops->put_intent(desk->store, &intent, &d);
}

static void put_life(struct desk *desk, const char *id, const char *life)
{
	struct store_done d = done(desk, 2);

	desk->store->ops->put_life(desk->store, id, (const uint8_t *)life, strlen(life), &d);
}

static void submit(struct desk *desk)
{
	desk->store->ops->submit(desk->store);
}

static void until_answered(struct desk *desk, size_t n)
{
	while (desk->n_answers < n)
		assert_true(sd_event_run(desk->event, 20000000) > 0);
	assert_int_equal(desk->n_answers, n);
}

static const char *file(const struct desk *desk, const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", desk->directory, name);
	return path;
}

static size_t count_files(const struct desk *desk, const char *part)
{
	DIR *dir = opendir(desk->directory);
	const struct dirent *entry;
	size_t n = 0;

	while ((entry = readdir(dir)))
		n += strstr(entry->d_name, part) != NULL && !strstr(entry->d_name, "-wal");
	(void)closedir(dir);
	return n;
}

/* ---- keeping -------------------------------------------------------------------------------------- */

static void put_some(struct desk *desk)
{
	struct store_done d = done(desk, 3);

	put_intent(desk, "web", "spec", 4, true);
	put_life(desk, "web", "alive");
	put_event(desk, 10);
	put_event(desk, 11);
	desk->store->ops->put_epoch(desk->store, 99, &d);
	desk->store->ops->put_node(desk->store, (const uint8_t *)"n", 1, &d);
	put_intent(desk, "gone", "spec", 4, false);
	desk->store->ops->put_tombstone(desk->store, "gone", 44, &d);
	submit(desk);
	until_answered(desk, 8);
	desk->n_answers = 0;
}

static void what_was_put_is_there_again(void **state)
{
	struct desk *desk = *state;

	open_store(desk, 0);
	assert_true(desk->store->fresh);
	load(desk);
	put_some(desk);
	put_life(desk, "web", "alive and well");
	submit(desk);
	close_store(desk); /* what was submitted is written first */

	open_store(desk, 0);
	assert_false(desk->store->fresh);
	assert_string_equal(desk->store->damage, "");
	load(desk);
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

	open_store(desk, 0);
	for (uint64_t i = 1; i <= 5000; i++) {
		put_event(desk, i);
		if (i % 10 == 0)
			submit(desk);
	}
	d = done(desk, 5001);
	desk->store->ops->put_barrier(desk->store, &d);
	submit(desk);
	until_answered(desk, 5001);
	for (uint64_t i = 0; i <= 5000; i++) {
		assert_int_equal(desk->tickets[i], i + 1);
		assert_false(desk->failed[i]);
	}
}

static void what_is_not_submitted_is_not_written(void **state)
{
	struct desk *desk = *state;

	open_store(desk, 0);
	load(desk);
	put_event(desk, 1);
	put_life(desk, "web", "x");
	assert_true(sd_event_run(desk->event, 50000) == 0);
	assert_int_equal(desk->n_answers, 0);
	close_store(desk);
	open_store(desk, 0);
	load(desk);
	assert_int_equal(desk->events, 0);
}

static void old_events_go(void **state)
{
	struct desk *desk = *state;

	open_store(desk, 100);
	for (uint64_t i = 1; i <= 350; i++) {
		put_event(desk, i);
		submit(desk);
	}
	until_answered(desk, 350);
	close_store(desk);
	open_store(desk, 100);
	load(desk);
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
		open_store(desk, 0);
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
	open_store(desk, 0);
	load(desk);
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
	open_store(desk, 0);
	load(desk);
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(id, sizeof(id), "w-%zu", i);
		put_intent(desk, id, spec, sizeof(spec), false);
		put_life(desk, id, "alive");
		put_event(desk, i + 1);
		submit(desk);
	}
	until_answered(desk, 3 * n);
	desk->n_answers = 0;
	close_store(desk); /* and the journal goes into the file */
	assert_int_equal(stat(file(desk, "agent.db"), &st), 0);
	return st.st_size;
}

static void empty_directory(struct desk *desk)
{
	DIR *dir = opendir(desk->directory);
	const struct dirent *entry;

	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			assert_int_equal(unlinkat(dirfd(dir), entry->d_name, 0), 0);
	(void)closedir(dir);
}

/* It starts, says so, keeps the old file, and takes writes. */
static void check_damaged(struct desk *desk)
{
	open_store(desk, 0);
	assert_true(desk->store->fresh);
	assert_non_null(strstr(desk->store->damage, "damaged"));
	assert_non_null(strstr(desk->store->damage, "agent.db.damaged-"));
	assert_int_equal(count_files(desk, "damaged-"), 1);
	load(desk);
	put_event(desk, 100000);
	submit(desk);
	until_answered(desk, 1);
	assert_false(desk->failed[0]);
	desk->n_answers = 0;
	close_store(desk);
}

static void a_file_cut_at_any_page_is_set_aside_and_mostly_taken_over(void **state)
{
	struct desk *desk = *state;
	off_t whole = fill(desk, 30);
	size_t saved = 0;

	for (off_t size = 0; size < whole; size += 4096) {
		empty_directory(desk);
		assert_int_equal(fill(desk, 30), whole);
		assert_int_equal(truncate(file(desk, "agent.db"), size), 0);
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
		int fd = open(file(desk, "agent.db"), O_RDWR);
		char byte;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		(void)close(fd);
		open_store(desk, 0);
		load(desk);
		/* Where the byte is in nobody's record nothing is lost; else it is said, and the
		 * others are there. */
		if (desk->intents < 12 || desk->lives < 12 || desk->events < 12)
			assert_true(desk->store->fresh && desk->store->damage[0]);
		assert_int_equal(desk->wrong, 0);
		close_store(desk);
		empty_directory(desk);
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
	assert_int_equal(sqlite3_open(file(desk, "agent.db"), &handle), SQLITE_OK);
	assert_int_equal(sqlite3_exec(handle, text, NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(handle);
}

static int version_of(const struct desk *desk)
{
	sqlite3_stmt *statement;
	sqlite3 *handle;
	int version;

	assert_int_equal(sqlite3_open(file(desk, "agent.db"), &handle), SQLITE_OK);
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
	open_store(desk, 0);
	assert_non_null(strstr(desk->store->failure, "later release"));
	assert_true(desk->store->unread && desk->store->fresh);
	put_event(desk, 1);
	submit(desk);
	until_answered(desk, 1);
	assert_true(desk->failed[0]);
	close_store(desk);
	assert_int_equal(count_files(desk, "damaged"), 0);
	assert_int_equal(version_of(desk), 999);
}

/* What it added is not ours to understand: going back to this release works, and forth again. */
static void a_file_of_a_later_release_that_lets_us_is_used(void **state)
{
	struct desk *desk = *state;

	(void)fill(desk, 3);
	make_later(desk, 999, 2);
	open_store(desk, 0);
	assert_string_equal(desk->store->failure, "");
	load(desk);
	assert_int_equal(desk->intents, 3);
	put_event(desk, 4);
	submit(desk);
	until_answered(desk, 1);
	close_store(desk);
	assert_int_equal(version_of(desk), 999);
	open_store(desk, 0);
	load(desk);
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
	open_store(desk, 0);
	desk->store->recovered = on_recovered;
	desk->store->userdata = desk;
	load(desk);
	put_event(desk, 1);
	submit(desk);
	until_answered(desk, 1);
	assert_int_equal(stat(file(desk, "agent.db-wal"), &st), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = (rlim_t)st.st_size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);

	put_intent(desk, "web", spec, sizeof(spec), false);
	put_event(desk, 2);
	submit(desk);
	until_answered(desk, 3);
	assert_true(desk->failed[1] && desk->failed[2]);
	assert_true(desk->store->failure[0]);

	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	while (!desk->recoveries)
		assert_true(sd_event_run(desk->event, 20000000) > 0);
	assert_string_equal(desk->store->failure, "");
	put_intent(desk, "web", spec, sizeof(spec), false);
	submit(desk);
	until_answered(desk, 4);
	assert_false(desk->failed[3]);
	close_store(desk);
	open_store(desk, 0);
	load(desk);
	assert_int_equal(desk->intents, 1);
	assert_int_equal(desk->events, 1); /* of the failed transaction nothing */
}

static void a_directory_that_is_not_there_is_waited_for(void **state)
{
	struct desk *desk = *state;

	(void)fill(desk, 2);
	assert_int_equal(rename(desk->directory, "/tmp/test_store.away"), 0);
	open_store(desk, 0);
	assert_true(desk->store->failure[0]);
	assert_true(desk->store->unread);
	load(desk);
	assert_int_equal(desk->intents, 0);
	assert_int_equal(rename("/tmp/test_store.away", desk->directory), 0);
	while (desk->store->failure[0])
		assert_true(sd_event_run(desk->event, 20000000) > 0);
	assert_true(desk->store->unread);
	close_store(desk);
	open_store(desk, 0);
	load(desk);
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
		put_intent(desk, "web", spec, sizeof(spec), false);
	assert_true(desk->n_answers >= 2);
	assert_true(desk->failed[0]);
	assert_non_null(strstr(desk->store->failure, "too slow"));
	submit(desk);
	while (desk->store->failure[0])
		assert_true(sd_event_run(desk->event, 20000000) > 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
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
