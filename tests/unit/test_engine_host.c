/* Many workloads: Reconcile, draining, the history, sessions, and berth-sandboxd coming and going. */
#include "sandbox_player.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "proto/page.h"

#define STATE(name)  BERTH__V1__WORKLOAD_STATE__##name
#define REASON(name) BERTH__V1__REASON__##name
#define VERB(name)   BERTH__SANDBOX__V1__REQUEST__VERB_##name
#define ACTION(name) BERTH__V1__RECONCILE_VERB__RECONCILE_##name
#define MIB          (1ULL << 20)

static int setup(void **state)
{
	const struct engine_resources capacity = { .cpu_millis = 4000,
						   .memory_bytes = 256 * MIB,
						   .pids = 1000 };
	struct player *player = player_new(&capacity, 16);

	player_connect(player);
	*state = player;
	return 0;
}

static int teardown(void **state)
{
	player_free(*state);
	return 0;
}

/* ---- Reconcile ------------------------------------------------------------------------------------ */

struct wish {
	Berth__V1__Desired desired[8];
	Berth__V1__Desired *pointers[8];
	size_t n;
};

static void want(struct wish *wish, Berth__V1__WorkloadSpec *spec, uint64_t generation)
{
	Berth__V1__Desired *desired = &wish->desired[wish->n];

	berth__v1__desired__init(desired);
	desired->spec = spec;
	desired->generation = generation;
	wish->pointers[wish->n++] = desired;
}

static void reconcile(struct player *player, struct wish *wish, bool dry_run, struct arena *arena,
		      Berth__V1__ReconcileResponse *response, struct outcome *outcome)
{
	Berth__V1__ReconcileRequest request = BERTH__V1__RECONCILE_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;

	berth__v1__reconcile_response__init(response);
	outcome_init(outcome);
	fence.epoch = 1;
	request.fence = &fence;
	request.n_desired = wish->n;
	request.desired = wish->pointers;
	request.dry_run = dry_run;
	engine_reconcile(player->engine, &request, arena, response, &outcome->waiter);
}

static void reconcile_rehearses_and_then_does_the_same(void **state)
{
	static const Berth__V1__ReconcileVerb verbs[] = { ACTION(KEEP), ACTION(REPLACE),
							  ACTION(REMOVE), ACTION(LAUNCH),
							  ACTION(REFUSE) };
	struct player *player = *state;
	Berth__V1__ReconcileResponse response;
	struct outcome outcome;
	struct arena arena;
	struct wish wish = { .n = 0 };
	Berth__V1__WorkloadSpec *bad = player_spec(player, "e");

	arena_init(&arena, 1 << 20);
	player_run(player, player_spec(player, "a"), 1);
	player_run(player, player_spec(player, "b"), 1);
	player_run(player, player_spec(player, "c"), 1);
	bad->containers[0]->stop_signal = (char *)"SIGNOPE";
	want(&wish, bad, 1);
	want(&wish, player_spec(player, "d"), 1);
	want(&wish, player_spec(player, "b"), 2);
	want(&wish, player_spec(player, "a"), 1);
	reconcile(player, &wish, true, &arena, &response, &outcome);
	assert_int_equal(outcome.r, 0);
	player_expect_nothing(player);
	reconcile(player, &wish, false, &arena, &response, &outcome);
	assert_int_equal(response.n_actions, 5);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(response.actions[i]->id[0], 'a' + (char)i);
		assert_int_equal(response.actions[i]->verb, verbs[i]);
	}
	assert_non_null(strstr(response.actions[4]->sentence, "stop_signal"));
	assert_int_equal(player_state(player, "a"), STATE(RUNNING));
	assert_int_equal(player_state(player, "b"), STATE(STOPPING));
	assert_int_equal(player_state(player, "c"), STATE(STOPPING));
	assert_int_equal(player_state(player, "d"), STATE(STARTING));
	player_exited(player, "c", "main", CLD_KILLED, SIGTERM);
	player_answer_all(player);
	assert_null(engine_find(player->engine, "c"));
	arena_done(&arena);
}

static void what_reconcile_removes_is_room_for_what_it_launches(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *big = player_spec(player, "big");
	Berth__V1__WorkloadSpec *next = player_spec(player, "next");
	Berth__V1__ReconcileResponse response;
	struct outcome outcome;
	struct arena arena;
	struct wish wish = { .n = 0 };

	arena_init(&arena, 1 << 20);
	player_set_memory(player, big->containers[0], 200 * MIB);
	player_set_memory(player, next->containers[0], 200 * MIB);
	player_run(player, big, 1);
	want(&wish, next, 1);
	reconcile(player, &wish, false, &arena, &response, &outcome);
	assert_int_equal(response.actions[1]->verb, ACTION(LAUNCH));
	assert_int_equal(player_state(player, "next"), STATE(PENDING));
	assert_null(player_last_launch(player, "next", "main"));
	player_exited(player, "big", "main", CLD_KILLED, SIGTERM);
	assert_non_null(player_last_launch(player, "next", "main"));
	arena_done(&arena);
}

/* ---- draining ------------------------------------------------------------------------------------- */

static void set_schedulable(struct player *player, bool schedulable, uint64_t deadline_ms)
{
	Berth__V1__SetSchedulableRequest request = BERTH__V1__SET_SCHEDULABLE_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;
	struct outcome outcome;

	outcome_init(&outcome);
	fence.epoch = 1;
	request.fence = &fence;
	request.schedulable = schedulable;
	request.drain_deadline_ms = deadline_ms;
	engine_set_schedulable(player->engine, &request, &outcome.waiter);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.r, 0);
}

static void a_drain_empties_the_lowest_band_first_and_ends_by_the_deadline(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *critical = player_spec(player, "crit");
	Berth__V1__WorkloadSpec *batch = player_spec(player, "batch");
	struct outcome launch;

	critical->band = BERTH__V1__PRIORITY_BAND__CRITICAL;
	batch->band = BERTH__V1__PRIORITY_BAND__BATCH;
	player_run(player, critical, 1);
	player_run(player, batch, 1);
	set_schedulable(player, false, 60000);
	assert_int_equal(player_state(player, "batch"), STATE(STOPPING));
	assert_int_equal(player_state(player, "crit"), STATE(RUNNING));
	player_launch(player, player_spec(player, "new"), 1, 1, &launch);
	assert_int_equal(launch.err.kind, ERR_UNAVAILABLE);
	assert_string_equal(launch.reason, FAULT_DRAINING);
	player_exited(player, "batch", "main", CLD_KILLED, SIGTERM);
	assert_int_equal(player_state(player, "crit"), STATE(STOPPING));
	player_skip(player);
	player_pass(player, 60000);
	(void)player_expect(player, VERB(KILL));
	player_exited(player, "crit", "main", CLD_KILLED, SIGKILL);
	set_schedulable(player, true, 0);
	player_launch(player, player_spec(player, "new"), 1, 1, &launch);
	assert_int_equal(launch.calls, 0);
	engine_waiter_cancel(&launch.waiter);
}

static void a_band_that_does_not_end_has_only_its_share_of_the_time(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *low = player_spec(player, "low");

	low->band = BERTH__V1__PRIORITY_BAND__BEST_EFFORT;
	player_run(player, player_spec(player, "prod"), 1);
	player_run(player, low, 1);
	set_schedulable(player, false, 8000);
	(void)player_expect(player, VERB(SIGNAL));
	player_pass(player, 1999);
	player_expect_nothing(player);
	player_pass(player, 1); /* a quarter of the time: its grace is over */
	(void)player_expect(player, VERB(KILL));
	player_pass(player, 2000);
	assert_int_equal(player_state(player, "prod"), STATE(STOPPING));
}

/* ---- a berth-sandboxd that ends ------------------------------------------------------------------- */

static void a_launch_that_the_end_of_sandboxd_refused_begins_again(void **state)
{
	struct player *player = *state;
	struct outcome launch;
	struct played_request *create;

	player_launch(player, player_spec(player, "web"), 1, 1, &launch);
	create = player_expect(player, VERB(CREATE_WORKLOAD));
	player_fail(player, create, ERR_UNAVAILABLE, "it is ending");
	player_fail(player, player_expect(player, VERB(LAUNCH)), ERR_UNAVAILABLE, "it is ending");
	assert_int_equal(launch.calls, 0);
	player_disconnect(player);
	player_connect(player);
	assert_int_equal(player_count(player, VERB(CREATE_WORKLOAD)), 2);
	assert_int_equal(player_last_launch(player, "web", "main")->ref->attempt, 1);
	player_answer_all(player);
	player_started(player, "web", "main");
	assert_int_equal(launch.calls, 1);
	assert_int_equal(launch.state, STATE(RUNNING));
}

static void a_launch_that_ends_sandboxd_again_and_again_is_given_up(void **state)
{
	struct player *player = *state;
	struct outcome launch;

	player_launch(player, player_spec(player, "web"), 1, 1, &launch);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(launch.calls, 0);
		assert_int_equal(player_count(player, VERB(LAUNCH)), i + 1);
		player_disconnect(player);
		player_connect(player);
	}
	assert_int_equal(launch.calls, 1);
	assert_int_equal(launch.state, STATE(EXITED));
	assert_int_equal(launch.why, REASON(HOST_FAILURE));
}

/* ---- the history ---------------------------------------------------------------------------------- */

static int told;

static void on_available(struct engine_watch *watch)
{
	told++;
}

static int watch_from(struct player *player, struct engine_watch *watch, uint64_t after,
		      bool oldest, const char *id, struct engine_fault *fault)
{
	Berth__V1__WatchEventsRequest request = BERTH__V1__WATCH_EVENTS_REQUEST__INIT;
	struct err err = { 0 };

	*watch = (struct engine_watch){ .available = on_available };
	request.after_sequence = after;
	request.from_oldest = oldest;
	request.id = (char *)id;
	return engine_watch_begin(player->engine, &request, watch, &err, fault);
}

static void a_slow_reader_learns_what_it_missed(void **state)
{
	struct player *player = *state;
	Berth__V1__WatchEventsResponse response = BERTH__V1__WATCH_EVENTS_RESPONSE__INIT;
	struct engine_watch watch;
	struct engine_fault fault;
	struct arena arena;
	uint64_t first;

	told = 0;
	arena_init(&arena, 1 << 20);
	engine_fault_init(&fault);
	assert_int_equal(watch_from(player, &watch, 0, false, "", &fault), 0);
	for (int i = 1; i <= 10; i++) { /* five events each */
		player_run(player, player_spec(player, "a"), (uint64_t)i);
		player_exited(player, "a", "main", CLD_EXITED, 0);
	}
	assert_int_equal(told, 1); /* once, until it has read all */
	assert_int_equal(engine_events_read(player->engine, &watch, 100, &arena, &response), 16);
	assert_true(response.missed >= 20);
	first = response.events[0]->sequence;
	for (size_t i = 0; i < 16; i++)
		assert_true(response.events[i]->sequence == first + i);
	assert_true(response.missed == first - 1);
	engine_watch_end(&watch);
	/* Resuming: what is kept, what is gone, what has not been. */
	assert_int_equal(watch_from(player, &watch, first + 3, false, "", &fault), 0);
	engine_watch_end(&watch);
	assert_true(watch_from(player, &watch, first - 2, false, "", &fault) < 0);
	assert_string_equal(fault.reason, FAULT_EVENTS_TOO_OLD);
	assert_true(watch_from(player, &watch, first + 100, false, "", &fault) < 0);
	assert_string_equal(fault.reason, FAULT_EVENTS_UNKNOWN);
	engine_fault_done(&fault);
	arena_done(&arena);
}

static void a_watch_of_one_workload_hears_of_no_other(void **state)
{
	struct player *player = *state;
	Berth__V1__WatchEventsResponse response = BERTH__V1__WATCH_EVENTS_RESPONSE__INIT;
	struct engine_watch watch;
	struct engine_fault fault;
	struct arena arena;

	told = 0;
	arena_init(&arena, 1 << 20);
	engine_fault_init(&fault);
	assert_int_equal(watch_from(player, &watch, 0, false, "b", &fault), 0);
	player_run(player, player_spec(player, "a"), 1);
	assert_int_equal(told, 0);
	player_run(player, player_spec(player, "b"), 1);
	assert_int_equal(told, 1);
	assert_true(engine_events_read(player->engine, &watch, 100, &arena, &response) > 0);
	for (size_t i = 0; i < response.n_events; i++)
		assert_string_equal(response.events[i]->workload, "b");
	engine_watch_end(&watch);
	engine_fault_done(&fault);
	arena_done(&arena);
}

/* ---- berth-sandboxd goes and comes ---------------------------------------------------------------- */

static void ends_that_happened_meanwhile_are_exact(void **state)
{
	struct player *player = *state;
	Berth__Sandbox__V1__KnownWorkload a = BERTH__SANDBOX__V1__KNOWN_WORKLOAD__INIT;
	Berth__Sandbox__V1__KnownContainer main_a = BERTH__SANDBOX__V1__KNOWN_CONTAINER__INIT;
	Berth__Sandbox__V1__Exited exited = BERTH__SANDBOX__V1__EXITED__INIT;
	Berth__Sandbox__V1__KnownContainer *containers[] = { &main_a };
	Berth__Sandbox__V1__KnownWorkload stray = BERTH__SANDBOX__V1__KNOWN_WORKLOAD__INIT;
	Berth__Sandbox__V1__KnownWorkload *known[] = { &a, &stray };
	struct outcome launch;

	player_run(player, player_spec(player, "a"), 1);
	player_run(player, player_spec(player, "b"), 1);
	player_disconnect(player);
	assert_int_equal(player_state(player, "a"), STATE(RUNNING));
	player_launch(player, player_spec(player, "c"), 1, 1, &launch);
	assert_string_equal(launch.reason, FAULT_SANDBOX_AWAY);

	a.workload = (char *)"a";
	a.instance = engine_workload_instance(engine_find(player->engine, "a"));
	a.n_containers = 1;
	a.containers = containers;
	main_a.container = (char *)"main";
	main_a.attempt = 1;
	main_a.state = PAGE_EXITED;
	main_a.exited = &exited;
	exited.exit_si_code = CLD_KILLED;
	exited.exit_si_status = SIGSEGV;
	stray.workload = (char *)"stray";
	stray.instance = 99;
	player->inventory.n_workloads = 2;
	player->inventory.workloads = known;
	player_skip(player);
	player_connect(player);
	player->inventory.n_workloads = 0;

	assert_int_equal(player_state(player, "a"), STATE(EXITED));
	assert_int_equal(player_reason(player, "a"), REASON(SIGNALED));
	/* What it has forgotten is not made up. */
	assert_int_equal(player_state(player, "b"), STATE(EXITED));
	assert_int_equal(player_reason(player, "b"), REASON(HOST_FAILURE));
	assert_string_equal(
		player->requests[player->n_requests - 1].message->remove_workload->workload, "b");
	player_launch(player, player_spec(player, "stray"), 1, 1, &launch);
	assert_int_equal(launch.calls, 0); /* the stray was removed: its id is free */
	engine_waiter_cancel(&launch.waiter);
}

/* The inventory tells of one workload whose "main" still runs. */
static void come_back_with(struct player *player, const char *id)
{
	Berth__Sandbox__V1__KnownWorkload workload = BERTH__SANDBOX__V1__KNOWN_WORKLOAD__INIT;
	Berth__Sandbox__V1__KnownContainer container = BERTH__SANDBOX__V1__KNOWN_CONTAINER__INIT;
	Berth__Sandbox__V1__KnownContainer *containers[] = { &container };
	Berth__Sandbox__V1__KnownWorkload *known[] = { &workload };

	workload.workload = (char *)id;
	workload.instance = engine_workload_instance(engine_find(player->engine, id));
	workload.n_containers = 1;
	workload.containers = containers;
	container.container = (char *)"main";
	container.attempt = 1;
	container.state = PAGE_RUNNING;
	player->inventory.n_workloads = 1;
	player->inventory.workloads = known;
	player_connect(player);
	player->inventory.n_workloads = 0;
}

static void a_stop_that_the_lost_link_swallowed_is_sent_again(void **state)
{
	struct player *player = *state;
	struct outcome stop;

	player_run(player, player_spec(player, "a"), 1);
	player_disconnect(player);
	player_stop(player, "a", 1, -1, &stop);
	come_back_with(player, "a");
	assert_int_equal(player->requests[player->n_requests - 1].message->verb_case, VERB(SIGNAL));
	player_exited(player, "a", "main", CLD_KILLED, SIGTERM);
	assert_int_equal(stop.state, STATE(EXITED));
}

static void a_kill_that_the_lost_link_swallowed_is_sent_again(void **state)
{
	struct player *player = *state;
	struct outcome stop;

	player_run(player, player_spec(player, "a"), 1);
	player_stop(player, "a", 1, 100, &stop);
	player_disconnect(player);
	player_pass(player, 100);
	come_back_with(player, "a");
	assert_int_equal(player->requests[player->n_requests - 1].message->verb_case, VERB(KILL));
	engine_waiter_cancel(&stop.waiter);
}

static void a_restart_waits_for_the_sandbox(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "a");

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_run(player, spec, 1);
	player_exited(player, "a", "main", CLD_EXITED, 0);
	player_disconnect(player);
	player_pass(player, 5000);
	assert_int_equal(player_state(player, "a"), STATE(BACKOFF));
	player_connect(player);
	assert_int_equal(player_state(player, "a"), STATE(STARTING));
	assert_int_equal(player_count(player, VERB(CREATE_WORKLOAD)), 2);
}

/* ---- sessions ------------------------------------------------------------------------------------- */

struct talk {
	struct engine_session session;
	int opened;
	int started;
	int ended;
	int failed;
	int code;
	enum err_kind kind;
};

static void on_opened(struct engine_session *session, int *fds, size_t n_fds)
{
	((struct talk *)session)->opened++;
}

static void on_started(struct engine_session *session, const Berth__V1__ExecStarted *started)
{
	((struct talk *)session)->started++;
}

static void on_ended(struct engine_session *session, const Berth__V1__ExitRecord *record)
{
	((struct talk *)session)->ended++;
	((struct talk *)session)->code = record->code;
}

static void on_failed(struct engine_session *session, const struct engine_answer *answer)
{
	((struct talk *)session)->failed++;
	((struct talk *)session)->kind = answer->err->kind;
}

static const struct engine_session_ops talk_ops = {
	.opened = on_opened, .started = on_started, .ended = on_ended, .failed = on_failed
};

static void exec(struct player *player, const char *id, struct talk *talk)
{
	Berth__V1__ExecStart start = BERTH__V1__EXEC_START__INIT;
	char *command[] = { (char *)"/bin/sh" };

	*talk = (struct talk){ .session = { .ops = &talk_ops } };
	start.id = (char *)id;
	start.n_command = 1;
	start.command = command;
	engine_exec(player->engine, &start, &talk->session);
}

static void exec_tells_its_start_and_its_end(void **state)
{
	struct player *player = *state;
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__ExecStarted started = BERTH__SANDBOX__V1__EXEC_STARTED__INIT;
	Berth__Sandbox__V1__ExecExited exited = BERTH__SANDBOX__V1__EXEC_EXITED__INIT;
	const Berth__Sandbox__V1__Exec *request;
	struct talk talk;

	exec(player, "none", &talk);
	assert_int_equal(talk.kind, ERR_NOT_FOUND);
	player_run(player, player_spec(player, "a"), 1);
	exec(player, "a", &talk);
	request = player_expect(player, VERB(EXEC))->message->exec;
	assert_string_equal(request->user, "0:0");
	player_answer_all(player);
	assert_int_equal(talk.opened, 1);
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_EXEC_STARTED;
	fact.exec_started = &started;
	started.session = request->session;
	player->link.listener->fact(player->link.listener->userdata, &fact, NULL, 0);
	assert_int_equal(talk.started, 1);
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_EXEC_EXITED;
	fact.exec_exited = &exited;
	exited.session = request->session;
	exited.exit_si_code = CLD_EXITED;
	exited.exit_si_status = 5;
	player->link.listener->fact(player->link.listener->userdata, &fact, NULL, 0);
	assert_int_equal(talk.ended, 1);
	assert_int_equal(talk.code, 5);
	exec(player, "a", &talk);
	(void)player_expect(player, VERB(EXEC));
	engine_session_close(&talk.session);
	assert_int_equal(player_expect(player, VERB(SIGNAL))->message->signal->signal, SIGKILL);
	player_answer_all(player);
	assert_int_equal(talk.opened, 0);
}

static void lists_are_paged_by_id(void **state)
{
	struct player *player = *state;
	Berth__V1__ListRequest request = BERTH__V1__LIST_REQUEST__INIT;
	Berth__V1__ListResponse page = BERTH__V1__LIST_RESPONSE__INIT;
	struct engine_fault fault;
	struct err err = { 0 };
	struct arena arena;
	struct outcome outcome;

	arena_init(&arena, 1 << 20);
	engine_fault_init(&fault);
	player_run(player, player_spec(player, "c"), 1);
	player_run(player, player_spec(player, "a"), 1);
	player_run(player, player_spec(player, "b"), 1);
	request.page_size = 2;
	assert_int_equal(engine_list(player->engine, &request, &arena, &page, &err, &fault), 0);
	assert_int_equal(page.n_workloads, 2);
	assert_string_equal(page.workloads[0]->status->id, "a");
	assert_string_equal(page.next_page_token, "b");
	/* What the token names may go meanwhile. */
	player_delete(player, "b", 1, true, &outcome);
	player_exited(player, "b", "main", CLD_EXITED, 0);
	player_answer_all(player);
	request.page_token = (char *)"b";
	berth__v1__list_response__init(&page);
	assert_int_equal(engine_list(player->engine, &request, &arena, &page, &err, &fault), 0);
	assert_int_equal(page.n_workloads, 1);
	assert_string_equal(page.workloads[0]->status->id, "c");
	assert_string_equal(page.next_page_token, "");
	engine_fault_done(&fault);
	arena_done(&arena);
}

/* In the middle of an upgrade: nothing new, and all the rest. */
static void with_a_sandbox_of_another_release_only_starts_are_refused(void **state)
{
	struct player *player = *state;
	struct outcome launch;

	player_run(player, player_spec(player, "a"), 1);
	player_disconnect(player);
	player->refuses_starts = "berthd speaks protocol 1 and berth-sandboxd 0.2.0 speaks 2";
	player->inventory.n_workloads = 0;
	player_connect(player);
	player_launch(player, player_spec(player, "b"), 1, 1, &launch);
	assert_int_equal(launch.err.kind, ERR_UNAVAILABLE);
	assert_string_equal(launch.reason, FAULT_RELEASES_DIFFER);
	assert_non_null(strstr(launch.err.text, "speaks 2"));
	player_disconnect(player);
	player->refuses_starts = NULL;
	player_connect(player);
	player_run(player, player_spec(player, "b"), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(reconcile_rehearses_and_then_does_the_same),
		T(what_reconcile_removes_is_room_for_what_it_launches),
		T(a_launch_that_the_end_of_sandboxd_refused_begins_again),
		T(a_launch_that_ends_sandboxd_again_and_again_is_given_up),
		T(a_drain_empties_the_lowest_band_first_and_ends_by_the_deadline),
		T(a_band_that_does_not_end_has_only_its_share_of_the_time),
		T(a_slow_reader_learns_what_it_missed),
		T(a_watch_of_one_workload_hears_of_no_other),
		T(ends_that_happened_meanwhile_are_exact),
		T(a_stop_that_the_lost_link_swallowed_is_sent_again),
		T(a_kill_that_the_lost_link_swallowed_is_sent_again),
		T(a_restart_waits_for_the_sandbox),
		T(with_a_sandbox_of_another_release_only_starts_are_refused),
		T(exec_tells_its_start_and_its_end),
		T(lists_are_paged_by_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
