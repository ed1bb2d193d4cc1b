/* Pause and Resume, as changes (change.c): the freezer of the workload's group. */
#include <errno.h>

#include "agent/workload/model.h"
#include "agent/workload/validate.h"

static int begin(struct operation *op, struct workload *workload, struct engine_fault *fault,
		 struct err *err)
{
	if (workload->state != STATE(RUNNING)) {
		fault->reason = FAULT_NOT_RUNNING;
		return err_set(err, ERR_PRECONDITION, ESRCH, "workload %s does not run: %s",
			       workload->id, workload->sentence);
	}
	if (workload->paused == (bool)op->change->pause)
		return 1;
	return engine_reach_sandbox(workload->engine, fault, err);
}

static int send_freeze(struct operation *op, struct workload *workload, struct err *err)
{
	struct sandboxlink_call call;

	operation_call(op, workload->engine, &call);
	/* It goes on by request, but not while its host holds it. */
	return request_freeze(workload, op->change->pause || workload->hold.frozen, &call, err);
}

static void finish(struct operation *op, struct workload *workload)
{
	bool pause = op->change->pause;

	if (workload->ending) {
		/* It was asked to end meanwhile, and frozen it could not. */
		if (pause)
			(void)request_freeze(workload, false, NULL, NULL);
		return;
	}
	workload->paused = pause;
	workload_event(workload, NULL,
		       pause ? REASON(PAUSED_BY_REQUEST) : REASON(RESUMED_BY_REQUEST), NULL,
		       pause                   ? "all its processes are frozen"
		       : workload->hold.frozen ? "they stay frozen: this host is short of memory"
					       : "its processes go on");
}

static void undo(struct operation *op, struct workload *workload)
{
}

const struct change_kind change_of_freezer = {
	.begin = begin, .send = send_freeze, .finish = finish, .undo = undo
};

static void pause_or_resume(struct command *command, const char *id, bool pause)
{
	Berth__Agent__V1__Change change = BERTH__AGENT__V1__CHANGE__INIT;
	struct workload *workload;

	validate_fence(command->fence, true, &command->fault);
	validate_id(id, "id", &command->fault);
	if (!command_passes(command) || !command_finds(command, id, &workload))
		return;
	change.generation = command->fence->generation;
	change.pause = pause;
	change_ask(command, workload, &change);
}

void engine_pause(struct engine *engine, const Berth__V1__PauseRequest *request,
		  struct engine_waiter *waiter)
{
	struct command command;

	command_begin(&command, engine, waiter, request->fence);
	pause_or_resume(&command, request->id, true);
	command_end(&command);
}

void engine_resume(struct engine *engine, const Berth__V1__ResumeRequest *request,
		   struct engine_waiter *waiter)
{
	struct command command;

	command_begin(&command, engine, waiter, request->fence);
	pause_or_resume(&command, request->id, false);
	command_end(&command);
}
