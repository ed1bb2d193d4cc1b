/*
 * A store that tests own: it keeps what it is given in memory, outlives the engine, answers at once or when
 * told, and can fail. What is not submitted, or waits for its answer, is lost by played_store_crash().
 */
#pragma once

#include "agent/store/store.h"

#define PLAYED_KEPT_MAX 65536

struct played_write {
	char kind; /* i, l, e, r (record), d (drop of one), E, t, n, b */
	char id[64];
	struct store_intent numbers;
	uint8_t *bytes;
	size_t n;
	struct store_done done;
};

struct played_store {
	struct store store; /* first */
	bool intents_wait;  /* intents alone are answered by played_store_commit() */
	bool all_wait;      /* everything is */
	struct played_write kept[PLAYED_KEPT_MAX];
	size_t n_kept;
	struct played_write waiting[PLAYED_KEPT_MAX];
	size_t n_waiting;
	size_t n_lives; /* that were put */
	size_t n_nodes;
};

void played_store_init(struct played_store *store);
void played_store_done(struct played_store *store);
/* Keep what waits, or fail it with @err. */
void played_store_commit(struct played_store *store, const struct err *err);
/* Keep the first @n of what waits, or what there is. */
void played_store_commit_first(struct played_store *store, size_t n);
/* Until nothing waits, of what comes of that neither. */
void played_store_commit_all(struct played_store *store);
/* Put all that is kept into @to, in its order. */
void played_store_copy(const struct played_store *store, struct store *to);
/* Keep all that @from loads. */
void played_store_take(struct played_store *store, struct store *from);
/* The process died: what waits was never written. */
void played_store_crash(struct played_store *store);
/* Of what is kept: NULL where there is none. Event terminal records by @sequence are counted instead. */
struct played_write *played_store_find(struct played_store *store, char kind, const char *id);
/* How many kept events have an exit record of @workload. */
size_t played_store_exits(const struct played_store *store, const char *workload);
