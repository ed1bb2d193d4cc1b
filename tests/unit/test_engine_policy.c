#include "sandbox_player.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "proto/page.h"

#define STATE(name)  BERTH__V1__WORKLOAD_STATE__##name
#define REASON(name) BERTH__V1__REASON__##name
#define RULE(name)   BERTH__V1__RESTART_ACTION__RULE_##name

static int set_up(void **state)
{
	struct player *player = player_new(NULL, 0);

	player_connect(player);
	*state = player;
	return 0;
}

static int tear_down(void **state)
{
	player_free(*state);
	return 0;
}

/* The status of a workload, in the player's arena. */
static Berth__V1__WorkloadStatus *status_of(struct player *player, const char *id)
{
	Berth__V1__WorkloadStatus *status = arena_message(&player->arena,
							  &berth__v1__workload_status__descriptor);

	assert_int_equal(
		engine_fill_status(engine_find(player->engine, id), &player->arena, status), 0);
	return status;
}

/* ---- restart rules -------------------------------------------------------------------------------- */

static Berth__V1__RestartRule *add_rule(struct player *player, Berth__V1__WorkloadSpec *spec,
					Berth__V1__RestartAction action)
{
	Berth__V1__RestartRule *rule = arena_message(&player->arena,
						     &berth__v1__restart_rule__descriptor);

	rule->action = action;
	assert_int_equal(
		arena_append(&player->arena, &spec->restart->rules, &spec->restart->n_rules, rule),
		0);
	return rule;
}

static void name_code(struct player *player, Berth__V1__RestartRule *rule, uint32_t code)
{
	uint32_t *codes = arena_alloc(&player->arena, (rule->n_exit_codes + 1) * sizeof(*codes));

	if (rule->n_exit_codes)
		memcpy(codes, rule->exit_codes, rule->n_exit_codes * sizeof(*codes));
	codes[rule->n_exit_codes++] = code;
	rule->exit_codes = codes;
}

static void name_signal(struct player *player, Berth__V1__RestartRule *rule, const char *signal)
{
	assert_int_equal(
		arena_append(&player->arena, &rule->signals, &rule->n_signals, (char *)signal), 0);
}

static Berth__V1__WorkloadSpec *spec_with_mode(struct player *player, Berth__V1__RestartMode mode)
{
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	player_set_restart(player, spec, mode, 0);
	return spec;
}

static void a_rule_decides_before_the_mode(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = spec_with_mode(player,
						       BERTH__V1__RESTART_MODE__RESTART_ALWAYS);

	name_code(player, add_rule(player, spec, RULE(DO_NOT_RESTART)), 7);
	player_run(player, spec, 1);
	player_exited(player, "web", "main", CLD_EXITED, 8);
	assert_int_equal(player_state(player, "web"), STATE(BACKOFF));
	player_pass(player, 1000);
	player_started(player, "web", "main");
	player_exited(player, "web", "main", CLD_EXITED, 7);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(EXITED_NONZERO));
	assert_non_null(strstr(status_of(player, "web")->sentence, "by restart rule 1"));
}

static void the_first_rule_that_fits_decides(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = spec_with_mode(player,
						       BERTH__V1__RESTART_MODE__RESTART_NEVER);

	name_code(player, add_rule(player, spec, RULE(RESTART)), 3);
	name_code(player, add_rule(player, spec, RULE(FAIL)), 3);
	name_code(player, spec->restart->rules[1], 4);
	player_run(player, spec, 1);
	player_exited(player, "web", "main", CLD_EXITED, 3);
	assert_int_equal(player_state(player, "web"), STATE(BACKOFF));
	player_pass(player, 1000);
	player_started(player, "web", "main");
	player_exited(player, "web", "main", CLD_EXITED, 4);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(FAILED_BY_RULE));
}

static void signals_and_the_oom_killer_are_told_apart(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = spec_with_mode(player,
						       BERTH__V1__RESTART_MODE__RESTART_NEVER);

	add_rule(player, spec, RULE(FAIL))->oom = true;
	name_signal(player, add_rule(player, spec, RULE(RESTART)), "KILL");
	name_signal(player, spec->restart->rules[1], "11");
	player_run(player, spec, 1);
	player_exited(player, "web", "main", CLD_KILLED, SIGKILL);
	assert_int_equal(player_state(player, "web"), STATE(BACKOFF));
	player_pass(player, 1000);
	player_started(player, "web", "main");
	player_exited(player, "web", "main", CLD_DUMPED, SIGSEGV);
	assert_int_equal(player_state(player, "web"), STATE(BACKOFF));
	player_pass(player, 10000);
	player_started(player, "web", "main");
	/* 11 as a code is no signal */
	player_oomed(player, "web", "main");
	assert_int_equal(player_reason(player, "web"), REASON(FAILED_BY_RULE));
}

static void a_code_is_not_the_signal_of_that_number(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = spec_with_mode(player,
						       BERTH__V1__RESTART_MODE__RESTART_NEVER);

	name_signal(player, add_rule(player, spec, RULE(RESTART)), "TERM");
	name_code(player, spec->restart->rules[0], 9);
	player_run(player, spec, 1);
	player_exited(player, "web", "main", CLD_EXITED, 15);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
}

static void rules_are_asked_for_what_ends_by_itself_only(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = spec_with_mode(player,
						       BERTH__V1__RESTART_MODE__RESTART_ALWAYS);
	struct outcome stop;

	name_signal(player, add_rule(player, spec, RULE(RESTART)), "TERM");
	player_run(player, spec, 1);
	player_stop(player, "web", 1, -1, &stop);
	player_exited(player, "web", "main", CLD_KILLED, SIGTERM);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(STOP_REQUESTED));
}

static void the_end_that_counts_is_the_one_that_ended_the_attempt(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = spec_with_mode(player,
						       BERTH__V1__RESTART_MODE__RESTART_NEVER);

	(void)player_add_container(player, spec, "second", 0);
	name_code(player, add_rule(player, spec, RULE(RESTART)), 5);
	name_code(player, add_rule(player, spec, RULE(FAIL)), 6);
	player_run(player, spec, 1);
	player_exited(player, "web", "main", CLD_EXITED, 5);
	player_restart(player); /* of berthd, while the second one ends */
	player_connect(player);
	assert_int_equal(player_state(player, "web"), STATE(BACKOFF));
}

static void a_rule_survives_a_restart_of_the_agent(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = spec_with_mode(player,
						       BERTH__V1__RESTART_MODE__RESTART_ALWAYS);
	Berth__Sandbox__V1__KnownContainer second = BERTH__SANDBOX__V1__KNOWN_CONTAINER__INIT;
	Berth__Sandbox__V1__KnownContainer *containers[] = { &second };
	Berth__Sandbox__V1__KnownWorkload known = BERTH__SANDBOX__V1__KNOWN_WORKLOAD__INIT;
	Berth__Sandbox__V1__KnownWorkload *workloads[] = { &known };

	(void)player_add_container(player, spec, "second", 0);
	name_code(player, add_rule(player, spec, RULE(FAIL)), 5);
	player_run(player, spec, 1);
	known.workload = (char *)"web";
	known.instance = engine_workload_instance(engine_find(player->engine, "web"));
	known.containers = containers;
	known.n_containers = 1;
	second.container = (char *)"second";
	second.attempt = 1;
	second.state = PAGE_RUNNING;
	player->inventory.workloads = workloads;
	player->inventory.n_workloads = 1;
	player_exited(player, "web", "main", CLD_EXITED, 5);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
	player_restart(player);
	player_connect(player);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
	player_exited(player, "web", "second", CLD_KILLED, SIGTERM);
	assert_int_equal(player_reason(player, "web"), REASON(FAILED_BY_RULE));
}

static void wrong_rules_are_refused_with_their_fields(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = spec_with_mode(player,
						       BERTH__V1__RESTART_MODE__RESTART_NEVER);
	struct outcome launch;

	(void)add_rule(player, spec, RULE(FAIL));
	player_launch(player, spec, 1, 1, &launch);
	assert_int_equal(launch.err.kind, ERR_INVALID);
	assert_string_equal(launch.field, "spec.restart.rules[0]");
	name_code(player, spec->restart->rules[0], 256);
	player_launch(player, spec, 1, 1, &launch);
	assert_string_equal(launch.field, "spec.restart.rules[0].exit_codes[0]");
	spec->restart->rules[0]->exit_codes[0] = 1;
	name_signal(player, spec->restart->rules[0], "SIGNONE");
	player_launch(player, spec, 1, 1, &launch);
	assert_string_equal(launch.field, "spec.restart.rules[0].signals[0]");
	spec->restart->rules[0]->signals[0] = (char *)"USR1";
	spec->restart->rules[0]->action = 0;
	player_launch(player, spec, 1, 1, &launch);
	assert_string_equal(launch.field, "spec.restart.rules[0].action");
	for (int i = 0; i < 32; i++)
		(void)add_rule(player, spec, RULE(FAIL));
	player_launch(player, spec, 1, 1, &launch);
	assert_string_equal(launch.field, "spec.restart.rules");
}

static void the_time_until_the_next_restart_is_told_by_a_clock_that_nobody_sets(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = spec_with_mode(player,
						       BERTH__V1__RESTART_MODE__RESTART_ALWAYS);
	uint64_t puts;

	player_run(player, spec, 1);
	assert_int_equal(status_of(player, "web")->next_restart_in_ms, 0);
	player_exited(player, "web", "main", CLD_EXITED, 1);
	assert_int_equal(status_of(player, "web")->next_restart_in_ms, 1000);
	puts = player->store.n_lives;
	player_pass(player, 400);
	player->wall_ns += 1000000000000000;
	assert_int_equal(status_of(player, "web")->next_restart_in_ms, 600);
	/* It is not kept anew for that. */
	assert_int_equal(player->store.n_lives, puts);
}

/* ---- leases --------------------------------------------------------------------------------------- */

static void launch_by(struct player *player, Berth__V1__WorkloadSpec *spec, uint64_t generation,
		      const char *scheduler)
{
	Berth__V1__LaunchRequest request = BERTH__V1__LAUNCH_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;
	struct outcome outcome;

	outcome_init(&outcome);
	fence.epoch = 1;
	fence.generation = generation;
	request.fence = &fence;
	request.spec = spec;
	outcome.waiter.scheduler = scheduler;
	engine_call_began(player->engine, scheduler);
	engine_launch(player->engine, &request, &outcome.waiter);
	player_answer_all(player);
	if (player_state(player, spec->id) == STATE(STARTING))
		player_started(player, spec->id, "main");
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.r, 0);
	engine_call_ended(player->engine, scheduler);
}

static Berth__V1__WorkloadSpec *spec_with_lease(struct player *player, const char *id, uint64_t ms)
{
	Berth__V1__WorkloadSpec *spec = player_spec(player, id);

	spec->stop_after_disconnect_ms = ms;
	return spec;
}

static void heard_of(struct player *player, const char *scheduler)
{
	engine_call_began(player->engine, scheduler);
	engine_call_ended(player->engine, scheduler);
}

static void a_lease_is_of_the_scheduler_that_placed_it(void **state)
{
	struct player *player = *state;

	launch_by(player, spec_with_lease(player, "one", 60000), 1, "a.fleet");
	launch_by(player, spec_with_lease(player, "two", 60000), 1, "b.fleet");
	launch_by(player, player_spec(player, "three"), 1, "b.fleet");
	assert_string_equal(status_of(player, "one")->scheduler, "a.fleet");
	assert_int_equal(status_of(player, "one")->lease_left_ms, 60000);
	assert_int_equal(status_of(player, "three")->_lease_left_ms_case, 0);
	player_pass(player, 50000);
	assert_int_equal(status_of(player, "one")->lease_left_ms, 10000);
	heard_of(player, "a.fleet");
	heard_of(player, "an operator");
	player_pass(player, 10000);
	assert_int_equal(player_state(player, "one"), STATE(RUNNING));
	assert_int_equal(player_state(player, "two"), STATE(STOPPING));
	assert_int_equal(player_reason(player, "two"), REASON(SCHEDULER_SILENT));
	assert_non_null(strstr(status_of(player, "two")->sentence, "b.fleet"));
	assert_non_null(strstr(status_of(player, "two")->sentence, "1m"));
	assert_int_equal(player_state(player, "three"), STATE(RUNNING));
	player_pass(player, 50000);
	assert_int_equal(player_state(player, "one"), STATE(STOPPING));
}

static void a_lease_ends_once(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = spec_with_lease(player, "web", 5000);

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	launch_by(player, spec, 1, "a.fleet");
	player_pass(player, 5000);
	player_exited(player, "web", "main", CLD_KILLED, SIGTERM);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(SCHEDULER_SILENT));
	assert_int_equal(status_of(player, "web")->_lease_left_ms_case, 0);
	player_pass(player, 500000);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	/* It comes back by a command alone. */
	launch_by(player, spec, 2, "a.fleet");
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	assert_int_equal(status_of(player, "web")->lease_left_ms, 5000);
}

static void an_open_call_holds_a_lease(void **state)
{
	struct player *player = *state;

	launch_by(player, spec_with_lease(player, "web", 5000), 1, "a.fleet");
	engine_call_began(player->engine, "a.fleet"); /* a stream */
	for (int i = 0; i < 10; i++)
		player_pass(player, 4000);
	assert_int_equal(status_of(player, "web")->lease_left_ms, 5000);
	engine_call_ended(player->engine, "a.fleet");
	player_pass(player, 4999);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	player_pass(player, 1);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
}

static void who_says_that_it_shall_be_there_takes_the_lease_over(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = spec_with_lease(player, "web", 10000);

	launch_by(player, spec, 1, "old.fleet");
	player_pass(player, 6000);
	launch_by(player, spec, 1, "new.fleet"); /* the same, again */
	assert_string_equal(status_of(player, "web")->scheduler, "new.fleet");
	player_pass(player, 6000);
	heard_of(player, "old.fleet");
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	player_pass(player, 4000);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
}

static void reconcile_takes_a_lease_over(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = spec_with_lease(player, "web", 10000);
	Berth__V1__ReconcileRequest request = BERTH__V1__RECONCILE_REQUEST__INIT;
	Berth__V1__ReconcileResponse response = BERTH__V1__RECONCILE_RESPONSE__INIT;
	Berth__V1__Desired desired = BERTH__V1__DESIRED__INIT;
	Berth__V1__Desired *all[] = { &desired };
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;
	struct outcome outcome;

	launch_by(player, spec, 1, "old.fleet");
	outcome_init(&outcome);
	fence.epoch = 1;
	request.fence = &fence;
	request.desired = all;
	request.n_desired = 1;
	request.dry_run = true;
	desired.generation = 1;
	desired.spec = spec;
	outcome.waiter.scheduler = "new.fleet";
	engine_reconcile(player->engine, &request, &player->arena, &response, &outcome.waiter);
	assert_string_equal(status_of(player, "web")->scheduler, "old.fleet");
	request.dry_run = false;
	engine_reconcile(player->engine, &request, &player->arena, &response, &outcome.waiter);
	assert_string_equal(status_of(player, "web")->scheduler, "new.fleet");
}

/* After a restart of berthd, with the workload still there. */
static void come_back(struct player *player)
{
	static Berth__Sandbox__V1__KnownContainer container;
	static Berth__Sandbox__V1__KnownContainer *containers[] = { &container };
	static Berth__Sandbox__V1__KnownWorkload known;
	static Berth__Sandbox__V1__KnownWorkload *workloads[] = { &known };

	berth__sandbox__v1__known_container__init(&container);
	berth__sandbox__v1__known_workload__init(&known);
	known.workload = (char *)"web";
	known.containers = containers;
	known.n_containers = 1;
	container.container = (char *)"main";
	container.attempt = 1;
	container.state = PAGE_RUNNING;
	player->inventory.workloads = workloads;
	player->inventory.n_workloads = 1;
	player_restart(player);
	known.instance = engine_workload_instance(engine_find(player->engine, "web"));
	player_connect(player);
	player_started(player, "web", "main");
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
}

static void a_lease_goes_on_over_a_restart_of_the_agent(void **state)
{
	struct player *player = *state;

	launch_by(player, spec_with_lease(player, "web", 80000), 1, "a.fleet");
	player_pass(player, 60000);
	come_back(player);
	/* At most an eighth longer than without, and never shorter. */
	assert_in_range(status_of(player, "web")->lease_left_ms, 20000, 30000);
	player_pass(player, 19999);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	player_pass(player, 10001);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
	assert_int_equal(player_reason(player, "web"), REASON(SCHEDULER_SILENT));
}

static void a_stream_that_was_open_counts_over_a_restart(void **state)
{
	struct player *player = *state;

	launch_by(player, spec_with_lease(player, "web", 80000), 1, "a.fleet");
	engine_call_began(player->engine, "a.fleet");
	for (int i = 0; i < 100; i++)
		player_pass(player, 10000);
	come_back(player);
	assert_in_range(status_of(player, "web")->lease_left_ms, 79000, 90000);
}

static void after_an_outage_of_the_agent_schedulers_have_time_to_come_back(void **state)
{
	struct player *player = *state;

	launch_by(player, spec_with_lease(player, "web", 60000), 1, "a.fleet");
	player->boot_ns += 3600 * UINT64_C(1000000000); /* berthd is dead for an hour */
	come_back(player);
	assert_int_equal(status_of(player, "web")->lease_left_ms, 10000);
	player_pass(player, 5000);
	heard_of(player, "a.fleet");
	player_pass(player, 50000);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
}

static void a_step_of_the_wall_clock_ends_no_lease(void **state)
{
	struct player *player = *state;

	launch_by(player, spec_with_lease(player, "web", 60000), 1, "a.fleet");
	player->wall_ns += UINT64_C(300000000) * 1000000000;
	player_pass(player, 59000);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	player->wall_ns -= UINT64_C(600000000) * 1000000000;
	assert_int_equal(status_of(player, "web")->lease_left_ms, 1000);
	player_pass(player, 1000);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
}

static void being_heard_of_is_not_written_each_time(void **state)
{
	struct player *player = *state;
	uint64_t before;

	launch_by(player, spec_with_lease(player, "web", 80000), 1, "a.fleet");
	before = player->store.n_nodes;
	for (int i = 0; i < 1000; i++) {
		player_pass(player, 80);
		heard_of(player, "a.fleet");
	}
	assert_in_range(player->store.n_nodes - before, 4, 16);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_rule_decides_before_the_mode),
		TEST(the_first_rule_that_fits_decides),
		TEST(signals_and_the_oom_killer_are_told_apart),
		TEST(a_code_is_not_the_signal_of_that_number),
		TEST(rules_are_asked_for_what_ends_by_itself_only),
		TEST(the_end_that_counts_is_the_one_that_ended_the_attempt),
		TEST(a_rule_survives_a_restart_of_the_agent),
		TEST(wrong_rules_are_refused_with_their_fields),
		TEST(the_time_until_the_next_restart_is_told_by_a_clock_that_nobody_sets),
		TEST(a_lease_is_of_the_scheduler_that_placed_it),
		TEST(a_lease_ends_once),
		TEST(an_open_call_holds_a_lease),
		TEST(who_says_that_it_shall_be_there_takes_the_lease_over),
		TEST(reconcile_takes_a_lease_over),
		TEST(a_lease_goes_on_over_a_restart_of_the_agent),
		TEST(a_stream_that_was_open_counts_over_a_restart),
		TEST(after_an_outage_of_the_agent_schedulers_have_time_to_come_back),
		TEST(a_step_of_the_wall_clock_ends_no_lease),
		TEST(being_heard_of_is_not_written_each_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
