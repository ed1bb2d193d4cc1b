/* A host that is short of memory: what is done to a workload, what is told of it, and that it is undone. */
#include "sandbox_player.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "agent/workload/model.h"
#include "proto/page.h"

#define VERB(name) BERTH__SANDBOX__V1__REQUEST__VERB_##name
#define MIB        (1ULL << 20)

/* agent/pressure, played. */
static struct {
	struct engine_pressure hooks;
	struct engine_figures now;
	enum engine_hold_step last;
	int steps;
	int failures;
	int readies;
} pressure;

static void on_ready(void *userdata)
{
	pressure.readies++;
}

static void on_figures(void *userdata, const struct workload *workload, struct engine_figures *ret)
{
	*ret = pressure.now;
}

static void on_stepped(void *userdata, const struct workload *workload, enum engine_hold_step step,
		       const struct err *failure)
{
	pressure.last = step;
	pressure.steps++;
	pressure.failures += failure != NULL;
}

static int fill_node(void *userdata, struct arena *arena, Berth__V1__Node *ret)
{
	return 0;
}

static void attach(struct player *player)
{
	memset(&pressure, 0, sizeof(pressure));
	pressure.hooks = (struct engine_pressure){ on_ready, on_figures, on_stepped, fill_node,
						   NULL };
	pressure.now = (struct engine_figures){ 30 * MIB, 1234, 567, 20 * MIB };
	engine_set_pressure(player->engine, &pressure.hooks);
}

static int begin(void **state)
{
	struct player *player = player_new(NULL, 0);

	player_connect(player);
	attach(player);
	*state = player;
	return 0;
}

static int end(void **state)
{
	player_free(*state);
	return 0;
}

static const struct engine_figures before = { 10 * MIB, 5000, 4000, 60 * MIB };

static int hold(struct player *player, const char *id, enum engine_hold_step step, uint64_t bytes)
{
	struct err err = { 0 };

	return engine_hold(player->engine, engine_find(player->engine, id), step, bytes, &before,
			   "because it is so", &err);
}

static struct engine_held held(struct player *player, const char *id)
{
	struct engine_held list[8];
	size_t n = engine_list_held(player->engine, list, 8);

	for (size_t i = 0; i < n; i++)
		if (strcmp(engine_workload_id(list[i].workload), id) == 0)
			return list[i];
	fail_msg("%s is not in the list", id);
	return list[0];
}

static void ignore(struct engine_watch *watch)
{
}

/* The last event must be of @reason; its figures are those of this file. */
static void expect_event(struct player *player, Berth__V1__Reason reason)
{
	Berth__V1__WatchEventsRequest request = BERTH__V1__WATCH_EVENTS_REQUEST__INIT;
	Berth__V1__WatchEventsResponse response = BERTH__V1__WATCH_EVENTS_RESPONSE__INIT;
	struct engine_watch watch = { .available = ignore };
	struct engine_fault fault;
	const Berth__V1__Event *event;
	struct arena arena;

	arena_init(&arena, 1 << 20);
	engine_fault_init(&fault);
	request.from_oldest = true;
	assert_int_equal(engine_watch_begin(player->engine, &request, &watch, NULL, &fault), 0);
	assert_true(engine_events_read(player->engine, &watch, 100, &arena, &response) > 0);
	event = response.events[response.n_events - 1];
	assert_int_equal(event->reason, reason);
	assert_non_null(event->memory_before);
	assert_non_null(event->memory_after);
	assert_int_equal(event->memory_before->available_bytes, 10 * MIB);
	assert_int_equal(event->memory_before->workload_bytes, 60 * MIB);
	assert_true(event->memory_before->full_avg10 == 40.0);
	assert_int_equal(event->memory_after->available_bytes, 30 * MIB);
	assert_true(event->memory_after->some_avg10 == 12.34);
	engine_watch_end(&watch);
	engine_fault_done(&fault);
	arena_done(&arena);
}

static Berth__V1__WorkloadStatus status_of(struct player *player, const char *id)
{
	static struct arena arena;
	Berth__V1__WorkloadStatus status = BERTH__V1__WORKLOAD_STATUS__INIT;

	arena_done(&arena);
	arena_init(&arena, 1 << 20);
	assert_int_equal(engine_fill_status(engine_find(player->engine, id), &arena, &status), 0);
	return status;
}

static void a_step_is_told_when_it_is_done(void **state)
{
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 1);
	player_skip(player);
	assert_int_equal(hold(player, "web", HOLD_RECLAIM, 5 * MIB), 0);
	assert_int_equal(player_expect(player, VERB(RECLAIM))->message->reclaim->bytes, 5 * MIB);
	assert_true(held(player, "web").busy);
	assert_int_equal(hold(player, "web", HOLD_FREEZE, 0), -EBUSY);
	assert_int_equal(pressure.steps, 0);
	player_answer_all(player);
	assert_int_equal(pressure.steps, 1);
	assert_int_equal(pressure.last, HOLD_RECLAIM);
	expect_event(player, REASON(MEMORY_RECLAIMED));
	player_pass(player, 700);
	assert_int_equal(held(player, "web").since_reclaim_ms, 700);
	assert_string_equal(status_of(player, "web").pressure_sentence, "");
}

static void frozen_and_thawed(void **state)
{
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 1);
	player_skip(player);
	assert_int_equal(hold(player, "web", HOLD_FREEZE, 0), 0);
	assert_true(player_expect(player, VERB(FREEZE))->message->freeze->frozen);
	assert_false(held(player, "web").frozen);
	player_answer_all(player);
	expect_event(player, REASON(FROZEN_BY_PRESSURE));
	player_pass(player, 1500);
	assert_true(held(player, "web").frozen);
	assert_int_equal(held(player, "web").frozen_ms, 1500);
	assert_int_equal(status_of(player, "web").pressure_step,
			 BERTH__V1__PRESSURE_STEP__PRESSURE_FROZEN);
	assert_string_equal(status_of(player, "web").pressure_sentence, "because it is so");
	assert_false(status_of(player, "web").paused);

	assert_int_equal(hold(player, "web", HOLD_THAW, 0), 0);
	assert_false(player_expect(player, VERB(FREEZE))->message->freeze->frozen);
	player_answer_all(player);
	expect_event(player, REASON(THAWED));
	assert_false(held(player, "web").frozen);
	assert_string_equal(status_of(player, "web").pressure_sentence, "");
}

static void a_step_that_fails_holds_nothing(void **state)
{
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 1);
	player_skip(player);
	assert_int_equal(hold(player, "web", HOLD_SQUEEZE, 8 * MIB), 0);
	player_fail(player, player_expect(player, VERB(SQUEEZE)), ERR_TIMEOUT, "still at it");
	assert_int_equal(pressure.failures, 1);
	assert_int_equal(status_of(player, "web").pressure_step, 0);
	assert_string_equal(status_of(player, "web").pressure_sentence, "");
	assert_false(held(player, "web").busy);
	/* Nor does one whose answer never came, beyond the next inventory. */
	assert_int_equal(hold(player, "web", HOLD_FREEZE, 0), 0);
	player_disconnect(player);
	assert_int_equal(pressure.failures, 2);
}

static void a_stop_thaws_what_is_frozen(void **state)
{
	struct player *player = *state;
	struct outcome stop;

	player_run(player, player_spec(player, "web"), 1);
	assert_int_equal(hold(player, "web", HOLD_FREEZE, 0), 0);
	player_answer_all(player);
	player_skip(player);
	player_stop(player, "web", 1, -1, &stop);
	assert_false(player_expect(player, VERB(FREEZE))->message->freeze->frozen);
	(void)player_expect(player, VERB(SIGNAL));
	assert_false(held(player, "web").frozen);
	engine_waiter_cancel(&stop.waiter);
}

static void a_freeze_that_comes_after_a_stop_is_undone(void **state)
{
	struct player *player = *state;
	struct outcome stop;

	player_run(player, player_spec(player, "web"), 1);
	assert_int_equal(hold(player, "web", HOLD_FREEZE, 0), 0);
	player_stop(player, "web", 1, -1, &stop);
	player_skip(player);
	player_answer_all(player);
	assert_false(player_expect(player, VERB(FREEZE))->message->freeze->frozen);
	assert_false(held(player, "web").frozen);
	engine_waiter_cancel(&stop.waiter);
}

static void resume(struct player *player, bool pause, struct outcome *outcome)
{
	Berth__V1__PauseRequest request = BERTH__V1__PAUSE_REQUEST__INIT;
	Berth__V1__ResumeRequest other = BERTH__V1__RESUME_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;

	outcome_init(outcome);
	fence.epoch = fence.generation = 1;
	request.fence = other.fence = &fence;
	request.id = other.id = (char *)"web";
	if (pause)
		engine_pause(player->engine, &request, &outcome->waiter);
	else
		engine_resume(player->engine, &other, &outcome->waiter);
}

/* Frozen by request and by its host: it goes on when neither wants it. */
static void a_pause_and_a_freeze_do_not_undo_each_other(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	resume(player, true, &outcome);
	player_answer_all(player);
	assert_int_equal(hold(player, "web", HOLD_FREEZE, 0), 0);
	player_answer_all(player);
	player_skip(player);
	resume(player, false, &outcome);
	assert_true(player_expect(player, VERB(FREEZE))->message->freeze->frozen);
	player_answer_all(player);
	assert_int_equal(outcome.calls, 1);
	assert_false(status_of(player, "web").paused);
	assert_true(held(player, "web").frozen);

	resume(player, true, &outcome);
	player_answer_all(player);
	player_skip(player);
	assert_int_equal(hold(player, "web", HOLD_THAW, 0), 0);
	assert_true(player_expect(player, VERB(FREEZE))->message->freeze->frozen);
	player_answer_all(player);
	assert_true(status_of(player, "web").paused);
	assert_false(held(player, "web").frozen);
}

static void set_high(Berth__V1__WorkloadSpec *spec, Berth__V1__Resources *resources, uint64_t bytes)
{
	berth__v1__resources__init(resources);
	resources->_memory_high_bytes_case =
		BERTH__V1__RESOURCES___MEMORY_HIGH_BYTES_MEMORY_HIGH_BYTES;
	resources->memory_high_bytes = bytes;
	spec->resources = resources;
}

static void a_squeeze_gives_back_what_the_spec_has(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	Berth__V1__Resources resources;

	set_high(spec, &resources, 48 * MIB);
	player_run(player, spec, 1);
	player_run(player, player_spec(player, "free"), 1);
	player_skip(player);
	assert_int_equal(hold(player, "web", HOLD_SQUEEZE, 16 * MIB), 0);
	assert_int_equal(player_expect(player, VERB(SQUEEZE))->message->squeeze->memory_high_bytes,
			 16 * MIB);
	player_answer_all(player);
	expect_event(player, REASON(MEMORY_SQUEEZED));
	assert_int_equal(status_of(player, "web").pressure_step,
			 BERTH__V1__PRESSURE_STEP__PRESSURE_SQUEEZED);
	assert_int_equal(held(player, "web").high_bytes, 16 * MIB);
	assert_int_equal(hold(player, "web", HOLD_RELEASE, 0), 0);
	assert_int_equal(player_expect(player, VERB(SQUEEZE))->message->squeeze->memory_high_bytes,
			 48 * MIB);
	player_answer_all(player);
	expect_event(player, REASON(SQUEEZE_ENDED));
	assert_int_equal(held(player, "web").high_bytes, 0);
	assert_int_equal(hold(player, "free", HOLD_RELEASE, 0), 0);
	assert_int_equal(player_expect(player, VERB(SQUEEZE))->message->squeeze->memory_high_bytes,
			 0);
	player_answer_all(player);
}

static void a_kill_takes_all_of_it_and_its_policy_does_not_count(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_run(player, spec, 1);
	player_skip(player);
	assert_int_equal(hold(player, "web", HOLD_KILL, 0), 0);
	assert_string_equal(player_expect(player, VERB(KILL))->message->kill->ref->container,
			    "main");
	assert_string_equal(player_expect(player, VERB(KILL))->message->kill->ref->container, "");
	assert_true(held(player, "web").busy);
	player_answer_all(player);
	assert_int_equal(pressure.steps, 0);
	player_exited(player, "web", "main", CLD_KILLED, SIGKILL);
	assert_int_equal(player_state(player, "web"), STATE(EXITED));
	assert_int_equal(player_reason(player, "web"), REASON(EVICTED));
	assert_int_equal(pressure.steps, 1);
	assert_int_equal(pressure.last, HOLD_KILL);
	player_pass(player, 600000);
	assert_int_equal(player_count(player, VERB(LAUNCH)), 1);
}

/* ---- after a restart ------------------------------------------------------------------------------ */

static void knows(struct player *player, const char *id, bool frozen, uint64_t high)
{
	static Berth__Sandbox__V1__KnownContainer container;
	static Berth__Sandbox__V1__KnownContainer *containers[] = { &container };
	static Berth__Sandbox__V1__KnownWorkload workload;
	static Berth__Sandbox__V1__KnownWorkload *workloads[] = { &workload };
	const Berth__Sandbox__V1__Launch *launch = player_last_launch(player, id, "main");

	berth__sandbox__v1__known_workload__init(&workload);
	berth__sandbox__v1__known_container__init(&container);
	container.container = (char *)"main";
	container.attempt = 1;
	container.state = PAGE_RUNNING;
	workload.workload = (char *)id;
	workload.instance = launch->ref->instance;
	workload.frozen = frozen;
	workload.memory_high_bytes = high;
	workload.n_containers = 1;
	workload.containers = containers;
	player->inventory.n_workloads = 1;
	player->inventory.workloads = workloads;
}

static void what_the_kernel_holds_is_found_again(void **state)
{
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 1);
	assert_int_equal(hold(player, "web", HOLD_FREEZE, 0), 0);
	player_answer_all(player);
	knows(player, "web", true, 16 * MIB);
	player_restart(player);
	attach(player);
	player_connect(player);
	assert_int_equal(pressure.readies, 1);
	assert_true(held(player, "web").frozen);
	assert_int_equal(held(player, "web").high_bytes, 16 * MIB);
	assert_string_equal(status_of(player, "web").pressure_sentence, "because it is so");

	/* A step that was cut off before the kernel heard of it. */
	knows(player, "web", false, 0);
	player_restart(player);
	attach(player);
	player_connect(player);
	assert_false(held(player, "web").frozen);
	assert_int_equal(held(player, "web").high_bytes, 0);
	assert_string_equal(status_of(player, "web").pressure_sentence, "");
}

static void what_the_spec_asks_for_is_no_squeeze(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	Berth__V1__Resources resources;

	set_high(spec, &resources, 48 * MIB + 5); /* the kernel keeps whole pages */
	player_run(player, spec, 1);
	knows(player, "web", false, 48 * MIB);
	player_restart(player);
	attach(player);
	player_connect(player);
	assert_int_equal(held(player, "web").high_bytes, 0);
}

static void a_pause_is_no_freeze_of_ours(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	resume(player, true, &outcome);
	player_answer_all(player);
	knows(player, "web", true, 0);
	player_restart(player);
	attach(player);
	player_connect(player);
	assert_false(held(player, "web").frozen);
	assert_true(status_of(player, "web").paused);
}

static void one_that_nobody_knows_and_that_stays_is_let_go(void **state)
{
	struct player *player = *state;

	player_run(player, player_spec(player, "web"), 1);
	knows(player, "web", true, 16 * MIB);
	played_store_done(&player->store);
	player->store.store.fresh = true;
	player_restart(player);
	player_connect(player);
	assert_int_equal(player_count(player, VERB(KILL)), 0);
	assert_int_equal(player_count(player, VERB(FREEZE)), 1);
	assert_int_equal(player_count(player, VERB(SQUEEZE)), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
		T(a_step_is_told_when_it_is_done),
		T(frozen_and_thawed),
		T(a_step_that_fails_holds_nothing),
		T(a_stop_thaws_what_is_frozen),
		T(a_freeze_that_comes_after_a_stop_is_undone),
		T(a_pause_and_a_freeze_do_not_undo_each_other),
		T(a_squeeze_gives_back_what_the_spec_has),
		T(a_kill_takes_all_of_it_and_its_policy_does_not_count),
		T(what_the_kernel_holds_is_found_again),
		T(what_the_spec_asks_for_is_no_squeeze),
		T(a_pause_is_no_freeze_of_ours),
		T(one_that_nobody_knows_and_that_stays_is_let_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
