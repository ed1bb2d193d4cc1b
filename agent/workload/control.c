/* Stop, Delete and Signal. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

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
	/* What is being buried keeps nothing but its tombstone. */
	if (!workload || workload->bury_ticket)
		workload_bury(engine, id, generation);
	if (workload && generation >= workload->generation &&
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

/* ---- Signal --------------------------------------------------------------------------------------- */

/*
 * A signal changes nothing that is kept, and is not the same when it is sent twice: it has no intent that a
 * later process could see through, and one that is not answered may have been sent or not. What it may leave
 * is a higher epoch, and that is durable before anybody can see the signal.
 */

static void finish_signal(struct engine *engine, struct operation *op, struct workload *workload)
{
}

static bool is_meant(const struct container *container, const char *only)
{
	if (container->phase != CONTAINER_RUNNING)
		return false;
	return *only ? strcmp(container->spec->name, only) == 0
		     : container->spec->role != ROLE(INIT);
}

/* Whether any that is meant runs: @only, or ("") the main containers and sidecars. */
static bool may_signal(const struct workload *workload, const char *only)
{
	for (size_t i = 0; i < workload->n_containers; i++)
		if (is_meant(&workload->containers[i], only))
			return true;
	return false;
}

static int not_running(const struct workload *workload, struct engine_fault *fault, struct err *err)
{
	fault->reason = FAULT_NOT_RUNNING;
	return err_set(err, ERR_PRECONDITION, ESRCH, "workload %s does not run: %s", workload->id,
		       workload->sentence);
}

static void send_signals(struct operation *op, struct workload *workload)
{
	for (size_t i = 0; i < workload->n_containers; i++) {
		struct container *container = &workload->containers[i];
		struct sandboxlink_call call;
		struct err err = { 0 };

		if (!is_meant(container, op->container))
			continue;
		operation_call(op, op->engine, &call);
		if (request_signal(container, op->signal, op->all_processes, &call, &err) < 0)
			operation_unsent(op, &err);
	}
	operation_sent(op->engine, op);
}

/* Though the disk fails: a signal may be what a host needs that has such a disk. */
static void on_kept(struct promise *promise, const struct err *none)
{
	struct operation *op =
		(struct operation *)((char *)promise - offsetof(struct operation, promise));
	struct workload *workload = engine_find_slot(op->engine, op->slot, op->instance);
	cleanup_fault struct engine_fault fault;
	struct err err = { 0 };

	engine_fault_init(&fault);
	if (workload && may_signal(workload, op->container)) {
		send_signals(op, workload);
		return;
	}
	if (workload)
		(void)not_running(workload, &fault, &err);
	else
		(void)err_set(&err, ERR_NOT_FOUND, ENOENT, "the workload ended before it was done");
	operation_fail(op->engine, op, &err, &fault);
}

static void signal_it(struct command *command, const Berth__V1__SignalRequest *request)
{
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
	if (*request->container && !workload_container(workload, request->container)) {
		command_refuse(command, err_set(&command->err, ERR_NOT_FOUND, ENOENT,
						"workload %s has no container %s", workload->id,
						request->container));
		return;
	}
	if (!may_signal(workload, request->container)) {
		command_refuse(command, not_running(workload, &command->fault, &command->err));
		return;
	}
	if (!command_reaches(command))
		return;
	op = operation_new(command->engine, workload, command->waiter, finish_signal);
	if (!op) {
		command_refuse(command, err_oom(&command->err));
		return;
	}
	op->signal = signal;
	op->all_processes = request->all_processes;
	(void)snprintf(op->container, sizeof(op->container), "%s", request->container);
	promise_make(command->engine, &op->promise, on_kept);
}

void engine_signal(struct engine *engine, const Berth__V1__SignalRequest *request,
		   struct engine_waiter *waiter)
{
	struct command command;

	command_begin(&command, engine, waiter, request->fence);
	signal_it(&command, request);
	command_end(&command);
}
