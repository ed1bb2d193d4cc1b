/*
 * What a command asks for is done once its intent is durable: else it could be seen, and be forgotten in a
 * crash. A disk that fails says so, and one that hangs is waited for, but not for long: what becomes of the
 * command then is its own to decide.
 */
#include <errno.h>

#include "agent/workload/model.h"

#define PATIENCE_MS 5000 /* with a disk that does not answer */

void promise_drop(struct promise *promise)
{
	if (!promise->waits)
		return;
	promise->waits = false;
	TAILQ_REMOVE(&promise->engine->promises, promise, link);
	timer_disarm(&promise->engine->timers, &promise->patience);
}

static void settle(struct promise *promise, const struct err *err)
{
	promise_drop(promise);
	promise->kept(promise, err);
}

static void on_stored(void *userdata, uint64_t ticket, const struct err *err)
{
	struct engine *engine = userdata;
	struct promise *promise;

	/* It may be gone, or the disk took too long, or a later one says more. */
	TAILQ_FOREACH(promise, &engine->promises, link)
	if (promise->serial == ticket)
		break;
	if (!promise)
		return;
	engine_enter(engine);
	settle(promise, err);
	engine_leave(engine);
}

static void on_patience_over(struct timer *timer)
{
	struct promise *promise =
		(struct promise *)((char *)timer - offsetof(struct promise, patience));
	struct err err = { 0 };

	(void)err_set(&err, ERR_UNAVAILABLE, ETIMEDOUT,
		      "the disk of the agent's store has not answered for %d s",
		      PATIENCE_MS / 1000);
	settle(promise, &err);
}

void promise_make(struct engine *engine, struct promise *promise,
		  void (*kept)(struct promise *promise, const struct err *err))
{
	const struct store_done done = { .call = on_stored,
					 .userdata = engine,
					 .ticket = ++engine->last_serial };

	/* A later one waits for more, and not for longer. */
	if (promise->waits)
		TAILQ_REMOVE(&engine->promises, promise, link);
	else
		timer_arm(&engine->timers, &promise->patience, PATIENCE_MS * NS_PER_MS,
			  on_patience_over);
	promise->waits = true;
	promise->engine = engine;
	promise->serial = done.ticket;
	promise->kept = kept;
	TAILQ_INSERT_TAIL(&engine->promises, promise, link);
	engine->store->ops->put_barrier(engine->store, &done);
}
