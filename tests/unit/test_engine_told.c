/* What callers are told of a workload is on record: no crash takes it back. And whoever asks waits for no disk. */
#include "played_inventory.h"

#include <signal.h>
#include <string.h>

#include "agent/workload/model.h"
#include "proto/page.h"

#define VERB(name) BERTH__SANDBOX__V1__REQUEST__VERB_##name
#define MIB        (UINT64_C(1) << 20)

static struct arena answers;

static int begin(void **state)
{
	struct player *player = player_new(NULL, 0);

	arena_init(&answers, 4 << 20);
	player_connect(player);
	*state = player;
	return 0;
}

static int end(void **state)
{
	player_free(*state);
	arena_done(&answers);
	return 0;
}

/* NULL: NOT_FOUND. Until the end of the test. */
static const Berth__V1__Workload *get(struct player *player, const char *id)
{
	Berth__V1__GetRequest request = BERTH__V1__GET_REQUEST__INIT;
	Berth__V1__GetResponse got = BERTH__V1__GET_RESPONSE__INIT;
	struct engine_fault fault;
	struct err err = { 0 };
	int r;

	engine_fault_init(&fault);
	request.id = (char *)id;
	r = engine_get(player->engine, &request, &answers, &got, &err, &fault);
	engine_fault_done(&fault);
	if (r < 0)
		assert_int_equal(err.kind, ERR_NOT_FOUND);
	return r < 0 ? NULL : got.workload;
}

static Berth__V1__WorkloadState told_state(struct player *player, const char *id)
{
	const Berth__V1__Workload *got = get(player, id);

	return got ? got->status->state : 0;
}

/* How many are in @wanted; 0: in any state. */
static size_t count(struct player *player, Berth__V1__WorkloadState wanted)
{
	Berth__V1__ListRequest request = BERTH__V1__LIST_REQUEST__INIT;
	Berth__V1__ListResponse page = BERTH__V1__LIST_RESPONSE__INIT;
	struct engine_fault fault;
	struct err err = { 0 };

	engine_fault_init(&fault);
	request.n_states = wanted != 0;
	request.states = &wanted;
	assert_int_equal(engine_list(player->engine, &request, &answers, &page, &err, &fault), 0);
	engine_fault_done(&fault);
	for (size_t i = 0; i < page.n_workloads; i++)
		if (wanted)
			assert_int_equal(page.workloads[i]->status->state, wanted);
	return page.n_workloads;
}

static void an_end_is_told_when_it_is_on_record(void **state)
{
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 1);
	player->store.all_wait = true;
	player_exited(player, "web", "main", CLD_EXITED, 3);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(told_state(player, "web"), STATE(RUNNING));
	assert_int_equal(count(player, STATE(RUNNING)), 1);
	assert_int_equal(count(player, STATE(EXITED)), 0);
	assert_int_equal(engine_workload_told(engine_find(player->engine, "web")).state,
			 STATE(RUNNING));
	played_store_commit_all(&player->store);
	assert_int_equal(told_state(player, "web"), STATE(EXITED));
	assert_int_equal(count(player, STATE(EXITED)), 1);
	assert_int_equal(get(player, "web")->status->containers[0]->last_exit->code, 3);
}

static void what_was_told_is_so_after_a_crash(void **state)
{
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 1);
	player->store.all_wait = true;
	player_exited(player, "web", "main", CLD_EXITED, 3);
	played_knows_nothing(player);
	(void)played_knows(player, "web", "main", 1, PAGE_RUNNING);
	assert_int_equal(told_state(player, "web"), STATE(RUNNING));
	player_restart(player);
	assert_int_equal(told_state(player, "web"), STATE(RUNNING));
}

static void a_launch_is_not_there_before_its_intent_is(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player->store.all_wait = true;
	player_launch(player, player_spec(player, "web"), 1, 1, &outcome);
	player_answer_all(player);
	assert_null(get(player, "web"));
	assert_int_equal(count(player, 0), 0);
	played_store_commit_all(&player->store);
	assert_int_equal(told_state(player, "web"), STATE(STARTING));
	assert_int_equal(count(player, 0), 1);
	engine_waiter_cancel(&outcome.waiter);
}

/* It may be long until the disk answers, and longer until nothing more comes. */
static void what_changes_all_the_time_is_told_all_the_same(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_run(player, spec, 1);
	player->store.all_wait = true;
	for (uint32_t i = 1; i <= 6; i++) {
		size_t waiting = player->store.n_waiting;
		uint32_t restarts;

		player_exited(player, "web", "main", CLD_EXITED, 1);
		player_pass(player, 100000);
		player_answer_all(player);
		player_started(player, "web", "main");
		player_answer_all(player);
		/* The commit that was under way is over; there is more by now. */
		played_store_commit_first(&player->store, waiting);
		restarts = get(player, "web")->status->restarts;
		assert_in_range(restarts, i > 2 ? i - 2 : 0, i - 1);
	}
	played_store_commit_all(&player->store);
	assert_int_equal(get(player, "web")->status->restarts, 6);
}

static void when_it_starts_again_is_told_by_the_clock(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_run(player, spec, 1);
	player_exited(player, "web", "main", CLD_EXITED, 1);
	player->store.all_wait = true;
	player_pass(player, 400);
	assert_int_equal(get(player, "web")->status->next_restart_in_ms, 600);
	player_pass(player, 600);
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
	assert_int_equal(told_state(player, "web"), STATE(BACKOFF));
	assert_int_equal(get(player, "web")->status->next_restart_in_ms, 0);
}

/* Then no record will come, and what is answered says how it is. */
static void with_a_disk_that_fails_what_is_is_told(void **state)
{
	const struct err full = { .kind = ERR_UNAVAILABLE, .text = "no space left on device" };
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 1);
	player->store.all_wait = true;
	player_exited(player, "web", "main", CLD_EXITED, 3);
	played_store_commit(&player->store, &full);
	assert_int_equal(told_state(player, "web"), STATE(EXITED));
}

static void changed_resources_are_told_when_they_are_on_record(void **state)
{
	struct player *player = *state;
	Berth__V1__UpdateResourcesRequest request = BERTH__V1__UPDATE_RESOURCES_REQUEST__INIT;
	Berth__V1__Resources resources = BERTH__V1__RESOURCES__INIT;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;
	struct outcome outcome;

	player_set_memory(player, spec->containers[0], 64 * MIB);
	player_run(player, spec, 1);
	outcome_init(&outcome);
	fence.epoch = 1;
	fence.generation = 2;
	request.fence = &fence;
	request.id = (char *)"web";
	request.container = (char *)"main";
	request.resources = &resources;
	resources._memory_limit_bytes_case =
		BERTH__V1__RESOURCES___MEMORY_LIMIT_BYTES_MEMORY_LIMIT_BYTES;
	resources.memory_limit_bytes = 96 * MIB;
	engine_update_resources(player->engine, &request, &outcome.waiter);
	player->store.all_wait = true;
	player_answer_all(player);
	assert_int_equal(engine_workload_generation(engine_find(player->engine, "web")), 2);
	assert_int_equal(get(player, "web")->status->generation, 1);
	assert_int_equal(get(player, "web")->spec->containers[0]->resources->memory_limit_bytes,
			 64 * MIB);
	played_store_commit_all(&player->store);
	assert_int_equal(get(player, "web")->status->generation, 2);
	assert_int_equal(get(player, "web")->spec->containers[0]->resources->memory_limit_bytes,
			 96 * MIB);
	assert_int_equal(outcome.calls, 1);
}

/* Of the life before it there is nothing to be seen any more by then. */
static void a_new_life_is_told_with_its_own_spec(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	struct outcome outcome;

	player_run(player, spec, 1);
	player_exited(player, "web", "main", CLD_EXITED, 0);
	player->store.all_wait = true;
	player_set_memory(player, spec->containers[0], 96 * MIB);
	player_launch(player, spec, 1, 2, &outcome);
	player_answer_all(player);
	assert_int_equal(told_state(player, "web"), STATE(EXITED));
	assert_int_equal(get(player, "web")->status->generation, 1);
	assert_null(get(player, "web")->spec->containers[0]->resources);
	played_store_commit_all(&player->store);
	assert_int_equal(get(player, "web")->status->generation, 2);
	assert_non_null(get(player, "web")->spec->containers[0]->resources);
	engine_waiter_cancel(&outcome.waiter);
}

static void that_it_is_stuck_is_answered_when_it_is_on_record(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player_stop(player, "web", 1, 0, &outcome);
	player->store.all_wait = true;
	player_unkillable(player, "web", "main");
	assert_int_equal(player_state(player, "web"), STATE(STUCK));
	assert_int_equal(outcome.calls, 0);
	played_store_commit_all(&player->store);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.state, STATE(STUCK));
}

/* ---- deletion ------------------------------------------------------------------------------------- */

/* "web", of generation 1, is deleted but for its tombstone. */
static void delete_web(struct player *player, struct outcome *outcome)
{
	player_run(player, player_spec(player, "web"), 1);
	player_exited(player, "web", "main", CLD_EXITED, 0);
	player_delete(player, "web", 1, false, outcome);
	player->store.all_wait = true;
	player_answer_all(player);
	assert_int_equal(outcome->calls, 0);
}

static void what_is_deleted_is_there_until_its_tombstone_is_on_record(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	delete_web(player, &outcome);
	assert_int_equal(told_state(player, "web"), STATE(EXITED));
	assert_int_equal(count(player, 0), 1);
	/* Nothing of it is put after the tombstone. */
	played_store_commit_all(&player->store);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.r, 0);
	assert_null(get(player, "web"));
	assert_int_equal(count(player, 0), 0);
	assert_null(played_store_find(&player->store, 'l', "web"));
	assert_null(played_store_find(&player->store, 'i', "web"));
	player_restart(player);
	assert_null(get(player, "web"));
}

static void a_deletion_that_a_crash_forgets_was_not_told(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	delete_web(player, &outcome);
	engine_waiter_cancel(&outcome.waiter);
	assert_int_equal(told_state(player, "web"), STATE(EXITED));
	player_restart(player);
	assert_int_equal(told_state(player, "web"), STATE(EXITED));
}

static void a_deletion_goes_on_though_the_disk_fails(void **state)
{
	const struct err full = { .kind = ERR_UNAVAILABLE, .text = "no space left on device" };
	struct player *player = *state;
	struct outcome outcome;

	delete_web(player, &outcome);
	played_store_commit(&player->store, &full);
	assert_int_equal(outcome.calls, 1);
	assert_null(get(player, "web"));
	/* When the disk takes it again, it stays so. */
	player->store.all_wait = false;
	player->store.store.recovered(player->store.store.userdata);
	player_restart(player);
	assert_null(get(player, "web"));
}

static void a_launch_meanwhile_begins_when_the_old_one_has_left(void **state)
{
	struct player *player = *state;
	struct outcome deleted;
	struct outcome launched;

	delete_web(player, &deleted);
	player_launch(player, player_spec(player, "web"), 1, 2, &launched);
	player_answer_all(player);
	assert_int_equal(launched.calls, 0);
	assert_int_equal(get(player, "web")->status->generation, 1);
	played_store_commit(&player->store, NULL);
	assert_int_equal(deleted.calls, 1);
	assert_null(get(player, "web")); /* not there any more, and not yet */
	player->store.all_wait = false;
	played_store_commit_all(&player->store);
	player_answer_all(player);
	player_started(player, "web", "main");
	assert_int_equal(launched.calls, 1);
	assert_int_equal(get(player, "web")->status->generation, 2);
	assert_int_equal(told_state(player, "web"), STATE(RUNNING));
	assert_int_equal(player->engine->charged.workloads, 1);
	player_restart(player);
	assert_int_equal(get(player, "web")->status->generation, 2);
}

/* There is nothing before it that could stay. */
static void a_launch_meanwhile_that_cannot_be_kept_leaves_nothing(void **state)
{
	const struct err full = { .kind = ERR_UNAVAILABLE, .text = "no space left on device" };
	struct player *player = *state;
	struct outcome deleted;
	struct outcome launched;

	delete_web(player, &deleted);
	player_launch(player, player_spec(player, "web"), 1, 2, &launched);
	played_store_commit(&player->store, NULL);
	player_answer_all(player);
	played_store_commit(&player->store, &full);
	player_exited(player, "web", "main", CLD_KILLED, SIGKILL);
	for (int i = 0; i < 8; i++) {
		player_answer_all(player);
		played_store_commit(&player->store, NULL);
	}
	assert_int_equal(launched.calls, 1);
	assert_string_equal(launched.reason, "STORE_FAILED");
	assert_null(engine_find(player->engine, "web"));
	assert_int_equal(player->engine->charged.workloads, 0);
}

/* While it is removed, as while it is buried: what is launched after it is charged once. */
static void a_launch_while_the_old_one_is_removed_is_charged_once(void **state)
{
	struct player *player = *state;
	struct outcome deleted;
	struct outcome launched;

	player_run(player, player_spec(player, "web"), 1);
	player_exited(player, "web", "main", CLD_EXITED, 0);
	player_delete(player, "web", 1, false, &deleted);
	player_launch(player, player_spec(player, "web"), 1, 2, &launched);
	player_answer_all(player);
	player_answer_all(player);
	player_started(player, "web", "main");
	assert_int_equal(launched.calls, 1);
	assert_int_equal(told_state(player, "web"), STATE(RUNNING));
	assert_int_equal(player->engine->charged.workloads, 1);
}

static void a_stop_meanwhile_bars_its_generation(void **state)
{
	struct player *player = *state;
	struct outcome deleted;
	struct outcome stopped;
	struct outcome launched;

	delete_web(player, &deleted);
	player_stop(player, "web", 3, -1, &stopped);
	player_launch(player, player_spec(player, "web"), 1, 3, &launched);
	played_store_commit_all(&player->store);
	assert_string_equal(launched.reason, "STALE_GENERATION");
	assert_int_equal(stopped.calls, 1);
	player->store.all_wait = false;
	player_restart(player);
	player_connect(player);
	player_launch(player, player_spec(player, "web"), 1, 3, &launched);
	assert_string_equal(launched.reason, "STALE_GENERATION");
	player_launch(player, player_spec(player, "web"), 1, 4, &launched);
	assert_int_equal(launched.calls, 0);
	engine_waiter_cancel(&launched.waiter);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(an_end_is_told_when_it_is_on_record),
		T(what_was_told_is_so_after_a_crash),
		T(a_launch_is_not_there_before_its_intent_is),
		T(what_changes_all_the_time_is_told_all_the_same),
		T(when_it_starts_again_is_told_by_the_clock),
		T(with_a_disk_that_fails_what_is_is_told),
		T(changed_resources_are_told_when_they_are_on_record),
		T(a_new_life_is_told_with_its_own_spec),
		T(that_it_is_stuck_is_answered_when_it_is_on_record),
		T(what_is_deleted_is_there_until_its_tombstone_is_on_record),
		T(a_deletion_that_a_crash_forgets_was_not_told),
		T(a_deletion_goes_on_though_the_disk_fails),
		T(a_launch_meanwhile_begins_when_the_old_one_has_left),
		T(a_launch_meanwhile_that_cannot_be_kept_leaves_nothing),
		T(a_launch_while_the_old_one_is_removed_is_charged_once),
		T(a_stop_meanwhile_bars_its_generation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
