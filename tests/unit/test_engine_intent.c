/* What a command asks for is durable before it is done, told or answered; and what becomes of it where the disk fails
 * or hangs, or the process dies in between. */
#include "played_inventory.h"

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
		T(a_higher_epoch_is_durable_before_its_refusal_is_told),
		T(a_refusal_is_told_though_the_disk_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
