/*
 * Terminal records, kept apart from the history: each until somebody has acknowledged it and it is old, or
 * newer ones need its room. Sorted by the number of their event.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/store/store.h"
#include "agent/workload/events.h"
#include "berth/agent/v1/kept.pb-c.h"

struct record_limits {
	size_t max;       /* records; 0: 4096 */
	size_t bytes_max; /* 0: 8 MiB */
	uint64_t age_ns;  /* of one that is acknowledged, on the boot-time clock; 0: one day */
};

struct kept_record {
	uint64_t sequence;
	struct event_bytes *event; /* ours to give back */
	uint64_t boot_ns;          /* of the end that it tells of; 0: in an earlier boot */
	bool acknowledged;
	char id[64]; /* of its workload */
};

struct records {
	struct store *store;
	struct record_limits limits;
	struct kept_record *list;
	size_t n;
	size_t room;
	size_t bytes;
	size_t unacknowledged;
	uint64_t dropped; /* before they were acknowledged */
};

void records_init(struct records *records, struct store *store);
void records_done(struct records *records);
void records_set_limits(struct records *records, const struct record_limits *limits);

/* Of the event @sequence, the newest of all; @event is taken over. With @put it goes to the store, too.
 * Returns 0, or -ENOMEM: it is in the history only. */
int records_add(struct records *records, const struct kept_record *record, bool put);
/* Returns whether there is one. */
bool records_has(const struct records *records, uint64_t sequence);
/* The first one from @sequence on; NULL: there is none. */
const struct kept_record *records_from(const struct records *records, uint64_t sequence);
/* Those of first..last; returns how many are new. */
size_t records_acknowledge(struct records *records, uint64_t first, uint64_t last);
/* Drop what the limits say. Returns when to come again, on the boot-time clock; 0: not for age. */
uint64_t records_trim(struct records *records, uint64_t now_boot_ns);
/* To the store once more, after it failed. */
void records_put_again(const struct records *records);
/* Which are acknowledged, as ranges in @arena. Returns 0 or -ENOMEM. */
int records_fill_acknowledged(const struct records *records, struct arena *arena,
			      Berth__Agent__V1__Node *ret);
