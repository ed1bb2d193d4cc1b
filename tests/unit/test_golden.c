/* Stores that earlier releases have written: each is read, brought to the present schema, and used. */
#include "sandbox_player.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/workload/model.h"

#include "golden.h"

struct bed {
	sd_event *event;
	char directory[64];
	struct store *store;
	struct player *player;
};

static void copy_file(const char *from, const char *to)
{
	char bytes[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC);
	int out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	while ((n = read(in, bytes, sizeof(bytes))) > 0)
		assert_int_equal(write(out, bytes, (size_t)n), n);
	assert_int_equal(n, 0);
	(void)close(in);
	(void)close(out);
}

static void open_store(struct bed *bed)
{
	const struct store_sqlite_config config = { .directory = bed->directory };
	struct err err = { 0 };

	assert_int_equal(store_sqlite_new(bed->event, &config, &bed->store, &err), 0);
	assert_string_equal(bed->store->failure, "");
	assert_string_equal(bed->store->damage, "");
	assert_false(bed->store->fresh);
}

/* What the store has, into the player's: its engine begins with that. */
static void load_into_player(struct bed *bed)
{
	struct played_store *played = &bed->player->store;

	played_store_done(played);
	played_store_take(played, bed->store);
	player_restart(bed->player);
	player_connect(bed->player);
}

static void check_state(struct player *player)
{
	const struct workload *job = engine_find(player->engine, "job");
	Berth__V1__RecordFigures figures = BERTH__V1__RECORD_FIGURES__INIT;
	struct outcome outcome;

	assert_string_equal(player->engine->events.instance, GOLDEN_HISTORY);
	/* It ran in a boot that is over. */
	assert_int_equal(player_state(player, "web"), STATE(LOST));
	assert_int_equal(player_reason(player, "web"), REASON(HOST_REBOOTED));
	assert_int_equal(engine_workload_generation(engine_find(player->engine, "web")), 3);
	assert_int_equal(player_state(player, "again"), STATE(STARTING));
	assert_non_null(job);
	assert_int_equal(player_state(player, "job"), STATE(EXITED));
	assert_int_equal(job->containers[0].last_exit->message->code, 42);
	assert_null(engine_find(player->engine, "gone"));
	player_launch(player, player_spec(player, "gone"), 1, 9, &outcome);
	assert_string_equal(outcome.reason, FAULT_STALE_GENERATION);
	/* job, gone; and web and again, which ended with the boot */
	engine_fill_records(player->engine, &figures);
	assert_int_equal(figures.kept, 4);
	assert_int_equal(figures.unacknowledged, 4);
}

static void check_version(const char *path)
{
	struct bed bed = { .directory = "/tmp/test_golden.XXXXXX" };
	char file[96];

	assert_non_null(mkdtemp(bed.directory));
	assert_true(sd_event_new(&bed.event) >= 0);
	(void)snprintf(file, sizeof(file), "%s/agent.db", bed.directory);
	copy_file(path, file);
	open_store(&bed);
	bed.player = player_new(NULL, 0);
	load_into_player(&bed);
	check_state(bed.player);
	player_free(bed.player);

	/* Brought to the present schema it is read again as it was. */
	store_free(bed.store);
	open_store(&bed);
	bed.player = player_new(NULL, 0);
	load_into_player(&bed);
	check_state(bed.player);
	player_free(bed.player);
	store_free(bed.store);
	sd_event_unref(bed.event);
	(void)unlink(file);
	(void)snprintf(file, sizeof(file), "%s/reserve", bed.directory);
	(void)unlink(file);
	assert_int_equal(rmdir(bed.directory), 0);
}

static void a_store_of_every_version_is_read(void **state)
{
	DIR *stores = opendir(GOLDEN_STORES);
	const struct dirent *entry;
	size_t n = 0;

	assert_non_null(stores);
	while ((entry = readdir(stores))) {
		char path[512];

		if (entry->d_name[0] != 'v')
			continue;
		print_message("%s\n", entry->d_name);
		(void)snprintf(path, sizeof(path), GOLDEN_STORES "/%s", entry->d_name);
		check_version(path);
		n++;
	}
	(void)closedir(stores);
	assert_true(n >= 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_store_of_every_version_is_read) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
