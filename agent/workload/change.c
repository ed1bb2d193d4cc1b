/*
 * Changes of what runs: UpdateResources, Pause and Resume. A workload's are made one after the other, in the
 * order in which they came, so that each begins with what the one before it has left. Of each
 *
 *	its turn  it is compared with the workload, and refused or intended (Life.change);
 *	kept      the intent is durable: berth-sandboxd is asked;
 *	done      it is the workload's, is told, and is answered when that is durable.
 *
 * An intent that cannot be kept refuses the change: nothing was done. Where the process dies, or the
 * connection breaks, after it was kept, berth-sandboxd is asked again once it is back: whether it was done is
 * not known then, and a limit, or the freezer, that is set twice is set once.
 */
#include <errno.h>
#include <stdlib.h>

#include "agent/workload/model.h"
#include "proto/failpoint.h"

#define CHANGES_MAX 16 /* of one workload, at once */

static const struct change_kind *kind_of(const Berth__Agent__V1__Change *change)
{
	return change->resources ? &change_of_resources : &change_of_freezer;
}

/* ---- turns ---------------------------------------------------------------------------------------- */

/* The one whose turn it is; *ret_n (may be NULL): how many there are. */
static struct operation *find_first(const struct engine *engine, uint32_t slot, uint64_t instance,
				    size_t *ret_n)
{
	struct operation *first = NULL;
	struct operation *op;
	size_t n = 0;

	TAILQ_FOREACH(op, &engine->operations, link)
	{
		if (!op->change || op->slot != slot || op->instance != instance)
			continue;
		if (n++ == 0)
			first = op;
	}
	if (ret_n)
		*ret_n = n;
	return first;
}

const Berth__Agent__V1__Change *change_intended(const struct workload *workload)
{
	const struct operation *op = find_first(workload->engine, workload->slot,
						workload->instance, NULL);

	return op && op->step >= CHANGE_INTENDED ? op->change : NULL;
}

int change_check_over(const struct workload *workload, struct engine_fault *fault, struct err *err)
{
	if (!workload)
		return err_set(err, ERR_NOT_FOUND, ENOENT, "the workload ended before it was done");
	if (!workload_is_ended(workload) && !workload->ending && !workload->successor)
		return 0;
	fault->reason = FAULT_ENDED;
	return err_set(err, ERR_PRECONDITION, ESRCH, "workload %s has ended or is ending: %s",
		       workload->id, workload->sentence);
}

/* The asker hears that; the change is made all the same. */
static void leave_in_doubt(struct engine *engine, struct operation *op)
{
	struct engine_waiter *waiter = LIST_FIRST(&op->waiters);
	cleanup_fault struct engine_fault fault;
	struct err err = { 0 };
	int r;

	op->step = CHANGE_KEPT;
	op->replies_missing = 1;
	if (!waiter)
		return;
	engine_fault_init(&fault);
	fault.reason = FAULT_SANDBOX_AWAY;
	r = err_set(
		&err, ERR_UNAVAILABLE, ENOTCONN,
		"berth-sandboxd went away before it had answered: what was asked is done once it is back");
	engine_refuse(waiter, r, &err, &fault);
}

static void send(struct engine *engine, struct operation *op)
{
	struct workload *workload = engine_find_slot(engine, op->slot, op->instance);
	cleanup_fault struct engine_fault fault;
	struct err err = { 0 };
	int r;

	engine_fault_init(&fault);
	r = change_check_over(workload, &fault, &err);
	if (r < 0) {
		operation_fail(engine, op, &err, &fault);
		return;
	}
	op->step = CHANGE_SENT;
	r = engine->ready ? kind_of(op->change)->send(op, workload, &err) : -ENOTCONN;
	if (r > 0)
		op->step = CHANGE_KEPT; /* change_go_on() */
	else if (r == 0)
		operation_sent(engine, op);
	else if (!engine->ready || err.kind == ERR_UNAVAILABLE) /* it has gone, perhaps unnoticed */
		leave_in_doubt(engine, op);
	else
		operation_fail(engine, op, &err, &fault);
}

static void on_kept(struct promise *promise, const struct err *err)
{
	struct operation *op =
		(struct operation *)((char *)promise - offsetof(struct operation, promise));
	cleanup_fault struct engine_fault fault;
	struct err why = { 0 };

	engine_fault_init(&fault);
	if (err) {
		fault.reason = FAULT_STORE_FAILED;
		(void)err_set(&why, ERR_UNAVAILABLE, EIO,
			      "nothing is changed: what was asked could not be kept: %.300s",
			      err->text);
		operation_fail(promise->engine, op, &why, &fault);
		return;
	}
	FAILPOINT("berthd.change.kept");
	op->step = CHANGE_KEPT;
	send(promise->engine, op);
}

/* 1: it is so already. */
static int compare(struct operation *op, struct workload *workload, struct engine_fault *fault,
		   struct err *err)
{
	if (!workload)
		return change_check_over(workload, fault, err);
	/* The one before it may have raised it. */
	if (op->change->generation < workload->generation)
		return fence_stale_generation(workload->id, op->change->generation,
					      workload->generation, fault, err);
	return kind_of(op->change)->begin(op, workload, fault, err);
}

static void begin(struct engine *engine, struct operation *op)
{
	struct workload *workload = engine_find_slot(engine, op->slot, op->instance);
	cleanup_fault struct engine_fault fault;
	struct err err = { 0 };
	int r;

	op->step = CHANGE_BEGUN;
	engine_fault_init(&fault);
	r = compare(op, workload, &fault, &err);
	if (r < 0 && op->put) {
		operation_refuse_when_durable(engine, op, &err, &fault);
	} else if (r < 0) {
		operation_fail(engine, op, &err, &fault);
	} else if (r > 0) {
		op->already_applied = true;
		operation_sent(engine, op);
	} else {
		op->step = CHANGE_INTENDED;
		workload_keep(workload);
		promise_make(engine, &op->promise, on_kept);
	}
}

void change_next(struct engine *engine, uint32_t slot, uint64_t instance)
{
	struct operation *op = find_first(engine, slot, instance, NULL);

	if (op && op->step == CHANGE_WAITS)
		begin(engine, op);
}

/* ---- asking --------------------------------------------------------------------------------------- */

static Berth__Agent__V1__Change *copy(const Berth__Agent__V1__Change *change)
{
	size_t n = berth__agent__v1__change__get_packed_size(change);
	uint8_t *bytes = malloc(n ? n : 1);
	Berth__Agent__V1__Change *ret;

	if (!bytes)
		return NULL;
	(void)berth__agent__v1__change__pack(change, bytes);
	ret = berth__agent__v1__change__unpack(NULL, n, bytes);
	free(bytes);
	return ret;
}

static void finish(struct engine *engine, struct operation *op, struct workload *workload)
{
	if (!workload || op->step < CHANGE_INTENDED)
		return;
	workload_touch(workload); /* the next life is without it */
	if (op->err.kind == ERR_NONE)
		kind_of(op->change)->finish(op, workload);
	else
		kind_of(op->change)->undo(op, workload);
}

/* Takes @waiter, NULL for one of an earlier process. */
static struct operation *add(struct workload *workload, const Berth__Agent__V1__Change *change,
			     struct engine_waiter *waiter)
{
	struct operation *op = operation_new(workload->engine, workload, waiter, finish);

	if (!op)
		return NULL;
	op->change = copy(change);
	if (op->change)
		return op;
	if (waiter)
		engine_waiter_cancel(waiter);
	operation_free(op);
	return NULL;
}

void change_ask(struct command *command, struct workload *workload,
		const Berth__Agent__V1__Change *change)
{
	struct operation *op;
	size_t n;

	(void)find_first(command->engine, workload->slot, workload->instance, &n);
	if (n >= CHANGES_MAX) {
		command_refuse(command,
			       err_set(&command->err, ERR_EXHAUSTED, EBUSY,
				       "%zu changes of workload %s are under way: wait for one", n,
				       workload->id));
		return;
	}
	op = add(workload, change, command->waiter);
	if (!op) {
		command_refuse(command, err_oom(&command->err));
		return;
	}
	op->put = command->put;
	change_next(command->engine, op->slot, op->instance);
}

bool change_lost(struct engine *engine, struct operation *op)
{
	if (!op->change || op->step != CHANGE_SENT)
		return false;
	leave_in_doubt(engine, op);
	return true;
}

/* ---- after a start, or a new connection ------------------------------------------------------------ */

void change_load(struct workload *workload, const Berth__Agent__V1__Change *change)
{
	/* Without memory what is shown stays as it was, and so does what the kernel has of it. */
	struct operation *op = add(workload, change, NULL);

	if (!op)
		return;
	op->step = CHANGE_KEPT;
}

void change_go_on(struct workload *workload)
{
	struct operation *op = find_first(workload->engine, workload->slot, workload->instance,
					  NULL);

	if (op && op->step == CHANGE_KEPT && workload->engine->ready)
		send(workload->engine, op);
}

static struct operation *find_unsent(const struct engine *engine, uint64_t after)
{
	struct operation *op;

	TAILQ_FOREACH(op, &engine->operations, link)
	if (op->change && op->step == CHANGE_KEPT && op->serial > after)
		return op;
	return NULL;
}

void changes_go_on(struct engine *engine)
{
	struct operation *op;
	uint64_t last = 0;

	while ((op = find_unsent(engine, last))) {
		last = op->serial;
		send(engine, op);
	}
}
