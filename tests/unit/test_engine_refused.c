/* A store that cannot write: what is new is refused with nothing left of it, everything else goes on, and
 * nothing is told that a crash would take back. */
#include "sandbox_player.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"

#define VERB(name) BERTH__SANDBOX__V1__REQUEST__VERB_##name

static const struct err disk_full = { .kind = ERR_UNAVAILABLE,
				      .errnum = ENOSPC,
				      .text = "disk full" };

static int begin(void **state)
{
	struct player *player = player_new(NULL, 0);

	player_connect(player);
	*state = player;
	return 0;
}

static int end(void **state)
{
	player_free(*state);
	return 0;
}

/* Keep, or fail, all that waits, and what follows from that. */
static void commit_all(struct player *player, const struct err *err)
{
	while (player->store.n_waiting)
		played_store_commit(&player->store, err);
}

static void recover(struct player *player)
{
	player->store.all_wait = false;
	player->store.store.recovered(player->store.store.userdata);
}

static void check_refused(const struct outcome *outcome)
{
	assert_int_equal(outcome->calls, 1);
	assert_int_equal(outcome->err.kind, ERR_UNAVAILABLE);
	assert_string_equal(outcome->reason, FAULT_STORE_FAILED);
	assert_non_null(strstr(outcome->err.text, "web"));
}

/* ---- launches ------------------------------------------------------------------------------------- */

static void a_launch_that_cannot_be_kept_is_refused_and_leaves_nothing(void **state)
{
	struct player *player = *state;
	struct outcome outcome;
	struct outcome again;

	player->store.intents_wait = true;
	player_launch(player, player_spec(player, "web"), 1, 1, &outcome);
	player_skip(player);
	played_store_commit(&player->store, &disk_full);
	(void)player_expect(player, VERB(KILL));
	assert_int_equal(outcome.calls, 0); /* its container is still there */
	player_launch(player, player_spec(player, "web"), 1, 1, &again);
	check_refused(&again);
	player_start_failed(player, "web", "main", ERR_CANCELLED, "killed at its gate");
	player_answer_all(player);
	check_refused(&outcome);
	assert_null(engine_find(player->engine, "web"));
	assert_int_equal(player->engine->charged.workloads, 0);
	assert_null(played_store_find(&player->store, 'i', "web"));
	assert_null(played_store_find(&player->store, 'l', "web"));
	assert_int_equal(played_store_exits(&player->store, "web"), 0);
	assert_int_equal(player_count(player, VERB(OPEN_GATE)), 0);
	assert_true(player_count(player, VERB(REMOVE_WORKLOAD)) > 0);

	/* It never was: the same command is not stale. */
	player->store.intents_wait = false;
	player_run(player, player_spec(player, "web"), 1);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
}

static void nobody_who_does_not_wait_hears_of_success(void **state)
{
	struct player *player = *state;
	Berth__V1__LaunchRequest request = BERTH__V1__LAUNCH_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;
	struct outcome outcome;

	player->store.intents_wait = true;
	outcome_init(&outcome);
	fence.epoch = fence.generation = 1;
	request.fence = &fence;
	request.spec = player_spec(player, "web");
	request.no_wait = true;
	engine_launch(player->engine, &request, &outcome.waiter);
	played_store_commit(&player->store, &disk_full);
	player_start_failed(player, "web", "main", ERR_CANCELLED, "killed at its gate");
	player_answer_all(player);
	check_refused(&outcome);
}

static void a_refusal_does_not_wait_for_a_sandbox_that_is_away(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player->store.intents_wait = true;
	player_launch(player, player_spec(player, "web"), 1, 1, &outcome);
	player_disconnect(player);
	played_store_commit(&player->store, &disk_full);
	check_refused(&outcome);
}

static void a_replacement_that_cannot_be_kept_can_be_asked_for_again(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player_launch(player, player_spec(player, "web"), 1, 2, &outcome);
	player->store.intents_wait = true; /* the stop of the old one is durable */
	player_exited(player, "web", "main", CLD_EXITED, 0);
	player_answer_all(player);
	played_store_commit(&player->store, &disk_full);
	player_start_failed(player, "web", "main", ERR_CANCELLED, "killed at its gate");
	player_answer_all(player);
	check_refused(&outcome);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(HOST_FAILURE));
	assert_int_equal(played_store_exits(&player->store, "web"), 1);

	player->store.intents_wait = false;
	player_run(player, player_spec(player, "web"), 2);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
}

/* What a watcher was told of workload "web" since event @since: "GENERATION STATE REASON", in one line. */
static const char *history(struct player *player, uint64_t since)
{
	static char line[1024];
	size_t n = 0;

	line[0] = '\0';
	for (size_t i = 0; i < player->store.n_kept; i++) {
		const struct played_write *kept = &player->store.kept[i];
		Berth__V1__Event *event;

		if (kept->kind != 'e' || kept->numbers.generation <= since)
			continue;
		event = berth__v1__event__unpack(NULL, kept->n, kept->bytes);
		assert_non_null(event);
		if (strcmp(event->workload, "web") == 0 && !*event->container)
			n += (size_t)snprintf(
				line + n, sizeof(line) - n, "%s%llu %s %s", n ? ", " : "",
				(unsigned long long)event->generation,
				protobuf_c_enum_descriptor_get_value(
					&berth__v1__workload_state__descriptor, event->to)
					->name,
				protobuf_c_enum_descriptor_get_value(&berth__v1__reason__descriptor,
								     event->reason)
					->name);
		assert_true(n < sizeof(line));
		berth__v1__event__free_unpacked(event, NULL);
	}
	return line;
}

/* The disk is full: of a launch its intent is refused, while its events and its life are kept. */
static void a_launch_that_could_not_be_kept_has_ended_after_a_crash(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	struct outcome outcome;

	player->store.intents_wait = true;
	player_launch(player, spec, 1, 1, &outcome);
	assert_non_null(played_store_find(&player->store, 'l', "web"));
	engine_waiter_cancel(&outcome.waiter);
	player_restart(player);
	player->store.intents_wait = false;
	assert_string_equal(history(player, 0),
			    "1 PENDING ACCEPTED, 1 STARTING ACCEPTED, 1 EXITED HOST_FAILURE, "
			    "1 EXITED DELETED");
	assert_null(engine_find(player->engine, "web"));
	assert_null(played_store_find(&player->store, 'l', "web"));
	player_connect(player);

	/* It never was: the same command is not stale. */
	player_run(player, spec, 1);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
}

static void a_refusal_that_a_crash_cut_off_is_told_to_its_end_once(void **state)
{
	struct player *player = *state;
	struct outcome outcome;
	uint64_t since;

	player->store.intents_wait = true;
	player_launch(player, player_spec(player, "web"), 1, 1, &outcome);
	played_store_commit(&player->store, &disk_full);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
	since = player->engine->events.newest;
	engine_waiter_cancel(&outcome.waiter);
	player_restart(player);
	assert_string_equal(history(player, since), "1 EXITED HOST_FAILURE, 1 EXITED DELETED");
	since = player->engine->events.newest;
	player_restart(player);
	assert_string_equal(history(player, since), "");
}

static void a_life_that_outlived_its_deletion_tells_nothing(void **state)
{
	struct player *player = *state;
	struct played_write life;
	struct outcome outcome;
	uint64_t since;

	player_launch(player, player_spec(player, "web"), 1, 1, &outcome);
	player_answer_all(player);
	player_started(player, "web", "main");
	life = *played_store_find(&player->store, 'l', "web");
	life.bytes = memcpy(malloc(life.n), life.bytes, life.n);
	player_delete(player, "web", 1, true, &outcome);
	player_exited(player, "web", "main", CLD_EXITED, 0);
	player_answer_all(player);
	assert_int_equal(outcome.calls, 1);
	player->store.kept[player->store.n_kept++] = life;
	since = player->engine->events.newest;
	player_restart(player);
	assert_string_equal(history(player, since), "");
	assert_null(played_store_find(&player->store, 'l', "web"));
}

static void a_replacement_that_could_not_be_kept_has_ended_after_a_crash(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	const struct workload *web;
	struct outcome outcome;
	uint64_t since;

	player_run(player, player_spec(player, "web"), 1);
	(void)player_add_container(player, spec, "second",
				   BERTH__V1__CONTAINER_ROLE__CONTAINER_ROLE_UNSPECIFIED);
	player_launch(player, spec, 1, 2, &outcome);
	player->store.intents_wait = true; /* the stop of the old one is durable */
	player_exited(player, "web", "main", CLD_EXITED, 0);
	since = player->engine->events.newest;
	engine_waiter_cancel(&outcome.waiter);
	for (int i = 0; i < 2; i++) {
		player_restart(player);
		player->store.intents_wait = false;
		player_connect(player);
		player_answer_all(player);
		assert_string_equal(history(player, since), "2 EXITED HOST_FAILURE");
		web = engine_find(player->engine, "web");
		assert_int_equal(web->generation, 2);
		assert_int_equal(web->n_containers, 2);
		assert_int_equal(player_state(player, "web"), STATE(EXITED));
		assert_int_equal(player->engine->charged.workloads, 0);
	}
	player_run(player, spec, 2);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
}

static void a_failure_later_ends_nothing(void **state)
{
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 1);
	player->store.all_wait = true;
	engine_enter(player->engine);
	engine_keep_all(player->engine);
	engine_leave(player->engine);
	commit_all(player, &disk_full);
	player_skip(player);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	recover(player);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	player_expect_nothing(player);
}

/* ---- what is told --------------------------------------------------------------------------------- */

static void running_is_answered_when_it_is_durable(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_launch(player, player_spec(player, "web"), 1, 1, &outcome);
	player_answer_all(player);
	player->store.all_wait = true;
	player_started(player, "web", "main");
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	assert_int_equal(outcome.calls, 0);
	commit_all(player, NULL);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.state, STATE(RUNNING));
}

static uint64_t told(struct player *player)
{
	return player->engine->events.durable;
}

static void a_deletion_is_answered_when_it_is_durable_and_told_with_its_event(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 4);
	player_exited(player, "web", "main", CLD_EXITED, 0);
	player_answer_all(player);
	player->store.all_wait = true;
	player_delete(player, "web", 4, false, &outcome);
	played_store_commit(&player->store, NULL);
	player_answer_all(player);
	assert_int_equal(outcome.calls, 0);
	assert_true(told(player) < player->engine->events.newest);

	/* Dead before it is on disk, nobody was told, and it is still there. */
	engine_waiter_cancel(&outcome.waiter);
	player_restart(player);
	player->store.all_wait = false;
	player_connect(player);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	player->store.all_wait = true;
	player_delete(player, "web", 4, false, &outcome);
	played_store_commit(&player->store, NULL);
	player_answer_all(player);
	commit_all(player, NULL);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.r, 0);
	assert_int_equal(told(player), player->engine->events.newest);
	player_restart(player);
	player->store.all_wait = false;
	assert_null(engine_find(player->engine, "web"));
	player_connect(player);
	player_launch(player, player_spec(player, "web"), 1, 4, &outcome);
	assert_string_equal(outcome.reason, FAULT_STALE_GENERATION);
}

static void a_new_life_may_begin_while_the_old_ones_end_is_written(void **state)
{
	struct player *player = *state;
	struct outcome removal;
	struct outcome launch;

	player_run(player, player_spec(player, "web"), 1);
	player_exited(player, "web", "main", CLD_EXITED, 0);
	player_answer_all(player);
	player->store.all_wait = true;
	player_delete(player, "web", 1, false, &removal);
	played_store_commit(&player->store, NULL);
	player_answer_all(player);
	assert_int_equal(removal.calls, 0);
	player_launch(player, player_spec(player, "web"), 1, 2, &launch);
	commit_all(player, NULL);
	assert_int_equal(removal.calls, 1);
	player_answer_all(player);
	player_started(player, "web", "main");
	commit_all(player, NULL);
	assert_int_equal(launch.state, STATE(RUNNING));
	player_restart(player);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
}

static void no_event_is_told_before_it_is_durable_and_none_out_of_order(void **state)
{
	struct player *player = *state;
	uint64_t before;

	player_run(player, player_spec(player, "web"), 1);
	before = told(player);
	player->store.all_wait = true;
	player_exited(player, "web", "main", CLD_EXITED, 0);
	commit_all(player, &disk_full);
	assert_int_equal(told(player), before);
	/* The disk takes writes again, but those that it did not are missing. */
	player->store.all_wait = false;
	player_run(player, player_spec(player, "next"), 1);
	assert_int_equal(told(player), before);
	recover(player);
	assert_int_equal(told(player), player->engine->events.newest);
	assert_int_equal(played_store_exits(&player->store, "web"), 1);
}

/* What a crash takes back was never told: its number may come again. */
static void no_number_is_told_twice(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadStatus status = BERTH__V1__WORKLOAD_STATUS__INIT;
	uint64_t before;
	struct arena arena;

	player_run(player, player_spec(player, "web"), 1);
	before = told(player);
	player->store.all_wait = true;
	player_exited(player, "web", "main", CLD_EXITED, 0);
	commit_all(player, &disk_full);
	arena_init(&arena, 1 << 20);
	assert_int_equal(engine_fill_status(engine_find(player->engine, "web"), &arena, &status),
			 0);
	assert_true(status.event_sequence <= before);
	arena_done(&arena);
	player_restart(player);
	player->store.all_wait = false;
	player_connect(player);
	assert_true(told(player) > before); /* the end, as berth-sandboxd tells it, once */
	assert_int_equal(played_store_exits(&player->store, "web"), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(a_launch_that_cannot_be_kept_is_refused_and_leaves_nothing),
		T(nobody_who_does_not_wait_hears_of_success),
		T(a_refusal_does_not_wait_for_a_sandbox_that_is_away),
		T(a_replacement_that_cannot_be_kept_can_be_asked_for_again),
		T(a_launch_that_could_not_be_kept_has_ended_after_a_crash),
		T(a_refusal_that_a_crash_cut_off_is_told_to_its_end_once),
		T(a_life_that_outlived_its_deletion_tells_nothing),
		T(a_replacement_that_could_not_be_kept_has_ended_after_a_crash),
		T(a_failure_later_ends_nothing),
		T(running_is_answered_when_it_is_durable),
		T(a_deletion_is_answered_when_it_is_durable_and_told_with_its_event),
		T(a_new_life_may_begin_while_the_old_ones_end_is_written),
		T(no_event_is_told_before_it_is_durable_and_none_out_of_order),
		T(no_number_is_told_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
