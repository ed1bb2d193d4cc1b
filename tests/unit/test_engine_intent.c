/* What a command asks for is durable before it is done, told or answered; and what becomes of it where the disk fails
 * or hangs, or the process dies in between. */
#include "played_inventory.h"

#include <signal.h>
#include <string.h>

#include "agent/workload/model.h"
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

static void a_stop_is_answered_when_the_end_is_durable(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player->store.all_wait = true;
	player_stop(player, "web", 1, -1, &outcome);
	player_exited(player, "web", "main", CLD_EXITED, 0);
	assert_int_equal(outcome.calls, 0);
	played_store_commit_all(&player->store);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.state, STATE(EXITED));
}

/* Else it could be seen to be asked to end by somebody of whom a crash leaves no trace. */
static void a_stop_sends_nothing_before_it_is_durable(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player_skip(player);
	player->store.all_wait = true;
	player_stop(player, "web", 1, 5000, &outcome);
	player_expect_nothing(player);
	played_store_commit_all(&player->store);
	player_expect(player, BERTH__SANDBOX__V1__REQUEST__VERB_SIGNAL);

	/* Its grace began with the signal. */
	player_pass(player, 4999);
	player_expect_nothing(player);
	player_pass(player, 2);
	player_expect(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL);
	engine_waiter_cancel(&outcome.waiter);
}

static void a_shorter_grace_kills_when_it_is_durable(void **state)
{
	struct player *player = *state;
	struct outcome first;
	struct outcome second;

	player_run(player, player_spec(player, "web"), 1);
	player_stop(player, "web", 1, 5000, &first);
	player_skip(player);
	player->store.all_wait = true;
	player_stop(player, "web", 1, 0, &second);
	player_expect_nothing(player);
	played_store_commit_all(&player->store);
	player_expect(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL);
	engine_waiter_cancel(&first.waiter);
	engine_waiter_cancel(&second.waiter);
}

static void a_stop_that_a_crash_forgets_was_never_seen(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player_skip(player);
	player->store.all_wait = true;
	player_delete(player, "web", 1, true, &outcome);
	player_expect_nothing(player);
	played_knows_nothing(player);
	played_knows(player, "web", "main", 1, PAGE_RUNNING);
	engine_waiter_cancel(&outcome.waiter);
	player_restart(player);
	player->store.all_wait = false;
	player_connect(player);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_SIGNAL), 0);
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL), 0);
}

/* It is durable, and the process died before it could send anything. */
static void a_durable_stop_is_sent_by_the_next_process(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player->store.all_wait = true;
	player_stop(player, "web", 1, 5000, &outcome);
	engine_waiter_cancel(&outcome.waiter);
	for (size_t i = 0; i < player->store.n_waiting; i++)
		player->store.waiting[i].done.call = NULL;
	played_store_commit_all(&player->store);
	player->store.all_wait = false;
	played_knows_nothing(player);
	played_knows(player, "web", "main", 1, PAGE_RUNNING);
	player_restart(player);
	player_connect(player);
	assert_int_equal(player_state(player, "web"), STATE(STOPPING));
	assert_int_equal(player_count(player, BERTH__SANDBOX__V1__REQUEST__VERB_SIGNAL), 1);
}

static void a_stop_goes_on_though_the_disk_fails(void **state)
{
	const struct err full = { .kind = ERR_UNAVAILABLE, .text = "no space left on device" };
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player_skip(player);
	player->store.all_wait = true;
	player_stop(player, "web", 1, 5000, &outcome);
	played_store_commit(&player->store, &full);
	player_expect(player, BERTH__SANDBOX__V1__REQUEST__VERB_SIGNAL);
	engine_waiter_cancel(&outcome.waiter);
}

static void a_disk_that_hangs_holds_up_a_stop_for_five_seconds(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_run(player, player_spec(player, "web"), 1);
	player_skip(player);
	player->store.all_wait = true;
	player_stop(player, "web", 1, 10000, &outcome);
	player_pass(player, 4999);
	player_expect_nothing(player);
	player_pass(player, 1);
	player_expect(player, BERTH__SANDBOX__V1__REQUEST__VERB_SIGNAL);
	player_pass(player, 10000);
	player_expect(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL);
	played_store_commit_all(&player->store);
	player_expect_nothing(player);
	engine_waiter_cancel(&outcome.waiter);
}

/* Both become durable in one commit: the gate is not to open for the moment until the kill. */
static void a_launch_that_is_stopped_before_it_is_durable_never_runs(void **state)
{
	struct player *player = *state;
	struct outcome launched;
	struct outcome stopped;

	player->store.all_wait = true;
	player_launch(player, player_spec(player, "web"), 1, 1, &launched);
	player_answer_all(player);
	player_stop(player, "web", 1, 5000, &stopped);
	player_skip(player);
	played_store_commit_all(&player->store);
	player_expect(player, BERTH__SANDBOX__V1__REQUEST__VERB_KILL);
	player_expect_nothing(player);
	engine_waiter_cancel(&launched.waiter);
	engine_waiter_cancel(&stopped.waiter);
}

/* The bar that it leaves is a promise: the launch that it overtook is to be refused, whatever crashes. */
static void that_there_is_none_is_told_when_its_bar_is_durable(void **state)
{
	struct player *player = *state;
	struct outcome stopped;
	struct outcome deleted;
	struct outcome launched;

	player->store.all_wait = true;
	player_stop(player, "web", 3, -1, &stopped);
	player_delete(player, "api", 5, true, &deleted);
	assert_int_equal(stopped.calls, 0);
	assert_int_equal(deleted.calls, 0);
	played_store_commit_all(&player->store);
	assert_int_equal(stopped.calls, 1);
	assert_int_equal(stopped.err.kind, ERR_NOT_FOUND);
	assert_int_equal(deleted.err.kind, ERR_NOT_FOUND);
	player->store.all_wait = false;
	played_knows_nothing(player);
	player_restart(player);
	player_connect(player);
	player_launch(player, player_spec(player, "web"), 1, 3, &launched);
	assert_string_equal(launched.reason, "STALE_GENERATION");
	player_launch(player, player_spec(player, "api"), 1, 5, &launched);
	assert_string_equal(launched.reason, "STALE_GENERATION");
}

static void a_lower_bar_does_not_take_the_place_of_a_higher_one(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	player_stop(player, "web", 5, -1, &outcome);
	player_stop(player, "web", 3, -1, &outcome);
	assert_int_equal(outcome.err.kind, ERR_NOT_FOUND);
	played_knows_nothing(player);
	player_restart(player);
	player_connect(player);
	player_launch(player, player_spec(player, "web"), 1, 5, &outcome);
	assert_string_equal(outcome.reason, "STALE_GENERATION");
}

static void a_higher_epoch_is_durable_before_its_refusal_is_told(void **state)
{
	struct player *player = *state;
	Berth__V1__SignalRequest request = BERTH__V1__SIGNAL_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;
	Berth__V1__WorkloadSpec *big = player_spec(player, "big");
	struct outcome outcome;

	player->store.all_wait = true;
	fence.epoch = 9;
	fence.generation = 1;
	request.fence = &fence;
	request.id = (char *)"web";
	request.signal = (char *)"HUP";
	outcome_init(&outcome);
	engine_signal(player->engine, &request, &outcome.waiter);
	assert_int_equal(outcome.calls, 0);
	played_store_commit_all(&player->store);
	assert_int_equal(outcome.err.kind, ERR_NOT_FOUND);
	player->store.all_wait = false;
	player_restart(player);
	player_launch(player, player_spec(player, "web"), 8, 1, &outcome);
	assert_string_equal(outcome.reason, "STALE_EPOCH");

	/* With all that it has to say. */
	player->store.all_wait = true;
	played_knows_nothing(player);
	player_connect(player);
	player_set_memory(player, big->containers[0], UINT64_C(1) << 50);
	player_launch(player, big, 10, 1, &outcome);
	assert_int_equal(outcome.calls, 0);
	played_store_commit_all(&player->store);
	assert_string_equal(outcome.reason, "NO_ROOM");
	assert_int_equal(outcome.n_quotas, 1);
	assert_string_equal(outcome.quotas[0].resource, "memory");
}

static void a_refusal_is_told_though_the_disk_fails(void **state)
{
	const struct err full = { .kind = ERR_UNAVAILABLE, .text = "no space left on device" };
	struct player *player = *state;
	struct outcome outcome;

	player->store.all_wait = true;
	player_stop(player, "web", 3, -1, &outcome);
	played_store_commit(&player->store, &full);
	assert_int_equal(outcome.err.kind, ERR_NOT_FOUND);
}

/* ---- changes of what runs ------------------------------------------------------------------------- */

#define VERB(name) BERTH__SANDBOX__V1__REQUEST__VERB_##name
#define MIB        (UINT64_C(1) << 20)

static const struct err hard_error = { .kind = ERR_UNAVAILABLE, .text = "input/output error" };

static void update(struct player *player, const char *container, uint64_t memory,
		   uint64_t generation, struct outcome *outcome)
{
	Berth__V1__UpdateResourcesRequest request = BERTH__V1__UPDATE_RESOURCES_REQUEST__INIT;
	Berth__V1__Resources resources = BERTH__V1__RESOURCES__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;

	outcome_init(outcome);
	fence.epoch = 1;
	fence.generation = generation;
	request.fence = &fence;
	request.id = (char *)"web";
	request.container = (char *)container;
	request.resources = &resources;
	resources._memory_limit_bytes_case =
		BERTH__V1__RESOURCES___MEMORY_LIMIT_BYTES_MEMORY_LIMIT_BYTES;
	resources.memory_limit_bytes = memory;
	engine_update_resources(player->engine, &request, &outcome->waiter);
}

static void set_paused(struct player *player, bool pause, struct outcome *outcome)
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

static void send_signal(struct player *player, uint64_t epoch, struct outcome *outcome)
{
	Berth__V1__SignalRequest request = BERTH__V1__SIGNAL_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;

	outcome_init(outcome);
	fence.epoch = epoch;
	fence.generation = 1;
	request.fence = &fence;
	request.id = (char *)"web";
	request.signal = (char *)"HUP";
	engine_signal(player->engine, &request, &outcome->waiter);
}

static const struct workload *web(struct player *player)
{
	const struct workload *workload = engine_find(player->engine, "web");

	assert_non_null(workload);
	return workload;
}

static uint64_t memory_of(struct player *player, size_t container)
{
	const Berth__V1__Resources *r = web(player)->containers[container].spec->resources;

	return r ? r->memory_limit_bytes : 0;
}

/* "web" runs, and what was asked for that was looked at. */
static void run_both(struct player *player)
{
	static struct outcome outcome;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");

	player_set_memory(player, spec->containers[0], 64 * MIB);
	player_set_memory(player, player_add_container(player, spec, "side", ROLE(SIDECAR)),
			  32 * MIB);
	player_launch(player, spec, 1, 1, &outcome);
	player_answer_all(player);
	player_started(player, "web", "side");
	player_answer_all(player);
	player_started(player, "web", "main");
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(player_state(player, "web"), STATE(RUNNING));
	player_skip(player);
}

/* Another berthd, which finds both running. */
static void restart(struct player *player)
{
	played_knows_nothing(player);
	(void)played_knows(player, "web", "main", 1, PAGE_RUNNING);
	(void)played_knows(player, "web", "side", 1, PAGE_RUNNING);
	player_restart(player);
	player->store.all_wait = false;
	player_connect(player);
}

static void a_change_of_limits_is_durable_before_the_kernel_has_it(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	run_both(player);
	player->store.all_wait = true;
	update(player, "main", 96 * MIB, 1, &outcome);
	player_expect_nothing(player);
	assert_int_equal(memory_of(player, 0), 64 * MIB);
	played_store_commit_all(&player->store);
	assert_int_equal(player_expect(player, VERB(UPDATE_LIMITS))
				 ->message->update_limits->limits->memory_max_bytes,
			 96 * MIB);
	assert_int_equal(outcome.calls, 0);
	player_answer_all(player);
	assert_int_equal(memory_of(player, 0), 96 * MIB);
	assert_int_equal(outcome.calls, 0); /* nor is it answered before */
	played_store_commit_all(&player->store);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.r, 0);
}

static void a_change_that_a_crash_forgets_was_never_seen(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	run_both(player);
	player->store.all_wait = true;
	update(player, "main", 96 * MIB, 1, &outcome);
	engine_waiter_cancel(&outcome.waiter);
	restart(player);
	assert_int_equal(player_count(player, VERB(UPDATE_LIMITS)), 0);
	assert_int_equal(memory_of(player, 0), 64 * MIB);
}

/* Whether the kernel had it when the process died, nobody knows: it is asked once more. */
static void a_durable_change_is_made_by_the_next_process(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	run_both(player);
	update(player, "main", 96 * MIB, 2, &outcome);
	(void)player_expect(player, VERB(UPDATE_LIMITS));
	engine_waiter_cancel(&outcome.waiter);
	restart(player);
	assert_int_equal(player_count(player, VERB(UPDATE_LIMITS)), 2);
	assert_int_equal(memory_of(player, 0), 96 * MIB);
	assert_int_equal(engine_workload_generation(web(player)), 2);

	/* And once only. */
	restart(player);
	assert_int_equal(player_count(player, VERB(UPDATE_LIMITS)), 2);
	assert_int_equal(memory_of(player, 0), 96 * MIB);
}

static void a_change_that_the_kernel_refuses_leaves_no_intent(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	run_both(player);
	update(player, "main", 96 * MIB, 2, &outcome);
	player_fail(player, player_expect(player, VERB(UPDATE_LIMITS)), ERR_INTERNAL, "EBUSY");
	assert_int_equal(outcome.err.kind, ERR_INTERNAL);
	restart(player);
	assert_int_equal(player_count(player, VERB(UPDATE_LIMITS)), 1);
	assert_int_equal(memory_of(player, 0), 64 * MIB);
	assert_int_equal(engine_workload_generation(web(player)), 1);
}

/* The asker hears that nobody knows; what comes of it is on record all the same. */
static void a_change_whose_reply_is_lost_is_made_when_the_sandbox_is_back(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	run_both(player);
	update(player, "main", 96 * MIB, 1, &outcome);
	played_knows_nothing(player);
	(void)played_knows(player, "web", "main", 1, PAGE_RUNNING);
	(void)played_knows(player, "web", "side", 1, PAGE_RUNNING);
	player_disconnect(player);
	assert_int_equal(outcome.calls, 1);
	assert_string_equal(outcome.reason, "SANDBOX_AWAY");
	player_connect(player);
	player_answer_all(player);
	assert_int_equal(player_count(player, VERB(UPDATE_LIMITS)), 2);
	assert_int_equal(memory_of(player, 0), 96 * MIB);
}

static void a_change_is_made_though_the_sandbox_has_gone_unnoticed(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	run_both(player);
	player->up = false;
	update(player, "main", 96 * MIB, 1, &outcome);
	assert_string_equal(outcome.reason, "SANDBOX_AWAY");
	assert_int_equal(player_count(player, VERB(UPDATE_LIMITS)), 0);
	played_knows_nothing(player);
	(void)played_knows(player, "web", "main", 1, PAGE_RUNNING);
	(void)played_knows(player, "web", "side", 1, PAGE_RUNNING);
	player_disconnect(player);
	player_connect(player);
	assert_int_equal(player_count(player, VERB(UPDATE_LIMITS)), 1);
	assert_int_equal(memory_of(player, 0), 96 * MIB);
}

static void a_change_that_cannot_be_kept_is_refused_and_nothing_is_done(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	run_both(player);
	player->store.all_wait = true;
	update(player, "main", 96 * MIB, 2, &outcome);
	played_store_commit(&player->store, &hard_error);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.err.kind, ERR_UNAVAILABLE);
	assert_string_equal(outcome.reason, "STORE_FAILED");
	assert_non_null(strstr(outcome.err.text, "input/output error"));
	set_paused(player, true, &outcome);
	played_store_commit(&player->store, &hard_error);
	assert_string_equal(outcome.reason, "STORE_FAILED");
	player_expect_nothing(player);
	played_store_commit_all(&player->store);
	restart(player);
	assert_int_equal(memory_of(player, 0), 64 * MIB);
	assert_false(web(player)->paused);
	assert_int_equal(player_count(player, VERB(UPDATE_LIMITS)), 0);
	assert_int_equal(player_count(player, VERB(FREEZE)), 0);
}

static void a_disk_that_hangs_refuses_a_change_after_five_seconds(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	run_both(player);
	player->store.all_wait = true;
	update(player, "main", 96 * MIB, 1, &outcome);
	player_pass(player, 4999);
	assert_int_equal(outcome.calls, 0);
	player_pass(player, 1);
	assert_int_equal(outcome.calls, 1);
	assert_string_equal(outcome.reason, "STORE_FAILED");
	/* It answers at last: the intent, and then that it is none any more. */
	played_store_commit_all(&player->store);
	player_expect_nothing(player);
	restart(player);
	assert_int_equal(player_count(player, VERB(UPDATE_LIMITS)), 0);
	assert_int_equal(memory_of(player, 0), 64 * MIB);
}

/* Each of the two specs had the other's change not in it. */
static void two_changes_at_once_are_both_made(void **state)
{
	struct player *player = *state;
	struct outcome first;
	struct outcome second;

	run_both(player);
	update(player, "main", 96 * MIB, 1, &first);
	update(player, "side", 48 * MIB, 2, &second);
	player_answer_all(player);
	assert_int_equal(first.calls, 1);
	assert_int_equal(first.r, 0);
	player_answer_all(player);
	assert_int_equal(second.calls, 1);
	assert_int_equal(second.r, 0);
	assert_int_equal(memory_of(player, 0), 96 * MIB);
	assert_int_equal(memory_of(player, 1), 48 * MIB);
	assert_int_equal(engine_workload_generation(web(player)), 2);
	assert_int_equal(web(player)->charge.memory_bytes, 144 * MIB);
	assert_int_equal(player->engine->charged.memory_bytes, 144 * MIB);
	restart(player);
	assert_int_equal(memory_of(player, 0), 96 * MIB);
	assert_int_equal(memory_of(player, 1), 48 * MIB);
}

static void the_second_of_two_changes_stands_though_the_first_fails(void **state)
{
	struct player *player = *state;
	struct outcome first;
	struct outcome second;

	run_both(player);
	update(player, "main", 96 * MIB, 1, &first);
	update(player, "side", 48 * MIB, 1, &second);
	player_fail(player, player_expect(player, VERB(UPDATE_LIMITS)), ERR_INTERNAL, "EBUSY");
	player_answer_all(player);
	assert_int_equal(first.err.kind, ERR_INTERNAL);
	assert_int_equal(second.r, 0);
	assert_int_equal(memory_of(player, 0), 64 * MIB);
	assert_int_equal(memory_of(player, 1), 48 * MIB);
	assert_int_equal(player->engine->charged.memory_bytes, 112 * MIB);
}

static void a_change_that_waited_is_compared_with_what_is_there_by_then(void **state)
{
	struct player *player = *state;
	struct outcome first;
	struct outcome second;
	struct outcome stop;

	run_both(player);
	update(player, "main", 96 * MIB, 5, &first);
	update(player, "side", 48 * MIB, 4, &second);
	player_answer_all(player);
	assert_int_equal(second.calls, 1);
	assert_string_equal(second.reason, "STALE_GENERATION");

	update(player, "main", 80 * MIB, 5, &first);
	update(player, "side", 48 * MIB, 5, &second);
	player_stop(player, "web", 5, -1, &stop);
	player_answer_all(player);
	assert_int_equal(second.calls, 1);
	assert_string_equal(second.reason, "ENDED");
	assert_int_equal(memory_of(player, 1), 32 * MIB);
	engine_waiter_cancel(&stop.waiter);
}

/* Its launch has the limits of before: they change when there is a group that has them. */
static void a_change_waits_for_a_container_that_is_on_its_way(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	struct outcome launched;
	struct outcome changed;

	player_set_memory(player, spec->containers[0], 64 * MIB);
	player_launch(player, spec, 1, 1, &launched);
	player_answer_all(player);
	player_skip(player);
	update(player, "main", 96 * MIB, 1, &changed);
	player_expect_nothing(player);
	assert_int_equal(changed.calls, 0);
	player_started(player, "web", "main");
	assert_int_equal(player_expect(player, VERB(UPDATE_LIMITS))
				 ->message->update_limits->limits->memory_max_bytes,
			 96 * MIB);
	player_answer_all(player);
	assert_int_equal(changed.calls, 1);
	assert_int_equal(changed.r, 0);
	assert_int_equal(memory_of(player, 0), 96 * MIB);
}

/* What never started has no limits: those of the next attempt change. */
static void a_change_that_waited_for_what_ends_is_of_the_next_attempt(void **state)
{
	struct player *player = *state;
	Berth__V1__WorkloadSpec *spec = player_spec(player, "web");
	struct outcome launched;
	struct outcome changed;

	player_set_memory(player, spec->containers[0], 64 * MIB);
	player_set_restart(player, spec, BERTH__V1__RESTART_MODE__RESTART_ALWAYS, 0);
	player_launch(player, spec, 1, 1, &launched);
	player_answer_all(player);
	player_skip(player);
	update(player, "main", 96 * MIB, 1, &changed);
	player_exited(player, "web", "main", CLD_EXITED, 1);
	assert_int_equal(changed.calls, 1);
	assert_int_equal(changed.r, 0);
	assert_int_equal(player_count(player, VERB(UPDATE_LIMITS)), 0);
	player_pass(player, 2000);
	assert_int_equal(player_last_launch(player, "web", "main")->ref->attempt, 2);
	assert_int_equal(player_last_launch(player, "web", "main")->limits->memory_max_bytes,
			 96 * MIB);
}

static void what_waits_is_bounded(void **state)
{
	struct player *player = *state;
	struct outcome outcomes[17];

	run_both(player);
	for (size_t i = 0; i < 17; i++)
		update(player, "main", 96 * MIB, 1, &outcomes[i]);
	assert_int_equal(outcomes[15].calls, 0);
	assert_int_equal(outcomes[16].calls, 1);
	assert_int_equal(outcomes[16].err.kind, ERR_EXHAUSTED);
	for (size_t i = 0; i < 16; i++)
		player_answer_all(player);
	for (size_t i = 0; i < 16; i++) {
		assert_int_equal(outcomes[i].calls, 1);
		assert_int_equal(outcomes[i].r, 0);
	}
}

static void a_pause_is_durable_before_anything_is_frozen(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	run_both(player);
	player->store.all_wait = true;
	set_paused(player, true, &outcome);
	player_expect_nothing(player);
	played_store_commit_all(&player->store);
	assert_true(player_expect(player, VERB(FREEZE))->message->freeze->frozen);
	player_answer_all(player);
	played_store_commit_all(&player->store);
	assert_int_equal(outcome.calls, 1);
	assert_true(web(player)->paused);
}

/* A Resume that overtakes a Pause had been told that there is nothing to do. */
static void a_resume_waits_for_the_pause_before_it(void **state)
{
	struct player *player = *state;
	struct outcome pause;
	struct outcome resume;

	run_both(player);
	set_paused(player, true, &pause);
	set_paused(player, false, &resume);
	assert_int_equal(resume.calls, 0);
	assert_true(player_expect(player, VERB(FREEZE))->message->freeze->frozen);
	player_answer_all(player);
	assert_int_equal(pause.calls, 1);
	assert_false(player_expect(player, VERB(FREEZE))->message->freeze->frozen);
	player_answer_all(player);
	assert_int_equal(resume.calls, 1);
	assert_false(resume.already_applied);
	assert_false(web(player)->paused);
	set_paused(player, false, &resume);
	assert_true(resume.already_applied);
}

/* It was frozen, or not: either way it is by request, and not for want of memory. */
static void a_durable_pause_is_seen_through_by_the_next_process(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	run_both(player);
	set_paused(player, true, &outcome);
	engine_waiter_cancel(&outcome.waiter);
	played_knows_nothing(player);
	(void)played_knows(player, "web", "main", 1, PAGE_RUNNING);
	(void)played_knows(player, "web", "side", 1, PAGE_RUNNING);
	player->inventory.workloads[0]->frozen = true;
	player_restart(player);
	player_connect(player);
	player_answer_all(player);
	assert_int_equal(player_count(player, VERB(FREEZE)), 2);
	assert_true(web(player)->paused);
	assert_false(web(player)->hold.frozen);
	set_paused(player, false, &outcome);
	player_answer_all(player);
	assert_int_equal(outcome.calls, 1);
	assert_false(web(player)->paused);
}

/* ---- signals -------------------------------------------------------------------------------------- */

/* Else its sender's successor could find itself refused, after a crash, by an epoch that nobody remembers. */
static void a_signal_is_sent_when_the_epoch_that_it_raises_is_durable(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	run_both(player);
	player->store.all_wait = true;
	send_signal(player, 9, &outcome);
	player_expect_nothing(player);
	played_store_commit_all(&player->store);
	(void)player_expect(player, VERB(SIGNAL));
	(void)player_expect(player, VERB(SIGNAL));
	player_answer_all(player);
	played_store_commit_all(&player->store);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.r, 0);

	/* It is not the same when it is sent twice: no later process sends it. */
	restart(player);
	assert_int_equal(player_count(player, VERB(SIGNAL)), 2);
}

static void a_signal_goes_on_though_the_disk_fails_or_hangs(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	run_both(player);
	player->store.all_wait = true;
	send_signal(player, 1, &outcome);
	played_store_commit(&player->store, &hard_error);
	(void)player_expect(player, VERB(SIGNAL));
	(void)player_expect(player, VERB(SIGNAL));
	engine_waiter_cancel(&outcome.waiter);
	send_signal(player, 1, &outcome);
	player_pass(player, 4999);
	player_expect_nothing(player);
	player_pass(player, 1);
	(void)player_expect(player, VERB(SIGNAL));
	engine_waiter_cancel(&outcome.waiter);

	/* Nor is it answered, if it raised an epoch. */
	player_skip(player);
	send_signal(player, 9, &outcome);
	player_pass(player, 5000);
	(void)player_expect(player, VERB(SIGNAL));
	player_answer_all(player);
	assert_int_equal(outcome.calls, 0);
	played_store_commit_all(&player->store);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.r, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(a_stop_is_answered_when_the_end_is_durable),
		T(a_stop_sends_nothing_before_it_is_durable),
		T(a_shorter_grace_kills_when_it_is_durable),
		T(a_stop_that_a_crash_forgets_was_never_seen),
		T(a_durable_stop_is_sent_by_the_next_process),
		T(a_stop_goes_on_though_the_disk_fails),
		T(a_disk_that_hangs_holds_up_a_stop_for_five_seconds),
		T(a_launch_that_is_stopped_before_it_is_durable_never_runs),
		T(that_there_is_none_is_told_when_its_bar_is_durable),
		T(a_lower_bar_does_not_take_the_place_of_a_higher_one),
		T(a_higher_epoch_is_durable_before_its_refusal_is_told),
		T(a_refusal_is_told_though_the_disk_fails),
		T(a_change_of_limits_is_durable_before_the_kernel_has_it),
		T(a_change_that_a_crash_forgets_was_never_seen),
		T(a_durable_change_is_made_by_the_next_process),
		T(a_change_that_the_kernel_refuses_leaves_no_intent),
		T(a_change_whose_reply_is_lost_is_made_when_the_sandbox_is_back),
		T(a_change_is_made_though_the_sandbox_has_gone_unnoticed),
		T(a_change_that_cannot_be_kept_is_refused_and_nothing_is_done),
		T(a_disk_that_hangs_refuses_a_change_after_five_seconds),
		T(two_changes_at_once_are_both_made),
		T(the_second_of_two_changes_stands_though_the_first_fails),
		T(a_change_that_waited_is_compared_with_what_is_there_by_then),
		T(a_change_waits_for_a_container_that_is_on_its_way),
		T(a_change_that_waited_for_what_ends_is_of_the_next_attempt),
		T(what_waits_is_bounded),
		T(a_pause_is_durable_before_anything_is_frozen),
		T(a_resume_waits_for_the_pause_before_it),
		T(a_durable_pause_is_seen_through_by_the_next_process),
		T(a_signal_is_sent_when_the_epoch_that_it_raises_is_durable),
		T(a_signal_goes_on_though_the_disk_fails_or_hangs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
