/*
 * A desk for tests of the durable store: a directory, a store in it, what it answered, and what it has when
 * it is loaded. What is put can be told from what is damaged: a spec is of 's', an event of 'e', and so on.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <systemd/sd-event.h>

#include "agent/store/store.h"

#define DESK_ANSWERS_MAX 20000

struct desk {
	sd_event *event;
	char directory[64];
	struct store *store;
	uint64_t tickets[DESK_ANSWERS_MAX];
	bool failed[DESK_ANSWERS_MAX];
	size_t n_answers;
	int recoveries;
	/* as loaded */
	uint64_t epoch;
	uint64_t generation;
	size_t intents, lives, events, records, nodes, tombstones;
	uint64_t last_event;
	uint64_t last_record;
	char spec[64];
	char life[64];
	bool stop;
	size_t wrong; /* what is not as it was put */
};

/* For cmocka: a directory below TMPDIR, and no store yet. */
int desk_begin(void **state);
int desk_end(void **state);
void desk_empty_directory(struct desk *desk);
/* Valid until the next call. */
const char *desk_file(const struct desk *desk, const char *name);
/* How many files have @part in their name, journals not counted. */
size_t desk_count_files(const struct desk *desk, const char *part);

void desk_open(struct desk *desk, uint64_t events_max);
void desk_close(struct desk *desk);
void desk_load(struct desk *desk);

/* Answers are noted under @ticket. */
struct store_done desk_done(struct desk *desk, uint64_t ticket);
void desk_put_event(struct desk *desk, uint64_t sequence); /* its ticket */
void desk_put_record(struct desk *desk, uint64_t sequence);
void desk_put_intent(struct desk *desk, const char *id, const char *spec, size_t n, bool stop);
void desk_put_life(struct desk *desk, const char *id, const char *life);
void desk_put_tombstone(struct desk *desk, const char *id, uint64_t generation);
void desk_submit(struct desk *desk);
void desk_until_answered(struct desk *desk, size_t n);
void desk_until_well(struct desk *desk); /* the store has no failure */
