/*
 * Requests that wait for their reply: a table of slots, found again by the request's id in constant
 * time. An id is never used twice in the life of a table, so that a late reply cannot be taken for
 * another's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/sandboxlink/sandboxlink.h"

struct call_slot {
	struct sandboxlink_call call;
	uint64_t id;        /* 0: free */
	uint32_t next_free; /* index + 1 of the next free slot; 0: none */
};

struct call_table { /* all zero: empty */
	struct call_slot *slots;
	size_t n_slots;
	uint32_t first_free; /* index + 1 */
	uint64_t serial;
	size_t outstanding;
};

/* Keep @call (NULL: a reply that nobody wants) and give it an id. ERR_EXHAUSTED, ERR_INTERNAL. */
int call_table_add(struct call_table *table, const struct sandboxlink_call *call, uint64_t *ret_id,
		   struct err *err);
/* Take the call of @id out; false where there is none. */
bool call_table_take(struct call_table *table, uint64_t id, struct sandboxlink_call *ret_call);
void call_table_drop(struct call_table *table, uint64_t id);
/* Answer every call with @err and no message. What they add meanwhile is not among them. */
void call_table_fail_all(struct call_table *table, const struct err *err);
void call_table_done(struct call_table *table);
