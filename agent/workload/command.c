/* What every command begins with: its fields, its epoch, its workload. */
#include <errno.h>

#include "agent/workload/model.h"
#include "agent/workload/validate.h"

void command_begin(struct command *command, struct engine *engine, struct engine_waiter *waiter,
		   const Berth__V1__Fence *fence)
{
	command->engine = engine;
	command->waiter = waiter;
	command->fence = fence;
	command->put = false;
	command->err = (struct err){ 0 };
	waiter->linked = false;
	waiter->until = 0;
	waiter->generation = fence ? fence->generation : 0;
	waiter->already_applied = false;
	engine_fault_init(&command->fault);
	engine_enter(engine);
}

void command_end(struct command *command)
{
	engine_fault_done(&command->fault);
	engine_leave(command->engine);
}

static void finish_refusal(struct engine *engine, struct operation *op, struct workload *workload)
{
}

/* An epoch or a bar that it left is a promise: a crash after the answer is not to take it back. */
void command_refuse(struct command *command, int r)
{
	struct engine *engine = command->engine;
	struct operation *op =
		command->put ? operation_new(engine, NULL, command->waiter, finish_refusal) : NULL;

	if (op)
		operation_refuse_when_durable(engine, op, &command->err, &command->fault);
	else
		engine_refuse(command->waiter, r, &command->err, &command->fault);
}

static void on_epoch_stored(void *userdata, uint64_t ticket, const struct err *err)
{
	/* A failure shows with the next intent, which is what a caller waits for. */
}

bool command_passes(struct command *command)
{
	struct engine *engine = command->engine;
	const struct store_done done = { .call = on_epoch_stored };
	bool raised = false;
	int r;

	r = engine_fault_check_fields(&command->fault, &command->err);
	if (r >= 0)
		r = fence_pass_epoch(&engine->fence, command->fence->epoch, &raised,
				     &command->fault, &command->err);
	if (r < 0) {
		command_refuse(command, r);
		return false;
	}
	if (raised) {
		engine->store->ops->put_epoch(engine->store, engine->fence.epoch, &done);
		command->put = true;
	}
	return true;
}

bool command_finds(struct command *command, const char *id, struct workload **ret_workload)
{
	struct workload *workload = engine_lookup(command->engine, id);
	uint64_t generation = command->fence->generation;
	int r = 0;

	if (!workload && inventory_end_stray(command->engine, id))
		r = err_set(
			&command->err, ERR_UNAVAILABLE, EAGAIN,
			"workload %s was lost with the agent's store, and ran on: it is removed now",
			id);
	else if (!workload)
		r = err_set(&command->err, ERR_NOT_FOUND, ENOENT, "no workload %s on this host",
			    id);
	else if (generation < workload->generation)
		r = fence_stale_generation(id, generation, workload->generation, &command->fault,
					   &command->err);
	if (r < 0) {
		command_refuse(command, r);
		return false;
	}
	workload->epoch = command->fence->epoch;
	workload_touch(workload);
	*ret_workload = workload;
	return true;
}

int engine_reach_sandbox(const struct engine *engine, struct engine_fault *fault, struct err *err)
{
	if (engine->ready)
		return 0;
	fault->reason = FAULT_SANDBOX_AWAY;
	return err_set(
		err, ERR_UNAVAILABLE, ENOTCONN,
		"berth-sandboxd is not connected; running workloads run on (see systemctl status berth-sandboxd)");
}

bool command_reaches(struct command *command)
{
	int r = engine_reach_sandbox(command->engine, &command->fault, &command->err);

	if (r < 0)
		command_refuse(command, r);
	return r >= 0;
}
