/* Requests whose replies somebody waits for: the answer comes with the last reply, and is the first
 * failure among them. */
#include <errno.h>
#include <stdlib.h>

#include "agent/workload/canonical.h"
#include "agent/workload/model.h"

struct operation *operation_new(struct engine *engine, struct workload *workload,
				struct engine_waiter *waiter,
				void (*finish)(struct engine *, struct operation *,
					       struct workload *))
{
	struct operation *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->serial = ++engine->last_serial;
	op->slot = workload ? workload->slot : UINT32_MAX;
	op->instance = workload ? workload->instance : 0;
	op->finish = finish;
	op->replies_missing = 1; /* operation_sent() */
	op->engine = engine;
	LIST_INIT(&op->waiters);
	if (waiter) {
		LIST_INSERT_HEAD(&op->waiters, waiter, link);
		waiter->linked = true;
	}
	TAILQ_INSERT_TAIL(&engine->operations, op, link);
	return op;
}

void operation_free(struct operation *op)
{
	TAILQ_REMOVE(&op->engine->operations, op, link);
	promise_drop(&op->promise);
	if (op->fault)
		engine_fault_done(op->fault);
	free(op->fault);
	spec_free(op->spec);
	if (op->change)
		berth__agent__v1__change__free_unpacked(op->change, NULL);
	free(op);
}

static void settle(struct engine *engine, struct operation *op, const struct err *err)
{
	struct workload *workload = engine_find_slot(engine, op->slot, op->instance);
	uint64_t instance = op->instance;
	bool is_change = op->change;
	uint32_t slot = op->slot;
	struct engine_waiter *waiter;

	if (err->kind != ERR_NONE && op->err.kind == ERR_NONE)
		op->err = *err;
	if (--op->replies_missing > 0)
		return;
	if (!workload && op->err.kind == ERR_NONE)
		(void)err_set(&op->err, ERR_NOT_FOUND, ENOENT,
			      "the workload ended before it was done");
	op->finish(engine, op, workload);
	waiter = LIST_FIRST(&op->waiters);
	if (waiter && op->err.kind == ERR_NONE) {
		/* It is done; it is answered when it would outlive us. */
		LIST_REMOVE(waiter, link);
		engine_wait(workload, waiter, UNTIL_DURABLE, op->already_applied);
	} else if (waiter)
		engine_refuse(waiter, op->err.errnum > 0 ? -op->err.errnum : -EIO, &op->err,
			      op->fault);
	operation_free(op);
	if (is_change)
		change_next(engine, slot, instance);
}

static struct operation *find(const struct engine *engine, uint64_t serial)
{
	struct operation *op;

	TAILQ_FOREACH(op, &engine->operations, link)
	if (op->serial == serial)
		return op;
	return NULL;
}

static void on_refusal_durable(void *userdata, uint64_t ticket, const struct err *err)
{
	struct engine *engine = userdata;
	struct operation *op = find(engine, ticket);
	const struct err none = { 0 };

	if (!op)
		return;
	engine_enter(engine);
	settle(engine, op, &none);
	engine_leave(engine);
}

static void take_failure(struct operation *op, const struct err *err,
			 const struct engine_fault *fault)
{
	op->err = *err;
	op->fault = malloc(sizeof(*op->fault)); /* without memory the sentence has to do */
	if (op->fault) {
		engine_fault_init(op->fault);
		engine_fault_copy(op->fault, fault);
	}
}

void operation_fail(struct engine *engine, struct operation *op, const struct err *err,
		    const struct engine_fault *fault)
{
	take_failure(op, err, fault);
	op->replies_missing = 1;
	operation_sent(engine, op);
}

void operation_refuse_when_durable(struct engine *engine, struct operation *op,
				   const struct err *err, const struct engine_fault *fault)
{
	const struct store_done done = { .call = on_refusal_durable,
					 .userdata = engine,
					 .ticket = op->serial };

	take_failure(op, err, fault);
	engine->store->ops->put_barrier(engine->store, &done);
}

static void on_reply(void *userdata, const struct sandboxlink_call *call,
		     struct sandboxlink_reply *reply)
{
	struct engine *engine = userdata;
	struct operation *op = find(engine, call->key[0]);

	if (!op)
		return;
	engine_enter(engine);
	if ((reply->message && reply->err->kind != ERR_UNAVAILABLE) || !change_lost(engine, op))
		settle(engine, op, reply->err);
	engine_leave(engine);
}

void operation_call(struct operation *op, struct engine *engine, struct sandboxlink_call *ret_call)
{
	op->replies_missing++;
	*ret_call = (struct sandboxlink_call){ .done = on_reply,
					       .userdata = engine,
					       .key = { op->serial } };
}

void operation_unsent(struct operation *op, const struct err *err)
{
	op->replies_missing--;
	if (op->err.kind == ERR_NONE)
		op->err = *err;
}

void operation_sent(struct engine *engine, struct operation *op)
{
	const struct err none = { 0 };

	settle(engine, op, &none);
}
