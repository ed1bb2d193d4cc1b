/* An id is the slot's index in its low bits and a serial number, from 1, above. */
#include "agent/sandboxlink/calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_BITS 16

_Static_assert(SANDBOXLINK_OUTSTANDING_MAX < (1 << SLOT_BITS), "a slot's index fits an id");

static int grow(struct call_table *table, struct err *err)
{
	size_t n = table->n_slots ? table->n_slots * 2 : 64;
	struct call_slot *slots;

	if (table->n_slots >= SANDBOXLINK_OUTSTANDING_MAX)
		return err_set(err, ERR_EXHAUSTED, EAGAIN,
			       "%zu requests to berth-sandboxd wait for an answer already",
			       table->outstanding);
	slots = reallocarray(table->slots, n, sizeof(*slots));
	if (!slots)
		return err_oom(err);
	memset(slots + table->n_slots, 0, (n - table->n_slots) * sizeof(*slots));
	table->slots = slots;
	for (size_t i = n; i-- > table->n_slots;) {
		slots[i].next_free = table->first_free;
		table->first_free = (uint32_t)i + 1;
	}
	table->n_slots = n;
	return 0;
}

static void release(struct call_table *table, struct call_slot *slot)
{
	slot->id = 0;
	slot->next_free = table->first_free;
	table->first_free = (uint32_t)(slot - table->slots) + 1;
	table->outstanding--;
}

int call_table_add(struct call_table *table, const struct sandboxlink_call *call, uint64_t *ret_id,
		   struct err *err)
{
	struct call_slot *slot;
	size_t index;

	if (!table->first_free) {
		int r = grow(table, err);

		if (r < 0)
			return r;
	}
	index = table->first_free - 1;
	slot = &table->slots[index];
	table->first_free = slot->next_free;
	slot->call = call ? *call : (struct sandboxlink_call){ 0 };
	slot->id = ++table->serial << SLOT_BITS | index;
	table->outstanding++;
	*ret_id = slot->id;
	return 0;
}

bool call_table_take(struct call_table *table, uint64_t id, struct sandboxlink_call *ret_call)
{
	size_t index = id & ((1 << SLOT_BITS) - 1);

	if (id == 0 || index >= table->n_slots || table->slots[index].id != id)
		return false;
	*ret_call = table->slots[index].call;
	release(table, &table->slots[index]);
	return true;
}

void call_table_drop(struct call_table *table, uint64_t id)
{
	struct sandboxlink_call call;

	(void)call_table_take(table, id, &call);
}

void call_table_fail_all(struct call_table *table, const struct err *err)
{
	uint64_t newest = table->serial;

	/* By index: an answer may add calls and so move the array. */
	for (size_t i = 0; i < table->n_slots; i++) {
		struct sandboxlink_reply reply = { .err = err };
		struct sandboxlink_call call;

		if (table->slots[i].id == 0 || table->slots[i].id >> SLOT_BITS > newest)
			continue;
		call = table->slots[i].call;
		release(table, &table->slots[i]);
		if (call.done)
			call.done(call.userdata, &call, &reply);
	}
}

void call_table_done(struct call_table *table)
{
	free(table->slots);
	*table = (struct call_table){ 0 };
}
