/*
 * A host for tests of the engine: berth-sandboxd is played by the test, which sees every request and
 * tells the facts; time stands still until the test moves it; the store answers at once or when told.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/sandboxlink/sandboxlink.h"
#include "agent/store/store.h"
#include "agent/workload/engine.h"
#include "played_store.h"

#define PLAYED_MAX 8192

struct played_request {
	Berth__Sandbox__V1__Request *message;
	struct sandboxlink_call call;
	bool answered;
};

/* How a command ended. */
struct outcome {
	struct engine_waiter waiter;
	int calls;
	int r;
	struct err err;
	char reason[32];
	size_t n_fields;
	char field[256]; /* the first wrong one */
	struct fault_quota quotas[FAULT_QUOTAS_MAX];
	size_t n_quotas;
	Berth__V1__WorkloadState state;
	Berth__V1__Reason why;
	char sentence[512];
	bool already_applied;
};

struct player {
	struct sandboxlink link; /* first */
	struct played_store store;
	struct engine *engine;
	struct engine_clock clock;
	uint64_t boot_ns;
	uint64_t wall_ns;
	bool up;
	bool is_full; /* where it is not up: it takes no more requests, and that is why */
	size_t events_max;
	struct engine_resources capacity;
	struct played_request requests[PLAYED_MAX];
	size_t n_requests;
	size_t looked_at; /* player_expect() has seen those before */
	Berth__Sandbox__V1__InventoryResult inventory;
	bool no_unconfined;
	bool no_probes;
	const char *
		refuses_starts; /* as a berth-sandboxd of another release says; NULL: it does not */
	struct prober *prober;  /* of the next engine; NULL: none */
	const char *lacks;      /* a feature that the host does not have */
	struct provider *provider; /* as prober; then the host can run from images */
	struct arena arena;        /* of specs */
};

struct player *player_new(const struct engine_resources *capacity, size_t events_max);
void player_free(struct player *player);
void player_connect(struct player *player); /* Hello and inventory */
void player_disconnect(struct player *player);
void player_pass(struct player *player, uint64_t ms);

/* Answer all that is open with success. */
void player_answer_all(struct player *player);
/* The next request that was not looked at yet must be this verb; returns it. */
struct played_request *player_expect(struct player *player,
				     Berth__Sandbox__V1__Request__VerbCase verb);
void player_expect_nothing(struct player *player);
void player_skip(struct player *player); /* all that came so far */
size_t player_count(const struct player *player, Berth__Sandbox__V1__Request__VerbCase verb);
void player_fail(struct player *player, struct played_request *request, enum err_kind kind,
		 const char *text);
/* The agent's process ends, whatever it was about, and another one begins with what the store has. */
void player_restart(struct player *player);

/* Facts about the last launch of a container. */
void player_started(struct player *player, const char *workload, const char *container);
void player_exited(struct player *player, const char *workload, const char *container, int kind,
		   int status);
void player_oomed(struct player *player, const char *workload, const char *container);
void player_start_failed(struct player *player, const char *workload, const char *container,
			 enum err_kind kind, const char *text);
void player_unkillable(struct player *player, const char *workload, const char *container);
const Berth__Sandbox__V1__Launch *player_last_launch(struct player *player, const char *workload,
						     const char *container);

/* A valid spec with one main container "main"; and more containers. */
Berth__V1__WorkloadSpec *player_spec(struct player *player, const char *id);
Berth__V1__Container *player_add_container(struct player *player, Berth__V1__WorkloadSpec *spec,
					   const char *name, Berth__V1__ContainerRole role);
void player_set_memory(struct player *player, Berth__V1__Container *container, uint64_t bytes);
void player_set_restart(struct player *player, Berth__V1__WorkloadSpec *spec,
			Berth__V1__RestartMode mode, uint32_t max);

void outcome_init(struct outcome *outcome);
void player_launch(struct player *player, Berth__V1__WorkloadSpec *spec, uint64_t epoch,
		   uint64_t generation, struct outcome *outcome);
/* Launch, and play it until it runs. */
void player_run(struct player *player, Berth__V1__WorkloadSpec *spec, uint64_t generation);
void player_stop(struct player *player, const char *id, uint64_t generation, int64_t grace_ms,
		 struct outcome *outcome);
void player_delete(struct player *player, const char *id, uint64_t generation, bool force,
		   struct outcome *outcome);
Berth__V1__WorkloadState player_state(struct player *player, const char *id);
Berth__V1__Reason player_reason(struct player *player, const char *id);
