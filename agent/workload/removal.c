/* Deletion: berth-sandboxd removes what is left of a workload, then its tombstone is all that is kept. */
#include "agent/workload/model.h"
#include "proto/failpoint.h"

void workload_bury(struct engine *engine, const char *id, uint64_t generation)
{
	const struct store_done done = { 0 };
	uint64_t highest = fence_tombstone(&engine->fence, id);

	if (generation < highest) /* the store keeps what it was told last */
		generation = highest;
	/* Without memory the fence of one id is lost, which is less than not answering. */
	(void)fence_bury(&engine->fence, id, generation);
	engine->store->ops->put_tombstone(engine->store, id, generation, &done);
}

static uint64_t highest_generation(const struct workload *workload)
{
	return workload->generation > workload->stopped_generation ? workload->generation
								   : workload->stopped_generation;
}

/* Its tombstone is durable, or cannot be: it is not there any more. What was asked for meanwhile begins with
 * nothing before it. */
static void leave(struct workload *workload)
{
	struct engine *engine = workload->engine;

	workload->buried = true;
	if (workload->successor) {
		told_forget(workload);
		workload_succeed(workload);
		return;
	}
	workload_tell_life_over(workload);
	engine_drop_workload(engine, workload);
}

static void on_buried(void *userdata, uint64_t ticket, const struct err *err)
{
	struct engine *engine = userdata;
	uint32_t slot = (uint32_t)(ticket >> 32);
	struct workload *workload = slot < engine->n_slots ? engine->slots[slot] : NULL;

	FAILPOINT("berthd.delete.buried");
	if (!workload || workload->bury_ticket != ticket)
		return;
	engine_enter(engine);
	leave(workload);
	engine_leave(engine);
}

/* With the event that says so, in one transaction. A generation that was never kept bars nothing. */
static void bury(struct workload *workload)
{
	struct engine *engine = workload->engine;
	uint64_t generation = workload->refused ? 0 : highest_generation(workload);
	const struct store_done done = {
		.call = on_buried,
		.userdata = engine,
		.ticket = (uint64_t)workload->slot << 32 | (uint32_t)++engine->last_ticket,
	};

	workload->bury_ticket = done.ticket;
	if (generation)
		(void)fence_bury(&engine->fence, workload->id, generation);
	engine->store->ops->put_tombstone(engine->store, workload->id, generation, &done);
}

/* Until that is durable it is still there, as it was last: a crash would bring it back. */
static void gone(struct workload *workload)
{
	FAILPOINT("berthd.delete.gone");
	if (workload->successor) {
		workload->removing = false;
		workload_succeed(workload);
		return;
	}
	workload_event(workload, NULL, REASON(DELETED), NULL, "deleted");
	FAILPOINT("berthd.delete.told");
	bury(workload);
}

static void on_removed(void *userdata, const struct sandboxlink_call *call,
		       struct sandboxlink_reply *reply)
{
	struct engine *engine = userdata;
	struct workload *workload = engine_find_slot(engine, (uint32_t)call->key[0], call->key[1]);

	if (!workload || !workload->removing || workload->bury_ticket)
		return;
	/* Whatever it said: berth-sandboxd goes on removing by itself, and what it still has when
	 * the next connection begins is removed as unknown. */
	engine_enter(engine);
	gone(workload);
	engine_leave(engine);
}

void workload_remove(struct workload *workload)
{
	struct engine *engine = workload->engine;
	const struct sandboxlink_call call = { .done = on_removed,
					       .userdata = engine,
					       .key = { workload->slot, workload->instance } };

	if (workload->removing)
		return;
	FAILPOINT("berthd.delete.begin");
	workload->removing = true;
	release_workload(engine, workload->id, workload->instance, true, &call);
}

void workload_delete(struct workload *workload, Berth__V1__Reason reason, const char *sentence)
{
	if (workload_is_ended(workload)) {
		workload_remove(workload);
		return;
	}
	workload->delete_when_ended = true;
	stop_workload(workload, reason, -1, sentence);
}
