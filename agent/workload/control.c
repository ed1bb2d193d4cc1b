/* Stop, Delete, Signal, Pause and Resume. */
#include <errno.h>

#include "agent/workload/model.h"
#include "agent/workload/validate.h"
#include "proto/names.h"
#include "proto/signame.h"

#define GRACE_MAX_MS 3600000

/* A Stop or Delete that comes before its launch, or after all is gone, still bars that generation. */
static void bar_generation(struct command *command, const char *id)
{
	struct engine *engine = command->engine;
	struct workload *workload = engine_lookup(engine, id);
	uint64_t generation = command->fence->generation;

	command->put = true;
	if (!workload) {
		workload_bury(engine, id, generation);
	} else if (generation >= workload->generation &&
		   generation > workload->stopped_generation) {
		workload->stopped_generation = generation;
		workload_touch(workload);
	}
}

/* A stop of a generation that has not begun cancels it: what it would have replaced stays stopped. */
static void cancel_successor(struct workload *workload, uint64_t generation)
{
	if (workload->successor && generation >= workload->successor->generation)
		workload_drop_successor(workload);
}

static void stop(struct command *command, const Berth__V1__StopRequest *request)
{
	struct workload *workload;

	validate_fence(request->fence, true, &command->fault);
	validate_id(request->id, "id", &command->fault);
	if (request->_grace_ms_case && request->grace_ms > GRACE_MAX_MS)
		engine_fault_add_field(&command->fault, "grace_ms", "at most 3,600,000");
	if (!command_passes(command))
		return;
	bar_generation(command, request->id);
	if (!command_finds(command, request->id, &workload))
		return;
	cancel_successor(workload, request->fence->generation);
	command->waiter->generation = workload->generation;
	stop_workload(workload, REASON(STOP_REQUESTED),
		      request->_grace_ms_case ? (int64_t)request->grace_ms : -1, "asked to stop");
	engine_wait(workload, command->waiter, request->no_wait ? UNTIL_DURABLE : UNTIL_ENDED,
		    false);
}

void engine_stop(struct engine *engine, const Berth__V1__StopRequest *request,
		 struct engine_waiter *waiter)
{
	struct command command;

	command_begin(&command, engine, waiter, request->fence);
	stop(&command, request);
	command_end(&command);
}

static int may_delete(const struct workload *workload, bool force, struct command *command)
{
	if (workload->state == STATE(STUCK)) {
		command->fault.reason = FAULT_STUCK;
		return err_set(
			&command->err, ERR_PRECONDITION, EBUSY,
			"workload %s cannot be deleted while its processes cannot be killed: %s",
			workload->id, workload->sentence);
	}
	if (force || workload_is_ended(workload))
		return 0;
	command->fault.reason = FAULT_NOT_ENDED;
	return err_set(&command->err, ERR_PRECONDITION, EBUSY,
		       "workload %s has not ended: stop it first, or delete with force",
		       workload->id);
}

static void delete_it(struct command *command, const Berth__V1__DeleteRequest *request)
{
	struct workload *workload;
	int r;

	validate_fence(request->fence, true, &command->fault);
	validate_id(request->id, "id", &command->fault);
	if (!command_passes(command))
		return;
	if (request->force || !engine_lookup(command->engine, request->id))
		bar_generation(command, request->id);
	if (!command_finds(command, request->id, &workload))
		return;
	r = may_delete(workload, request->force, command);
	if (r < 0) {
		command_refuse(command, r);
		return;
	}
	bar_generation(command, request->id);
	cancel_successor(workload, request->fence->generation);
	command->waiter->generation = workload->generation;
	engine_wait(workload, command->waiter, UNTIL_GONE, false);
	workload_delete(workload, REASON(STOP_REQUESTED), "deleted with force");
}

void engine_delete(struct engine *engine, const Berth__V1__DeleteRequest *request,
		   struct engine_waiter *waiter)
{
	struct command command;

	command_begin(&command, engine, waiter, request->fence);
	delete_it(&command, request);
	command_end(&command);
}

static int not_running(struct command *command, const struct workload *workload)
{
	command->fault.reason = FAULT_NOT_RUNNING;
	return err_set(&command->err, ERR_PRECONDITION, ESRCH, "workload %s does not run: %s",
		       workload->id, workload->sentence);
}

/* ---- Signal --------------------------------------------------------------------------------------- */

static void finish_signal(struct engine *engine, struct operation *op, struct workload *workload)
{
}

/* To @container, or (NULL) to every main container and sidecar that runs. Returns how many. */
static size_t send_signals(struct engine *engine, struct workload *workload, struct container *only,
			   int signal, bool all, struct operation *op)
{
	size_t sent = 0;

	for (size_t i = 0; i < workload->n_containers; i++) {
		struct container *container = &workload->containers[i];
		struct sandboxlink_call call;
		struct err err = { 0 };

		if (only ? container != only : container->spec->role == ROLE(INIT))
			continue;
		if (container->phase != CONTAINER_RUNNING)
			continue;
		sent++;
		if (!op)
			continue; /* only counted */
		operation_call(op, engine, &call);
		if (request_signal(container, signal, all, &call, &err) < 0)
			operation_unsent(op, &err);
	}
	return sent;
}

static void signal_it(struct command *command, const Berth__V1__SignalRequest *request)
{
	struct engine *engine = command->engine;
	struct container *container = NULL;
	struct workload *workload;
	struct operation *op;
	struct err why = { 0 };
	int signal = 0;

	validate_fence(request->fence, true, &command->fault);
	validate_id(request->id, "id", &command->fault);
	if (*request->container && names_check_container(request->container, &why) < 0)
		engine_fault_add_field(&command->fault, "container", why.text);
	if (signame_parse(request->signal, &signal, &why) < 0)
		engine_fault_add_field(&command->fault, "signal", why.text);
	if (!command_passes(command) || !command_finds(command, request->id, &workload))
		return;
	if (*request->container) {
		container = workload_container(workload, request->container);
		if (!container) {
			command_refuse(command, err_set(&command->err, ERR_NOT_FOUND, ENOENT,
							"workload %s has no container %s",
							workload->id, request->container));
			return;
		}
	}
	if (send_signals(engine, workload, container, signal, false, NULL) == 0) {
		command_refuse(command, not_running(command, workload));
		return;
	}
	if (!command_reaches(command))
		return;
	op = operation_new(engine, workload, command->waiter, finish_signal);
	if (!op) {
		command_refuse(command, err_oom(&command->err));
		return;
	}
	(void)send_signals(engine, workload, container, signal, request->all_processes, op);
	operation_sent(engine, op);
}

void engine_signal(struct engine *engine, const Berth__V1__SignalRequest *request,
		   struct engine_waiter *waiter)
{
	struct command command;

	command_begin(&command, engine, waiter, request->fence);
	signal_it(&command, request);
	command_end(&command);
}

/* ---- Pause and Resume ----------------------------------------------------------------------------- */

static void finish_pause(struct engine *engine, struct operation *op, struct workload *workload)
{
	if (!workload || op->err.kind != ERR_NONE)
		return;
	if (workload->ending) {
		/* It was asked to end meanwhile, and frozen it could not. */
		if (op->pause)
			(void)request_freeze(workload, false, NULL, NULL);
		return;
	}
	workload->paused = op->pause;
	workload_event(workload, NULL,
		       op->pause ? REASON(PAUSED_BY_REQUEST) : REASON(RESUMED_BY_REQUEST), NULL,
		       op->pause               ? "all its processes are frozen"
		       : workload->hold.frozen ? "they stay frozen: this host is short of memory"
					       : "its processes go on");
}

static void pause_or_resume(struct command *command, const char *id, bool pause)
{
	struct engine *engine = command->engine;
	struct sandboxlink_call call;
	struct workload *workload;
	struct operation *op;
	struct err err = { 0 };

	validate_fence(command->fence, true, &command->fault);
	validate_id(id, "id", &command->fault);
	if (!command_passes(command) || !command_finds(command, id, &workload))
		return;
	if (workload->state != STATE(RUNNING)) {
		command_refuse(command, not_running(command, workload));
		return;
	}
	if (workload->paused == pause) {
		engine_wait(workload, command->waiter, UNTIL_DURABLE, true);
		return;
	}
	if (!command_reaches(command))
		return;
	op = operation_new(engine, workload, command->waiter, finish_pause);
	if (!op) {
		command_refuse(command, err_oom(&command->err));
		return;
	}
	op->pause = pause;
	operation_call(op, engine, &call);
	/* It goes on by request, but not while its host holds it. */
	if (request_freeze(workload, pause || workload->hold.frozen, &call, &err) < 0)
		operation_unsent(op, &err);
	operation_sent(engine, op);
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
