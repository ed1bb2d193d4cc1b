/*
 * make_store DIRECTORY: an agent's store there, as this release writes it, with a little of everything: what
 * runs, what has ended, what is deleted. stores/make keeps one of each version of the schema.
 */
#include "sandbox_player.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/workload/model.h"

#include "golden.h"

static void live(struct player *player)
{
	Berth__V1__WorkloadSpec *again = player_spec(player, "again");
	struct outcome outcome;

	(void)snprintf(player->engine->host.boot_id, sizeof(player->engine->host.boot_id), "%s",
		       GOLDEN_BOOT);
	(void)snprintf(player->engine->events.instance, sizeof(player->engine->events.instance),
		       "%s", GOLDEN_HISTORY);
	engine_keep_node(player->engine);
	player_run(player, player_spec(player, "web"), 3);
	player_run(player, player_spec(player, "job"), 2);
	player_exited(player, "job", "main", CLD_EXITED, 42);
	player_answer_all(player);
	player_set_restart(player, again, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_run(player, again, 1);
	player_run(player, player_spec(player, "gone"), 9);
	player_stop(player, "gone", 9, 0, &outcome);
	player_exited(player, "gone", "main", CLD_KILLED, SIGKILL);
	player_answer_all(player);
	player_delete(player, "gone", 9, false, &outcome);
	player_answer_all(player);
}

int main(int argc, char **argv)
{
	const struct store_sqlite_config config = { .directory = argc > 1 ? argv[1] : "." };
	struct player *player = player_new(NULL, 0);
	struct store *store = NULL;
	sd_event *event = NULL;
	struct err err = { 0 };

	player_connect(player);
	live(player);
	if (sd_event_new(&event) < 0 || store_sqlite_new(event, &config, &store, &err) < 0) {
		(void)fprintf(stderr, "make_store: %s\n", err.text);
		return 1;
	}
	played_store_copy(&player->store, store);
	store_free(store); /* waits until all is written */
	sd_event_unref(event);
	player_free(player);
	return 0;
}
