/* One workload's life: order of starts, group death, restarts, stops, replacement, deletion. */
#include "sandbox_player.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define STATE(name)  BERTH__V1__WORKLOAD_STATE__##name
#define REASON(name) BERTH__V1__REASON__##name
#define ROLE(name)   BERTH__V1__CONTAINER_ROLE__ROLE_##name
#define VERB(name)   BERTH__SANDBOX__V1__REQUEST__VERB_##name

static int setup(void **state)
{
	struct player *player = player_new(NULL, 0);

	player_connect(player);
	*state = player;
	return 0;
}

static int teardown(void **state)
{
	player_free(*state);
	return 0;
}

static void a_launch_sends_create_and_launch_without_waiting(void **state)
{
	struct player *player = *state;
	struct outcome launch;

	player_launch(player, player_spec(player, "web"), 1, 1, &launch);
	(void)player_expect(player, VERB(CREATE_WORKLOAD));
	assert_true(player_expect(player, VERB(LAUNCH))->message->launch->gate_open);
	player_expect_nothing(player);
	assert_int_equal(launch.calls, 0);
	player_answer_all(player);
	player_started(player, "web", "main");
	assert_int_equal(launch.calls, 1);
	assert_int_equal(launch.state, STATE(RUNNING));
}

static void the_gate_opens_when_the_intent_is_durable(void **state)
{
	struct player *player = *state;
	struct outcome launch;

	player->store.intents_wait = true;
	player_launch(player, player_spec(player, "web"), 1, 1, &launch);
	(void)player_expect(player, VERB(CREATE_WORKLOAD));
	assert_false(player_expect(player, VERB(LAUNCH))->message->launch->gate_open);
	player_expect_nothing(player);
	played_store_commit(&player->store, NULL);
	(void)player_expect(player, VERB(OPEN_GATE));
}

static void init_containers_run_one_by_one_then_sidecars_then_mains(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	struct outcome launch;

	(void)player_add_container(player, spec, "init-a", ROLE(INIT));
	(void)player_add_container(player, spec, "side-a", ROLE(SIDECAR));
	(void)player_add_container(player, spec, "init-b", ROLE(INIT));
	(void)player_add_container(player, spec, "second", ROLE(MAIN));
	player_launch(player, spec, 1, 1, &launch);
	(void)player_expect(player, VERB(CREATE_WORKLOAD));
	assert_string_equal(player_expect(player, VERB(LAUNCH))->message->launch->ref->container,
			    "init-a");
	player_started(player, "web", "init-a");
	player_expect_nothing(player);
	player_exited(player, "web", "init-a", CLD_EXITED, 0);
	(void)player_expect(player, VERB(REMOVE_CONTAINER));
	assert_string_equal(player_expect(player, VERB(LAUNCH))->message->launch->ref->container,
			    "init-b");
	player_started(player, "web", "init-b");
	player_exited(player, "web", "init-b", CLD_EXITED, 0);
	(void)player_expect(player, VERB(REMOVE_CONTAINER));
	assert_string_equal(player_expect(player, VERB(LAUNCH))->message->launch->ref->container,
			    "side-a");
	player_expect_nothing(player);
	player_started(player, "web", "side-a");
	(void)player_expect(player, VERB(LAUNCH));
	(void)player_expect(player, VERB(LAUNCH));
	player_started(player, "web", "main");
	assert_int_equal(launch.calls, 0);
	player_started(player, "web", "second");
	assert_int_equal(launch.state, STATE(RUNNING));
}

static void a_failed_init_container_ends_the_workload(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	struct outcome launch;

	(void)player_add_container(player, spec, "init", ROLE(INIT));
	player_launch(player, spec, 1, 1, &launch);
	player_started(player, "web", "init");
	player_exited(player, "web", "init", CLD_EXITED, 3);
	assert_int_equal(launch.state, STATE(EXITED));
	assert_int_equal(launch.why, REASON(INIT_FAILED));
	assert_string_equal(launch.sentence, "init container init exited with code 3");
	assert_null(player_last_launch(player, "web", "main"));
}

static void a_program_that_cannot_start_is_a_record_and_leaves_nothing(void **state)
{
	struct player *player = *state;
	struct outcome launch;

	player_launch(player, player_spec(player, "web"), 1, 1, &launch);
	player_skip(player);
	player_start_failed(player, "web", "main", ERR_START, "no /bin/server in the root");
	assert_int_equal(launch.r, 0);
	assert_int_equal(launch.state, STATE(EXITED));
	assert_int_equal(launch.why, REASON(START_FAILED));
	assert_non_null(strstr(launch.sentence, "no /bin/server"));
	(void)player_expect(player, VERB(REMOVE_WORKLOAD));
}

static void the_first_end_stops_mains_then_sidecars_in_reverse(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	(void)player_add_container(player, spec, "side-a", ROLE(SIDECAR));
	(void)player_add_container(player, spec, "side-b", ROLE(SIDECAR));
	(void)player_add_container(player, spec, "second", ROLE(MAIN));
	{
		struct outcome launch;

		player_launch(player, spec, 1, 1, &launch);
		player_started(player, "web", "side-a");
		player_started(player, "web", "side-b");
		player_started(player, "web", "main");
		player_started(player, "web", "second");
		player_skip(player);
	}
	player_exited(player, "web", "main", CLD_EXITED, 7);
	(void)player_expect(player, VERB(REMOVE_CONTAINER));
	assert_string_equal(player_expect(player, VERB(SIGNAL))->message->signal->ref->container,
			    "second");
	player_expect_nothing(player);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
	player_exited(player, "web", "second", CLD_KILLED, SIGTERM);
	(void)player_expect(player, VERB(REMOVE_CONTAINER));
	assert_string_equal(player_expect(player, VERB(SIGNAL))->message->signal->ref->container,
			    "side-b");
	player_exited(player, "web", "side-b", CLD_EXITED, 0);
	(void)player_expect(player, VERB(REMOVE_CONTAINER));
	assert_string_equal(player_expect(player, VERB(SIGNAL))->message->signal->ref->container,
			    "side-a");
	player_exited(player, "web", "side-a", CLD_EXITED, 0);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(EXITED_NONZERO));
}

static void exit_137_is_a_code_and_the_oom_killer_is_named_by_its_count(void **state)
{
	struct player *player = *state;
	struct arena arena;
	Berth__V1__GetRequest request = BERTH__V1__GET_REQUEST__INIT;
	Berth__V1__GetResponse got = BERTH__V1__GET_RESPONSE__INIT;
	struct engine_fault fault;
	struct err err = { 0 };

	player_run(player, player_spec(player, "a"), 1);
	player_exited(player, "a", "main", CLD_EXITED, 137);
	assert_int_equal(player_reason(player, "a"), REASON(EXITED_NONZERO));
	player_run(player, player_spec(player, "b"), 1);
	player_oomed(player, "b", "main");
	assert_int_equal(player_reason(player, "b"), REASON(OOM_KILLED));
	arena_init(&arena, 1 << 20);
	engine_fault_init(&fault);
	request.id = (char *)"b";
	assert_int_equal(engine_get(player->engine, &request, &arena, &got, &err, &fault), 0);
	assert_string_equal(got.workload->status->containers[0]->last_exit->sentence,
			    "killed by the OOM killer: memory peak 64.0 MiB of 64.0 MiB");
	engine_fault_done(&fault);
	arena_done(&arena);
}

static void restarts_wait_longer_each_time_up_to_the_cap(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	static const uint64_t waits_ms[] = { 1000, 2000, 4000, 5000, 5000 };

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ON_FAILURE, 0);
	spec->restart->_max_backoff_ms_case =
		BERTH__V1__RESTART_POLICY___MAX_BACKOFF_MS_MAX_BACKOFF_MS;
	spec->restart->max_backoff_ms = 5000;
	player_run(player, spec, 1);
	for (size_t i = 0; i < 5; i++) {
		size_t launches = player_count(player, VERB(LAUNCH));

		player_exited(player, "web", "main", CLD_EXITED, 1);
		assert_int_equal(player_state(player, "web"), STATE(BACKOFF));
		player_pass(player, waits_ms[i] - 1);
		assert_int_equal(player_count(player, VERB(LAUNCH)), launches);
		player_pass(player, 1);
		assert_int_equal(player_count(player, VERB(LAUNCH)), launches + 1);
		assert_int_equal(player_last_launch(player, "web", "main")->ref->attempt, i + 2);
		player_started(player, "web", "main");
	}
	/* It is made once: a restart keeps namespaces and id range. */
	assert_int_equal(player_count(player, VERB(CREATE_WORKLOAD)), 1);
	/* A long run starts the waits anew. */
	player_pass(player, 600000);
	player_exited(player, "web", "main", CLD_EXITED, 1);
	player_pass(player, 1000);
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
	player_started(player, "web", "main");
	player_exited(player, "web", "main", CLD_EXITED, 0);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(COMPLETED));
}

static void restarts_are_exhausted(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 2);
	player_run(player, spec, 1);
	for (int i = 0; i < 2; i++) {
		player_exited(player, "web", "main", CLD_EXITED, 0);
		player_pass(player, 10000);
		player_started(player, "web", "main");
	}
	player_exited(player, "web", "main", CLD_EXITED, 0);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(RESTARTS_EXHAUSTED));
}

static void stop_is_signal_then_grace_then_kill_then_stuck(void **state)
{
	struct player *player = *state;
	struct outcome stop;

	player_run(player, player_spec(player, "web"), 1);
	player_stop(player, "web", 1, -1, &stop);
	assert_int_equal(player_expect(player, VERB(SIGNAL))->message->signal->signal, SIGTERM);
	player_pass(player, 9999);
	player_expect_nothing(player);
	player_pass(player, 1);
	(void)player_expect(player, VERB(KILL));
	player_unkillable(player, "web", "main");
	assert_int_equal(stop.calls, 1);
	assert_int_equal(stop.state, STATE(STUCK));
	assert_non_null(strstr(stop.sentence, "nfs_wait"));
	player_exited(player, "web", "main", CLD_KILLED, SIGKILL);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(KILLED_AFTER_GRACE));
}

/* As when nobody heard of the end in time, for berthd was away. */
static void an_end_within_the_grace_is_no_kill_though_told_after_it(void **state)
{
	struct player *player = *state;
	struct outcome stop;

	player_run(player, player_spec(player, "web"), 1);
	player_stop(player, "web", 1, -1, &stop);
	(void)player_expect(player, VERB(SIGNAL));
	player_pass(player, 10000);
	(void)player_expect(player, VERB(KILL));
	player_exited(player, "web", "main", CLD_EXITED, 9);
	assert_int_equal(stop.calls, 1);
	assert_int_equal(stop.state, STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(STOP_REQUESTED));
	assert_null(strstr(stop.sentence, "killed"));
}

static void a_shorter_grace_overtakes_the_first(void **state)
{
	struct player *player = *state;
	struct outcome first;
	struct outcome second;

	player_run(player, player_spec(player, "web"), 1);
	player_stop(player, "web", 1, -1, &first);
	(void)player_expect(player, VERB(SIGNAL));
	player_stop(player, "web", 1, 0, &second);
	(void)player_expect(player, VERB(KILL));
	player_exited(player, "web", "main", CLD_KILLED, SIGKILL);
	assert_int_equal(first.calls, 1);
	assert_int_equal(second.calls, 1);
}

static void a_stop_ends_the_wait_for_a_restart(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	struct outcome stop;

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_run(player, spec, 1);
	player_exited(player, "web", "main", CLD_EXITED, 1);
	player_stop(player, "web", 1, -1, &stop);
	assert_int_equal(stop.state, STATE(EXITED));
	player_pass(player, 100000);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
}

static void a_higher_generation_replaces_what_runs(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *next = player_spec(player, "web");
	struct outcome launch;
	uint64_t first;

	player_run(player, player_spec(player, "web"), 1);
	first = engine_workload_instance(engine_find(player->engine, "web"));
	next->containers[0]->tty = true;
	player_launch(player, next, 1, 2, &launch);
	(void)player_expect(player, VERB(SIGNAL));
	player_expect_nothing(player);
	player_exited(player, "web", "main", CLD_EXITED, 0);
	(void)player_expect(player, VERB(REMOVE_CONTAINER));
	(void)player_expect(player, VERB(REMOVE_WORKLOAD));
	(void)player_expect(player, VERB(CREATE_WORKLOAD));
	assert_true(player_expect(player, VERB(LAUNCH))->message->launch->tty);
	assert_int_equal(launch.calls, 0);
	player_started(player, "web", "main");
	assert_int_equal(launch.state, STATE(RUNNING));
	assert_true(engine_workload_instance(engine_find(player->engine, "web")) != first);
	assert_int_equal(engine_workload_generation(engine_find(player->engine, "web")), 2);
}

static void delete_needs_an_end_or_force(void **state)
{
	struct player *player = *state;
	struct outcome delete;

	player_run(player, player_spec(player, "web"), 1);
	player_delete(player, "web", 1, false, &delete);
	assert_int_equal(delete.err.kind, ERR_PRECONDITION);
	assert_string_equal(delete.reason, FAULT_NOT_ENDED);
	player_delete(player, "web", 1, true, &delete);
	assert_int_equal(delete.calls, 0);
	player_exited(player, "web", "main", CLD_KILLED, SIGTERM);
	assert_int_equal(delete.calls, 0);
	player_answer_all(player);
	assert_int_equal(delete.calls, 1);
	assert_int_equal(delete.r, 0);
	assert_int_equal(delete.state, STATE(EXITED));
	assert_null(engine_find(player->engine, "web"));
}

static void a_workload_without_a_scheduler_is_stopped_in_time(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	spec->stop_after_disconnect_ms = 60000;
	player_run(player, spec, 1);
	player_pass(player, 50000);
	engine_call_began(player->engine, "any");
	engine_call_ended(player->engine, "any");
	player_pass(player, 50000);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	player_pass(player, 10000);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
}

static void pause_is_undone_by_a_stop(void **state)
{
	struct player *player = *state;
	Berth__V1__PauseRequest request = BERTH__V1__PAUSE_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;
	struct outcome pause;
	struct outcome stop;

	player_run(player, player_spec(player, "web"), 1);
	outcome_init(&pause);
	fence.epoch = fence.generation = 1;
	request.fence = &fence;
	request.id = (char *)"web";
	engine_pause(player->engine, &request, &pause.waiter);
	assert_true(player_expect(player, VERB(FREEZE))->message->freeze->frozen);
	assert_int_equal(pause.calls, 0);
	player_answer_all(player);
	assert_int_equal(pause.calls, 1);
	player_stop(player, "web", 1, -1, &stop);
	assert_false(player_expect(player, VERB(FREEZE))->message->freeze->frozen);
	(void)player_expect(player, VERB(SIGNAL));
	engine_waiter_cancel(&stop.waiter);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(a_launch_sends_create_and_launch_without_waiting),
		T(the_gate_opens_when_the_intent_is_durable),
		T(init_containers_run_one_by_one_then_sidecars_then_mains),
		T(a_failed_init_container_ends_the_workload),
		T(a_program_that_cannot_start_is_a_record_and_leaves_nothing),
		T(the_first_end_stops_mains_then_sidecars_in_reverse),
		T(exit_137_is_a_code_and_the_oom_killer_is_named_by_its_count),
		T(restarts_wait_longer_each_time_up_to_the_cap),
		T(restarts_are_exhausted),
		T(stop_is_signal_then_grace_then_kill_then_stuck),
		T(an_end_within_the_grace_is_no_kill_though_told_after_it),
		T(a_shorter_grace_overtakes_the_first),
		T(a_stop_ends_the_wait_for_a_restart),
		T(a_higher_generation_replaces_what_runs),
		T(delete_needs_an_end_or_force),
		T(a_workload_without_a_scheduler_is_stopped_in_time),
		T(pause_is_undone_by_a_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
