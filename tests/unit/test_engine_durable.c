/* A restart of berthd: what it was asked for, what runs, and what became of it meanwhile. */
#include "played_inventory.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"
#include "berth/agent/v1/kept.pb-c.h"
#include "proto/page.h"

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

static const struct container *main_of(struct player *player, const char *id)
{
	const struct workload *workload = engine_find(player->engine, id);

	assert_non_null(workload);
	return &workload->containers[0];
}

/* ---- stories -------------------------------------------------------------------------------------- */

static void what_runs_is_taken_back_and_nothing_is_launched(void **state)
{
	struct player *player = *state;
	uint64_t instance;

	player_run(player, player_spec(player, "web"), 3);
	instance = engine_workload_instance(engine_find(player->engine, "web"));
	played_knows_nothing(player);
	played_knows(player, "web", "main", 1, PAGE_RUNNING);

	player_restart(player);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	assert_int_equal(main_of(player, "web")->pid, 4242);
	assert_false(engine_is_ready(player->engine));
	player_connect(player);
	assert_true(engine_is_ready(player->engine));
	player_started(player, "web", "main");

	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	assert_int_equal(engine_workload_instance(engine_find(player->engine, "web")), instance);
	assert_int_equal(engine_workload_generation(engine_find(player->engine, "web")), 3);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_LAUNCH), 1);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL), 0);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_CREATE_WORKLOAD),
			 1);
}

static void an_end_meanwhile_is_recorded_once(void **state)
{
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 1);
	played_knows_nothing(player);
	played_knows_exit(player, "web", "main", 1, CLD_EXITED, 42);
	player_restart(player);
	player_connect(player);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(main_of(player, "web")->last_exit->message->code, 42);
	assert_int_equal(played_store_exits(&player->store, "web"), 1);

	player_restart(player);
	player_connect(player);
	assert_int_equal(main_of(player, "web")->last_exit->message->code, 42);
	assert_int_equal(played_store_exits(&player->store, "web"), 1);
}

/* The record is berth-sandboxd's until it is ours on disk. */
static void the_sandbox_forgets_an_end_only_when_it_is_durable(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player->store.all_wait = true;
	player_exited(player, "web", "main", CLD_KILLED, SIGSEGV);
	player_stop(player, "web", 1, -1, &outcome);
	player_expect_nothing(player);
	assert_int_equal(outcome.calls, 0);

	played_knows_nothing(player);
	played_knows_exit(player, "web", "main", 1, CLD_KILLED, SIGSEGV);
	player_restart(player); /* before the commit */
	player->store.all_wait = false;
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	player_connect(player);
	assert_int_equal(main_of(player, "web")->last_exit->message->signal, SIGSEGV);
	assert_int_equal(played_store_exits(&player->store, "web"), 1);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_REMOVE_WORKLOAD),
			 1);
}

static void a_launch_at_its_gate_goes_on(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_launch(player, player_spec(player, "web"), 1, 1, &outcome);
	player_answer_all(player);
	played_knows_nothing(player);
	played_knows(player, "web", "main", 1, PAGE_STARTING);
	engine_waiter_cancel(&outcome.waiter);
	player_restart(player);
	player_connect(player);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_OPEN_GATE), 1);
	player_started(player, "web", "main");
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_LAUNCH), 1);
}

/* berth-sandboxd never read the request. */
static void a_launch_that_never_arrived_is_asked_for_again(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_launch(player, player_spec(player, "web"), 1, 1, &outcome);
	engine_waiter_cancel(&outcome.waiter);
	played_knows_nothing(player);
	player_restart(player);
	player_connect(player);
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_CREATE_WORKLOAD),
			 2);
	assert_int_equal(player_last_launch(player, "web", "main")->ref->attempt, 1);
	player_answer_all(player);
	player_started(player, "web", "main");
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	assert_int_equal(played_store_exits(&player->store, "web"), 0);
}

/* Nobody was told of it, and its gate never opened. */
static void a_launch_that_was_not_durable_is_removed(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player->store.all_wait = true;
	player_launch(player, player_spec(player, "web"), 1, 1, &outcome);
	player_answer_all(player);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_OPEN_GATE), 0);
	played_knows_nothing(player);
	played_knows(player, "web", "main", 1, PAGE_STARTING);
	engine_waiter_cancel(&outcome.waiter);
	player_restart(player);
	player_connect(player);
	assert_null(engine_find(player->engine, "web"));
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL), 1);
}

static void a_lost_container_is_told_as_unknown_and_restarts_by_its_policy(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_run(player, spec, 1);
	player_run(player, player_spec(player, "once"), 1);
	played_knows_nothing(player);
	player_restart(player);
	player_connect(player);
	assert_int_equal(player_state(player, "web"), STATE(BACKOFF));
	assert_int_equal(player_state(player, "once"), STATE(EXITED));
	assert_int_equal(main_of(player, "once")->last_exit->message->kind,
			 BERTH__V1__EXIT_KIND__EXIT_UNKNOWN);
	assert_int_equal(played_store_exits(&player->store, "web"), 1);
	player_pass(player, 2000);
	assert_int_equal(player_last_launch(player, "web", "main")->ref->attempt, 2);
}

/* The next attempt was on its way when the process died, and not on disk. */
static void an_attempt_that_is_not_on_record_is_not_launched_again(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_run(player, spec, 1);
	player_exited(player, "web", "main", CLD_EXITED, 1);
	assert_int_equal(player_state(player, "web"), STATE(BACKOFF));
	player->store.all_wait = true;
	player_pass(player, 2000);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_LAUNCH), 2);
	player_answer_all(player);
	played_knows_nothing(player);
	played_knows(player, "web", "main", 2, PAGE_RUNNING);
	player_restart(player);
	player->store.all_wait = false;
	player_connect(player);
	player_started(player, "web", "main");
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	assert_int_equal(main_of(player, "web")->attempt, 2);
	assert_int_equal(engine_workload_restarts(engine_find(player->engine, "web")), 1);
	player_pass(player, 10000);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_LAUNCH), 2);
}

/* A second life begins when berth-sandboxd was told to forget the first, and its intent is durable by then: its
 * program runs before it is on record that it was launched. */
static void a_first_attempt_that_is_not_on_record_runs_on(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player_launch(player, player_spec(player, "web"), 1, 2, &outcome);
	player->store.all_wait = true;
	player_exited(player, "web", "main", CLD_EXITED, 9);
	assert_int_equal(player_state(player, "web"), STATE(PENDING));
	played_store_commit(&player->store, NULL);
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_LAUNCH), 2);
	engine_waiter_cancel(&outcome.waiter);
	played_knows_nothing(player);
	(void)played_knows(player, "web", "main", 1, PAGE_RUNNING);
	player_restart(player);
	player->store.all_wait = false;
	assert_int_equal(player_state(player, "web"), STATE(PENDING));
	player_connect(player);
	player_started(player, "web", "main");
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	assert_int_equal(engine_workload_generation(engine_find(player->engine, "web")), 2);
	assert_int_equal(engine_workload_restarts(engine_find(player->engine, "web")), 0);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL), 0);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_LAUNCH), 2);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_CREATE_WORKLOAD),
			 2);
}

static void a_stop_that_was_under_way_is_seen_through(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player_stop(player, "web", 1, 5000, &outcome);
	played_knows_nothing(player);
	played_knows(player, "web", "main", 1, PAGE_RUNNING);
	engine_waiter_cancel(&outcome.waiter);
	player_pass(player, 3000);
	player_restart(player);
	player_connect(player);
	player_started(player, "web", "main");
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL), 0);
	player_pass(player, 1999);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL), 0);
	player_pass(player, 2);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL), 1);
	player_exited(player, "web", "main", CLD_KILLED, SIGKILL);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(KILLED_AFTER_GRACE));
}

#define TEN_YEARS_NS (UINT64_C(10) * 365 * 86400 * 1000000000)

/* Somebody sets the clock of the host. */
static void step_wall(struct player *player, int64_t by_ns)
{
	player->wall_ns += (uint64_t)by_ns;
	player_pass(player, 0);
}

/* When the kill comes after the signal, and the next attempt after an end: as boot time has it. */
static void check_durations(struct player *player, int64_t step_ns, bool restart)
{
	Berth__V1__WorkloadSpec *spec = player_spec(player, "again");
	struct outcome outcome;

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_run(player, spec, 1);
	player_run(player, player_spec(player, "web"), 1);
	player_exited(player, "again", "main", CLD_EXITED, 1);
	player_stop(player, "web", 1, 900, &outcome);
	engine_waiter_cancel(&outcome.waiter);
	played_knows_nothing(player);
	played_knows(player, "web", "main", 1, PAGE_RUNNING);
	player_pass(player, 500);
	step_wall(player, step_ns);
	if (restart) {
		player_restart(player);
		player_connect(player);
		player_started(player, "web", "main");
	}
	assert_int_equal(player_state(player, "again"), STATE(BACKOFF));
	player_skip(player);
	player_pass(player, 399);
	player_expect_nothing(player);
	player_pass(player, 2);
	player_expect(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL);
	player_pass(player, 98);
	player_expect_nothing(player);
	player_pass(player, 2);
	assert_int_equal(player_state(player, "again"), STATE(STARTING));
}

static void ten_years_more_by_the_wall_clock_change_no_duration(void **state)
{
	check_durations(*state, (int64_t)TEN_YEARS_NS, false);
}

static void ten_years_less_by_the_wall_clock_change_no_duration(void **state)
{
	check_durations(*state, -(int64_t)TEN_YEARS_NS, false);
}

static void nor_do_they_over_a_restart(void **state)
{
	check_durations(*state, (int64_t)TEN_YEARS_NS, true);
}

static void nor_do_ten_years_less(void **state)
{
	check_durations(*state, -(int64_t)TEN_YEARS_NS, true);
}

static void fences_outlive_the_process(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 5);
	player_delete(player, "web", 5, true, &outcome);
	player_exited(player, "web", "main", CLD_KILLED, SIGKILL);
	player_answer_all(player);
	assert_int_equal(outcome.calls, 1);
	played_knows_nothing(player);
	player_restart(player);
	player_connect(player);
	assert_null(engine_find(player->engine, "web"));
	player_launch(player, player_spec(player, "web"), 1, 5, &outcome);
	assert_string_equal(outcome.reason, "STALE_GENERATION");
	player_launch(player, player_spec(player, "web"), 9, 6, &outcome);
	engine_waiter_cancel(&outcome.waiter);
	player_restart(player);
	player_launch(player, player_spec(player, "other"), 8, 1, &outcome);
	assert_string_equal(outcome.reason, "STALE_EPOCH");
}

static void events_go_on_where_they_were(void **state)
{
	struct player *player = *state;
	Berth__V1__WatchEventsRequest request = BERTH__V1__WATCH_EVENTS_REQUEST__INIT;
	struct engine_fault fault;
	struct engine_watch watch = { 0 };
	char instance[40];
	uint64_t newest;
	struct err err = { 0 };

	player_run(player, player_spec(player, "web"), 1);
	newest = player->engine->events.newest;
	strcpy(instance, player->engine->events.instance);
	played_knows_nothing(player);
	played_knows(player, "web", "main", 1, PAGE_RUNNING);
	player->wall_ns += 1000000000;
	player_restart(player);
	assert_string_equal(player->engine->events.instance, instance);
	assert_int_equal(player->engine->events.newest, newest);
	engine_fault_init(&fault);
	request.after_sequence = newest - 1;
	request.instance = instance;
	assert_int_equal(engine_watch_begin(player->engine, &request, &watch, &err, &fault), 0);
	engine_fault_done(&fault);
	assert_int_equal(watch.cursor.next, newest);
	engine_watch_end(&watch);
}

static void a_host_that_takes_no_workloads_stays_so(void **state)
{
	struct player *player = *state;
	Berth__V1__SetSchedulableRequest request = BERTH__V1__SET_SCHEDULABLE_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;
	struct outcome outcome;

	fence.epoch = 1;
	request.fence = &fence;
	request.sentence = (char *)"new disk";
	outcome_init(&outcome);
	engine_set_schedulable(player->engine, &request, &outcome.waiter);
	player_restart(player);
	played_knows_nothing(player);
	player_connect(player);
	player_launch(player, player_spec(player, "web"), 1, 1, &outcome);
	assert_string_equal(outcome.reason, "DRAINING");
	assert_non_null(strstr(outcome.err.text, "new disk"));
}

static void set_boot(struct player *player, const char *id, const char *boot_id)
{
	struct played_write *write = played_store_find(&player->store, 'l', id);
	Berth__Agent__V1__Life *life;
	char *own;

	assert_non_null(write);
	life = berth__agent__v1__life__unpack(NULL, write->n, write->bytes);
	assert_non_null(life);
	own = life->boot_id;
	life->boot_id = (char *)boot_id;
	free(write->bytes);
	write->n = berth__agent__v1__life__get_packed_size(life);
	write->bytes = malloc(write->n);
	(void)berth__agent__v1__life__pack(life, write->bytes);
	life->boot_id = own;
	berth__agent__v1__life__free_unpacked(life, NULL);
}

static void a_reboot_ends_each_once_and_starts_what_is_always_to_run(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *always = player_spec(player, "always");

	player_set_restart(player, always, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_run(player, always, 1);
	player_run(player, player_spec(player, "once"), 1);
	set_boot(player, "always", "an-earlier-boot");
	set_boot(player, "once", "an-earlier-boot");
	played_knows_nothing(player);
	player_restart(player);
	assert_int_equal(player_state(player, "once"), STATE(LOST));
	assert_int_equal(player_reason(player, "once"), REASON(HOST_REBOOTED));
	assert_non_null(strstr(engine_find(player->engine, "once")->sentence, "an-earlier-boot"));
	player_connect(player);
	assert_int_equal(player_state(player, "once"), STATE(LOST));
	assert_int_equal(player_state(player, "always"), STATE(STARTING));
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_LAUNCH), 3);
	assert_int_equal(played_store_exits(&player->store, "once"), 1);

	played_knows(player, "always", "main", 2, PAGE_STARTING);
	player_restart(player);
	player_connect(player);
	assert_int_equal(player_state(player, "once"), STATE(LOST));
	assert_int_equal(played_store_exits(&player->store, "once"), 1);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_LAUNCH), 3);
}

static void a_store_that_fails_refuses_launches_and_lets_the_rest_go_on(void **state)
{
	struct player *player = *state;
	struct err full = { 0 };
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player->store.all_wait = true;
	strcpy(player->store.store.failure, "no space left on device");
	(void)err_set(&full, ERR_UNAVAILABLE, ENOSPC, "no space left on device");
	player_launch(player, player_spec(player, "other"), 1, 1, &outcome);
	assert_string_equal(outcome.reason, "STORE_FAILED");
	assert_non_null(strstr(outcome.err.text, "no space"));
	assert_false(engine_is_ready(player->engine));
	player_delete(player, "web", 1, true, &outcome);
	player_exited(player, "web", "main", CLD_EXITED, 0);
	for (int i = 0; i < 10; i++) {
		played_store_commit(&player->store, &full);
		player_answer_all(player);
	}
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.r, 0);
	assert_null(engine_find(player->engine, "web"));

	player->store.all_wait = false;
	player->store.store.failure[0] = '\0';
	player->store.store.recovered(player->store.store.userdata);
	played_knows_nothing(player);
	player_restart(player);
	player_connect(player);
	assert_null(engine_find(player->engine, "web"));
	player_launch(player, player_spec(player, "web"), 1, 1, &outcome);
	assert_string_equal(outcome.reason, "STALE_GENERATION");
}

static void what_a_lost_store_does_not_know_runs_on_until_it_is_named(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	played_knows_nothing(player);
	played_knows(player, "web", "main", 1, PAGE_RUNNING);
	played_store_done(&player->store);
	player->store.store.fresh = true;
	player_restart(player);
	player_connect(player);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL), 0);
	player_stop(player, "web", 1, -1, &outcome);
	assert_int_equal(outcome.err.kind, ERR_UNAVAILABLE);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL), 1);
}

static void a_successor_takes_over_in_the_next_process(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player_launch(player, player_spec(player, "web"), 1, 2, &outcome);
	engine_waiter_cancel(&outcome.waiter);
	played_knows_nothing(player);
	played_knows_exit(player, "web", "main", 1, CLD_EXITED, 0);
	player_restart(player);
	player_connect(player);
	player_answer_all(player);
	assert_int_equal(engine_workload_generation(engine_find(player->engine, "web")), 2);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_CREATE_WORKLOAD),
			 2);
	player_started(player, "web", "main");
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
}

static void forget_life(struct played_store *store, const char *id)
{
	struct played_write *life = played_store_find(store, 'l', id);

	assert_non_null(life);
	free(life->bytes);
	store->n_kept--;
	memmove(life, life + 1, (size_t)(store->kept + store->n_kept - life) * sizeof(*life));
}

/* A damaged page took where it stood; what runs shows it. */
static void a_workload_whose_life_is_lost_runs_on(void **state)
{
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 3);
	forget_life(&player->store, "web");
	played_knows_nothing(player);
	played_knows(player, "web", "main", 1, PAGE_RUNNING);
	player_restart(player);
	player_connect(player);
	assert_int_equal(player_state(player, "web"), STATE(STARTING));
	player_started(player, "web", "main");
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	assert_int_equal(engine_workload_restarts(engine_find(player->engine, "web")), 0);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL), 0);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_LAUNCH), 1);
}

static void a_lost_life_that_ended_meanwhile_is_on_record(void **state)
{
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 3);
	forget_life(&player->store, "web");
	played_knows_nothing(player);
	played_knows_exit(player, "web", "main", 1, CLD_EXITED, 7);
	player_restart(player);
	player_connect(player);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(main_of(player, "web")->last_exit->message->code, 7);
	assert_int_equal(played_store_exits(&player->store, "web"), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(what_runs_is_taken_back_and_nothing_is_launched),
		T(an_end_meanwhile_is_recorded_once),
		T(the_sandbox_forgets_an_end_only_when_it_is_durable),
		T(a_launch_at_its_gate_goes_on),
		T(a_launch_that_never_arrived_is_asked_for_again),
		T(a_launch_that_was_not_durable_is_removed),
		T(a_lost_container_is_told_as_unknown_and_restarts_by_its_policy),
		T(an_attempt_that_is_not_on_record_is_not_launched_again),
		T(a_first_attempt_that_is_not_on_record_runs_on),
		T(a_stop_that_was_under_way_is_seen_through),
		T(ten_years_more_by_the_wall_clock_change_no_duration),
		T(ten_years_less_by_the_wall_clock_change_no_duration),
		T(nor_do_they_over_a_restart),
		T(nor_do_ten_years_less),
		T(fences_outlive_the_process),
		T(events_go_on_where_they_were),
		T(a_host_that_takes_no_workloads_stays_so),
		T(a_reboot_ends_each_once_and_starts_what_is_always_to_run),
		T(a_store_that_fails_refuses_launches_and_lets_the_rest_go_on),
		T(what_a_lost_store_does_not_know_runs_on_until_it_is_named),
		T(a_successor_takes_over_in_the_next_process),
		T(a_workload_whose_life_is_lost_runs_on),
		T(a_lost_life_that_ended_meanwhile_is_on_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
