/*
 * One workload's life at random against what must hold whatever happens: berth-sandboxd is played with a
 * truth of its own (what really runs), commands and ends and lost connections come in any order.
 *
 * The seed is printed; BERTH_SEED=<number> runs that one again.
 */
#include "sandbox_player.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "proto/page.h"

#define STATE(name) BERTH__V1__WORKLOAD_STATE__##name
#define VERB(name)  BERTH__SANDBOX__V1__REQUEST__VERB_##name
#define LIVES       300
#define STEPS       60
#define OUTCOMES    256

/* What really is, as berth-sandboxd knows it. */
struct truth {
	uint64_t instance;
	uint32_t attempt;
	enum page_state state; /* 0: no container */
	bool kill;
	bool created;
	int code;
	uint64_t launches;
	uint64_t ends;
	size_t read; /* requests that were taken in */
};

struct life {
	struct player *player;
	struct truth truth;
	struct outcome outcomes[OUTCOMES];
	size_t n_outcomes;
	uint64_t generation; /* the highest that was accepted */
	uint64_t seed;
};

static uint64_t draw(struct life *life, uint64_t below)
{
	life->seed ^= life->seed << 13;
	life->seed ^= life->seed >> 7;
	life->seed ^= life->seed << 17;
	return life->seed % below;
}

static bool is_live(const struct truth *truth)
{
	return truth->state == PAGE_STARTING || truth->state == PAGE_RUNNING;
}

/* Carry out what was asked. Here are the rules that no order of events may break. */
static void take_requests(struct life *life)
{
	struct truth *truth = &life->truth;

	for (; truth->read < life->player->n_requests; truth->read++) {
		const Berth__Sandbox__V1__Request *m = life->player->requests[truth->read].message;

		switch (m->verb_case) {
		case VERB(CREATE_WORKLOAD):
			assert_false(truth->created); /* one life at a time */
			assert_true(m->create_workload->instance > truth->instance);
			truth->created = true;
			truth->instance = m->create_workload->instance;
			truth->attempt = 0;
			truth->state = 0;
			break;
		case VERB(LAUNCH):
			assert_true(truth->created);
			assert_false(is_live(truth)); /* never two at a time */
			assert_true(m->launch->ref->instance == truth->instance);
			assert_true(m->launch->ref->attempt > truth->attempt);
			truth->attempt = m->launch->ref->attempt;
			truth->state = PAGE_STARTING;
			truth->kill = false;
			truth->launches++;
			break;
		case VERB(KILL):
			if (m->kill->ref->instance == truth->instance && is_live(truth))
				truth->kill = true;
			break;
		case VERB(REMOVE_WORKLOAD):
			if (m->remove_workload->instance != truth->instance)
				break;
			assert_false(is_live(truth)); /* nothing that runs is removed */
			truth->created = false;
			break;
		default:
			break;
		}
	}
	if (life->player->up)
		player_answer_all(life->player);
	if (truth->read < life->player->n_requests)
		take_requests(life);
}

static void end_it(struct life *life, int kind, int status)
{
	struct truth *truth = &life->truth;

	truth->state = PAGE_EXITED;
	truth->code = status;
	truth->ends++;
	if (life->player->up)
		player_exited(life->player, "w", "main", kind, status);
}

static void step_truth(struct life *life)
{
	struct truth *truth = &life->truth;

	if (!is_live(truth))
		return;
	if (truth->kill) {
		end_it(life, CLD_KILLED, SIGKILL);
	} else if (truth->state == PAGE_STARTING) {
		truth->state = PAGE_RUNNING;
		if (life->player->up)
			player_started(life->player, "w", "main");
	} else {
		end_it(life, CLD_EXITED, draw(life, 2) ? 0 : 3);
	}
}

static void reconnect(struct life *life)
{
	Berth__Sandbox__V1__KnownWorkload known = BERTH__SANDBOX__V1__KNOWN_WORKLOAD__INIT;
	Berth__Sandbox__V1__KnownContainer container = BERTH__SANDBOX__V1__KNOWN_CONTAINER__INIT;
	Berth__Sandbox__V1__Exited exited = BERTH__SANDBOX__V1__EXITED__INIT;
	Berth__Sandbox__V1__KnownContainer *containers[] = { &container };
	Berth__Sandbox__V1__KnownWorkload *workloads[] = { &known };
	struct truth *truth = &life->truth;

	known.workload = (char *)"w";
	known.instance = truth->instance;
	known.n_containers = truth->state ? 1 : 0;
	known.containers = containers;
	container.container = (char *)"main";
	container.attempt = truth->attempt;
	container.state = truth->state;
	exited.exit_si_code = truth->code == SIGKILL ? CLD_KILLED : CLD_EXITED;
	exited.exit_si_status = truth->code;
	if (truth->state == PAGE_EXITED)
		container.exited = &exited;
	life->player->inventory.n_workloads = truth->created ? 1 : 0;
	life->player->inventory.workloads = workloads;
	player_connect(life->player);
	life->player->inventory.n_workloads = 0;
	take_requests(life);
	if (truth->state == PAGE_RUNNING && engine_find(life->player->engine, "w"))
		player_started(life->player, "w", "main");
}

static struct outcome *new_outcome(struct life *life)
{
	assert_true(life->n_outcomes < OUTCOMES);
	return &life->outcomes[life->n_outcomes++];
}

static void command(struct life *life)
{
	struct player *player = life->player;
	uint64_t generation = life->generation + draw(life, 2);
	Berth__V1__WorkloadSpec *spec;

	if (generation == 0)
		generation = 1;
	switch (draw(life, 4)) {
	case 0:
	case 1:
		spec = player_spec(player, "w");
		/* What a generation is does not change. */
		player_set_restart(player, spec, 1 + (Berth__V1__RestartMode)(generation % 3),
				   (uint32_t)(generation % 4));
		player_launch(player, spec, 1, generation, new_outcome(life));
		if (life->outcomes[life->n_outcomes - 1].r >= 0 && player->up &&
		    generation > life->generation)
			life->generation = generation;
		break;
	case 2:
		player_stop(player, "w", generation, (int64_t)draw(life, 3) * 100 - 100,
			    new_outcome(life));
		break;
	default:
		player_delete(player, "w", generation, draw(life, 2), new_outcome(life));
		break;
	}
}

static uint32_t charged_workloads(struct life *life)
{
	Berth__V1__Node node = BERTH__V1__NODE__INIT;
	struct arena arena;
	uint32_t n;

	arena_init(&arena, 1 << 20);
	assert_int_equal(engine_fill_node(life->player->engine, &arena, &node), 0);
	n = node.requested->workloads;
	assert_true(node.requested->memory_bytes == (uint64_t)n * (64 << 20));
	arena_done(&arena);
	return n;
}

static void check(struct life *life)
{
	Berth__V1__WorkloadState state = player_state(life->player, "w");
	bool ended = state == 0 || state == STATE(EXITED);

	assert_int_equal(charged_workloads(life), ended ? 0 : 1);
	if (state == STATE(RUNNING) && life->player->up)
		assert_int_equal(life->truth.state, PAGE_RUNNING);
	if (ended && life->player->up)
		assert_false(is_live(&life->truth));
	for (size_t i = 0; i < life->n_outcomes; i++)
		assert_true(life->outcomes[i].calls <= 1);
}

/* However it went: asked to go, it goes, every asker has one answer, every start one end. */
static void finish(struct life *life)
{
	struct outcome *outcome;

	if (!life->player->up)
		reconnect(life);
	player_delete(life->player, "w", life->generation + 1000, true, new_outcome(life));
	for (int i = 0; i < 20; i++) {
		take_requests(life);
		player_pass(life->player, 20000);
		take_requests(life);
		step_truth(life);
	}
	take_requests(life);
	assert_null(engine_find(life->player->engine, "w"));
	assert_int_equal(charged_workloads(life), 0);
	assert_false(life->truth.created);
	assert_true(life->truth.launches == life->truth.ends);
	for (size_t i = 0; i < life->n_outcomes; i++) {
		outcome = &life->outcomes[i];
		assert_int_equal(outcome->calls, 1);
	}
}

static void live(uint64_t seed)
{
	struct life *life = calloc(1, sizeof(*life));

	life->seed = seed;
	life->player = player_new(NULL, 0);
	player_connect(life->player);
	life->truth.read = life->player->n_requests;
	for (int i = 0; i < STEPS; i++) {
		switch (draw(life, 8)) {
		case 0:
		case 1:
			command(life);
			break;
		case 2:
			player_pass(life->player, draw(life, 3000));
			break;
		case 3:
			if (life->player->up && draw(life, 3) == 0)
				player_disconnect(life->player);
			else if (!life->player->up)
				reconnect(life);
			break;
		default:
			step_truth(life);
			break;
		}
		take_requests(life);
		check(life);
	}
	finish(life);
	player_free(life->player);
	free(life);
}

static void whatever_happens_the_rules_hold(void **state)
{
	const char *given = getenv("BERTH_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;

	for (int i = 0; i < (given ? 1 : LIVES); i++, seed += 7919) {
		(void)fprintf(stderr, "BERTH_SEED=%llu\r", (unsigned long long)seed);
		live(seed | 1);
	}
	(void)fprintf(stderr, "\n");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_happens_the_rules_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
