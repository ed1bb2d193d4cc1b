/* Terminal records: they outlive their workload, and are told until somebody has acknowledged them. */
#include "sandbox_player.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"

#define TOLD_MAX 512

static int begin(void **state)
{
	struct player *player = player_new(NULL, 64);

	player_connect(player);
	*state = player;
	return 0;
}

static int end(void **state)
{
	player_free(*state);
	return 0;
}

/* ---- asking --------------------------------------------------------------------------------------- */

static struct {
	uint64_t sequences[TOLD_MAX];
	int codes[TOLD_MAX]; /* -1: no record */
	char ids[TOLD_MAX][64];
	size_t n;
	uint64_t missed;
} told;

static void on_available(struct engine_watch *watch)
{
}

static void read_all(struct player *player, struct engine_watch *watch)
{
	for (;;) {
		Berth__V1__WatchEventsResponse answer = BERTH__V1__WATCH_EVENTS_RESPONSE__INIT;
		struct arena arena;
		int n;

		arena_init(&arena, 8 << 20);
		n = engine_events_read(player->engine, watch, 7, &arena, &answer);
		assert_true(n >= 0);
		told.missed += answer.missed;
		for (size_t i = 0; i < answer.n_events; i++) {
			const Berth__V1__Event *event = answer.events[i];

			assert_true(told.n < TOLD_MAX);
			told.sequences[told.n] = event->sequence;
			told.codes[told.n] = event->exit ? event->exit->code : -1;
			strcpy(told.ids[told.n++], event->workload);
		}
		arena_done(&arena);
		if (n == 0 && answer.missed == 0)
			return;
	}
}

static void watch(struct player *player, Berth__V1__WatchEventsRequest *request,
		  struct engine_watch *ret_watch)
{
	struct engine_fault fault;
	struct err err = { 0 };

	engine_fault_init(&fault);
	*ret_watch = (struct engine_watch){ .available = on_available };
	assert_int_equal(engine_watch_begin(player->engine, request, ret_watch, &err, &fault), 0);
	engine_fault_done(&fault);
	memset(&told, 0, sizeof(told));
	read_all(player, ret_watch);
}

/* What comes at once to one who asks for records, and for events from now on. */
static void ask(struct player *player, Berth__V1__EarlierRecords records)
{
	Berth__V1__WatchEventsRequest request = BERTH__V1__WATCH_EVENTS_REQUEST__INIT;
	struct engine_watch reader;

	request.earlier_records = records;
	watch(player, &request, &reader);
	engine_watch_end(&reader);
}

#define UNACKNOWLEDGED BERTH__V1__EARLIER_RECORDS__EARLIER_RECORDS_UNACKNOWLEDGED
#define ALL            BERTH__V1__EARLIER_RECORDS__EARLIER_RECORDS_ALL

static void acknowledge(struct player *player, uint64_t epoch, uint64_t up_to, uint64_t *sequences,
			size_t n, const char *instance, struct outcome *outcome)
{
	Berth__V1__AckRecordsRequest request = BERTH__V1__ACK_RECORDS_REQUEST__INIT;
	Berth__V1__Fence fence = BERTH__V1__FENCE__INIT;

	outcome_init(outcome);
	fence.epoch = epoch;
	request.fence = &fence;
	request.up_to_sequence = up_to;
	request.sequences = sequences;
	request.n_sequences = n;
	request.instance = (char *)instance;
	engine_ack_records(player->engine, &request, &outcome->waiter);
}

static void accepts(struct player *player, uint64_t up_to)
{
	struct outcome outcome;

	acknowledge(player, 1, up_to, NULL, 0, "", &outcome);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.r, 0);
}

static Berth__V1__RecordFigures figures(struct player *player)
{
	Berth__V1__RecordFigures figures = BERTH__V1__RECORD_FIGURES__INIT;

	engine_fill_records(player->engine, &figures);
	return figures;
}

/* A workload that ran, ended with @code, and is deleted. */
static void was_there(struct player *player, const char *id, uint64_t generation, int code)
{
	struct outcome outcome;

	player_run(player, player_spec(player, id), generation);
	player_exited(player, id, "main", CLD_EXITED, code);
	player_answer_all(player);
	player_delete(player, id, generation, false, &outcome);
	player_answer_all(player);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.r, 0);
	assert_null(engine_find(player->engine, id));
}

static void limit(struct player *player, size_t max, uint64_t age_ms)
{
	const struct engine_config config = { .capacity = player->capacity,
					      .records_max = max,
					      .record_age_ms = age_ms };

	engine_reconfigure(player->engine, &config);
}

static size_t kept_records(const struct player *player)
{
	size_t n = 0;

	for (size_t i = 0; i < player->store.n_kept; i++)
		n += player->store.kept[i].kind == 'r';
	return n;
}

/* ---- stories -------------------------------------------------------------------------------------- */

static void a_record_outlives_its_workload_and_the_agent(void **state)
{
	struct player *player = *state;

	was_there(player, "job", 1, 42);
	ask(player, UNACKNOWLEDGED);
	assert_int_equal(told.n, 1);
	player_restart(player);
	player_connect(player);
	ask(player, UNACKNOWLEDGED);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.codes[0], 42);
	assert_string_equal(told.ids[0], "job");
	ask(player, UNACKNOWLEDGED); /* again, as long as nobody acknowledges */
	assert_int_equal(told.n, 1);
	assert_int_equal(figures(player).unacknowledged, 1);
	assert_int_equal(kept_records(player), 1);
}

static void what_is_acknowledged_is_not_told_again(void **state)
{
	struct player *player = *state;
	uint64_t second;

	was_there(player, "one", 1, 1);
	was_there(player, "two", 1, 2);
	was_there(player, "three", 1, 3);
	ask(player, UNACKNOWLEDGED);
	assert_int_equal(told.n, 3);
	second = told.sequences[1];
	accepts(player, second);
	accepts(player, second); /* twice is no failure */
	for (int round = 0; round < 2; round++) {
		ask(player, UNACKNOWLEDGED);
		assert_int_equal(told.n, 1);
		assert_string_equal(told.ids[0], "three");
		ask(player, ALL);
		assert_int_equal(told.n, 3);
		assert_int_equal(figures(player).unacknowledged, 1);
		player_restart(player);
		player_connect(player);
	}
}

static void single_records_are_acknowledged_by_their_numbers(void **state)
{
	struct player *player = *state;
	struct outcome outcome;
	uint64_t some[2];

	was_there(player, "one", 1, 1);
	was_there(player, "two", 1, 2);
	was_there(player, "three", 1, 3);
	ask(player, UNACKNOWLEDGED);
	some[0] = told.sequences[0];
	some[1] = told.sequences[2];
	acknowledge(player, 1, 0, some, 2, "", &outcome);
	assert_int_equal(outcome.r, 0);
	player_restart(player);
	ask(player, UNACKNOWLEDGED);
	assert_int_equal(told.n, 1);
	assert_string_equal(told.ids[0], "two");
}

static void an_acknowledgement_is_answered_when_it_is_durable(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	was_there(player, "job", 1, 1);
	ask(player, UNACKNOWLEDGED);
	player->store.all_wait = true;
	acknowledge(player, 1, told.sequences[0], NULL, 0, "", &outcome);
	assert_int_equal(outcome.calls, 0);
	played_store_commit(&player->store, NULL);
	assert_int_equal(outcome.calls, 1);
	assert_int_equal(outcome.r, 0);
}

static void who_does_not_lead_acknowledges_nothing(void **state)
{
	struct player *player = *state;
	struct outcome outcome;

	was_there(player, "job", 1, 1);
	was_there(player, "next", 1, 1);
	ask(player, UNACKNOWLEDGED);
	acknowledge(player, 9, 0, told.sequences, 1, "", &outcome);
	assert_int_equal(outcome.r, 0);
	acknowledge(player, 8, 1000000, NULL, 0, "", &outcome);
	assert_string_equal(outcome.reason, FAULT_STALE_EPOCH);
	acknowledge(player, 9, player->engine->events.newest + 1, NULL, 0, "", &outcome);
	assert_string_equal(outcome.reason, FAULT_EVENTS_UNKNOWN);
	acknowledge(player, 9, 1, NULL, 0, "another", &outcome);
	assert_string_equal(outcome.reason, FAULT_EVENTS_UNKNOWN);
	acknowledge(player, 9, 0, NULL, 0, "", &outcome);
	assert_int_equal(outcome.err.kind, ERR_INVALID);
	assert_string_equal(outcome.field, "up_to_sequence");
	ask(player, UNACKNOWLEDGED);
	assert_int_equal(told.n, 1);
}

static void the_limits_take_acknowledged_ones_first_and_count_the_others(void **state)
{
	struct player *player = *state;
	char id[16];

	for (int i = 0; i < 6; i++) {
		(void)snprintf(id, sizeof(id), "job-%d", i);
		was_there(player, id, 1, i);
	}
	ask(player, UNACKNOWLEDGED);
	assert_int_equal(told.n, 6);
	{
		struct outcome outcome;

		acknowledge(player, 1, 0, &told.sequences[2], 2, "", &outcome);
		assert_int_equal(outcome.r, 0);
	}
	limit(player, 4, 0);
	ask(player, ALL);
	assert_int_equal(told.n, 4);
	assert_int_equal(told.codes[0] + told.codes[1] + told.codes[2] + told.codes[3], 10);
	assert_int_equal(figures(player).dropped_unacknowledged, 0);
	limit(player, 3, 0);
	ask(player, ALL);
	assert_int_equal(told.n, 3);
	assert_int_equal(told.codes[0], 1);
	assert_int_equal(figures(player).dropped_unacknowledged, 1);
	assert_int_equal(kept_records(player), 3);
	player_restart(player);
	assert_int_equal(figures(player).dropped_unacknowledged, 1);
	assert_int_equal(figures(player).kept, 3);
}

static void age_takes_what_is_acknowledged_whatever_the_wall_clock_says(void **state)
{
	struct player *player = *state;

	limit(player, 0, 60000);
	was_there(player, "old", 1, 1);
	was_there(player, "older", 1, 2);
	ask(player, UNACKNOWLEDGED);
	accepts(player, told.sequences[0]);
	player->wall_ns += UINT64_C(10) * 365 * 86400 * 1000000000;
	player_pass(player, 59000);
	assert_int_equal(figures(player).kept, 2);
	player->wall_ns -= UINT64_C(20) * 365 * 86400 * 1000000000;
	player_pass(player, 1000);
	ask(player, ALL);
	assert_int_equal(told.n, 1);
	assert_string_equal(told.ids[0], "older"); /* nobody has acknowledged it */
	player_pass(player, 86400000);
	assert_int_equal(figures(player).kept, 1);
	accepts(player, told.sequences[0]);
	assert_int_equal(figures(player).kept, 0);
	assert_int_equal(kept_records(player), 0);
}

/* The boot-time clock begins anew: an old record is not young, nor older than the boot. */
static void age_begins_anew_with_a_boot(void **state)
{
	struct player *player = *state;

	limit(player, 0, 60000);
	was_there(player, "job", 1, 1);
	ask(player, UNACKNOWLEDGED);
	accepts(player, told.sequences[0]);
	strcpy(player->engine->host.boot_id, "an earlier boot");
	engine_keep_node(player->engine);
	player->boot_ns = 5000000000;
	player_restart(player);
	limit(player, 0, 60000);
	assert_int_equal(figures(player).kept, 1);
	player_pass(player, 54000);
	assert_int_equal(figures(player).kept, 1);
	player_pass(player, 2000);
	assert_int_equal(figures(player).kept, 0);
}

static void a_slow_reader_misses_no_record(void **state)
{
	struct player *player = *state;
	Berth__V1__WatchEventsRequest request = BERTH__V1__WATCH_EVENTS_REQUEST__INIT;
	struct engine_watch reader;
	size_t records = 0;
	char id[16];

	request.earlier_records = UNACKNOWLEDGED;
	watch(player, &request, &reader);
	assert_int_equal(told.n, 0);
	for (int i = 0; i < 40; i++) { /* several times what the history holds */
		(void)snprintf(id, sizeof(id), "job-%d", i);
		was_there(player, id, 1, i);
	}
	read_all(player, &reader);
	engine_watch_end(&reader);
	assert_true(told.missed > 0);
	for (size_t i = 0; i < told.n; i++)
		records += told.codes[i] >= 0;
	assert_int_equal(records, 40);
}

static void records_alone_and_of_one_workload(void **state)
{
	struct player *player = *state;
	Berth__V1__WatchEventsRequest request = BERTH__V1__WATCH_EVENTS_REQUEST__INIT;
	struct engine_watch reader;

	was_there(player, "one", 1, 1);
	was_there(player, "two", 1, 2);
	request.from_oldest = true;
	request.records_only = true;
	watch(player, &request, &reader);
	engine_watch_end(&reader);
	assert_int_equal(told.n, 2);
	assert_int_equal(told.missed, 0);
	request.from_oldest = false;
	request.earlier_records = ALL;
	request.id = (char *)"two";
	watch(player, &request, &reader);
	assert_int_equal(told.n, 1);
	assert_int_equal(told.codes[0], 2);
	was_there(player, "two", 2, 22);
	was_there(player, "one", 2, 11);
	read_all(player, &reader);
	engine_watch_end(&reader);
	assert_int_equal(told.n, 2);
	assert_int_equal(told.codes[1], 22);
}

/* The history is gone, the records are not: no number is given twice. */
static void records_alone_keep_the_numbers_going(void **state)
{
	struct player *player = *state;
	struct played_store *store = &player->store;
	uint64_t newest;

	was_there(player, "job", 1, 1);
	ask(player, UNACKNOWLEDGED);
	newest = told.sequences[0];
	for (size_t i = 0; i < store->n_kept;) {
		if (store->kept[i].kind != 'e') {
			i++;
			continue;
		}
		free(store->kept[i].bytes);
		store->n_kept--;
		memmove(&store->kept[i], &store->kept[i + 1],
			(store->n_kept - i) * sizeof(store->kept[0]));
	}
	player_restart(player);
	ask(player, UNACKNOWLEDGED);
	assert_int_equal(told.n, 1);
	assert_true(player->engine->events.newest >= newest);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(a_record_outlives_its_workload_and_the_agent),
		T(what_is_acknowledged_is_not_told_again),
		T(single_records_are_acknowledged_by_their_numbers),
		T(an_acknowledgement_is_answered_when_it_is_durable),
		T(who_does_not_lead_acknowledges_nothing),
		T(the_limits_take_acknowledged_ones_first_and_count_the_others),
		T(age_takes_what_is_acknowledged_whatever_the_wall_clock_says),
		T(age_begins_anew_with_a_boot),
		T(a_slow_reader_misses_no_record),
		T(records_alone_and_of_one_workload),
		T(records_alone_keep_the_numbers_going),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
