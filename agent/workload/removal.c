/* Deletion: berth-sandboxd removes what is left of a workload, then its tombstone is all that is kept. */
#include "agent/workload/model.h"
#include "proto/failpoint.h"

void workload_bury(struct engine *engine, const char *id, uint64_t generation)
{
	const struct store_done done = { 0 };

	/* Without memory the fence of one id is lost, which is less than not answering. */
	(void)fence_bury(&engine->fence, id, generation);
	engine->store->ops->put_tombstone(engine->store, id, generation, &done);
}

static uint64_t highest_generation(const struct workload *workload)
{
	return workload->generation > workload->stopped_generation ? workload->generation
								   : workload->stopped_generation;
}

static void on_buried(void *userdata, uint64_t ticket, const struct err *err)
{
	struct engine *engine = userdata;
	struct workload *workload;

	FAILPOINT("berthd.delete.buried");
	engine_enter(engine);
	TAILQ_FOREACH(workload, &engine->gone, gone_link)
	if (workload->bury_ticket == ticket)
		workload->buried = true; /* its waiters are answered in engine_leave() */
	engine_leave(engine);
}

/* With the event that says so, in one transaction. A generation that was never kept bars nothing. */
static void bury(struct workload *workload)
{
	struct engine *engine = workload->engine;
	uint64_t generation = workload->refused ? 0 : highest_generation(workload);
	const struct store_done done = { .call = on_buried,
					 .userdata = engine,
					 .ticket = ++engine->last_serial };

	workload->bury_ticket = done.ticket;
	if (generation)
		(void)fence_bury(&engine->fence, workload->id, generation);
	engine->store->ops->put_tombstone(engine->store, workload->id, generation, &done);
}

static void gone(struct workload *workload)
{
	struct engine *engine = workload->engine;

	FAILPOINT("berthd.delete.gone");
	workload->removing = false;
	if (workload->successor) {
		workload_succeed(workload);
		return;
	}
	workload_event(workload, NULL, REASON(DELETED), NULL, "deleted");
	workload_tell_life_over(workload);
	engine_drop_workload(engine, workload);
	FAILPOINT("berthd.delete.told");
	bury(workload);
}

static void on_removed(void *userdata, const struct sandboxlink_call *call,
		       struct sandboxlink_reply *reply)
{
	struct engine *engine = userdata;
	struct workload *workload = engine_find_slot(engine, (uint32_t)call->key[0], call->key[1]);

	if (!workload || !workload->removing)
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
