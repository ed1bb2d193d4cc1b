/*
 * UpdateResources: the spec with the change is validated and admitted as a whole; the kernel is asked
 * for what is new; when it has it the changed spec becomes the workload's. While the question is open
 * the larger of both is charged.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/workload/canonical.h"
#include "agent/workload/model.h"
#include "agent/workload/validate.h"
#include "proto/failpoint.h"
#include "proto/names.h"

#define OVER(to, from, field)                                            \
	do {                                                             \
		if ((from)->_##field##_case) {                           \
			(to)->_##field##_case = (from)->_##field##_case; \
			(to)->field = (from)->field;                     \
		}                                                        \
	} while (0)

/* @change over *@at, in @arena. */
static int merge(struct arena *arena, Berth__V1__Resources **at, const Berth__V1__Resources *change)
{
	Berth__V1__Resources *to = *at;

	if (!to)
		to = arena_message(arena, &berth__v1__resources__descriptor);
	if (!to)
		return -ENOMEM;
	*at = to;
	OVER(to, change, cpu_request_millis);
	OVER(to, change, memory_request_bytes);
	OVER(to, change, cpu_limit_millis);
	OVER(to, change, cpu_weight);
	OVER(to, change, cpu_burst_us);
	OVER(to, change, memory_limit_bytes);
	OVER(to, change, memory_high_bytes);
	OVER(to, change, memory_low_bytes);
	OVER(to, change, memory_swap_bytes);
	OVER(to, change, pids_limit);
	OVER(to, change, io_weight);
	if (*change->cpuset_cpus)
		to->cpuset_cpus = change->cpuset_cpus;
	if (*change->cpuset_mems)
		to->cpuset_mems = change->cpuset_mems;
	if (change->n_io_limits) {
		to->n_io_limits = change->n_io_limits;
		to->io_limits = change->io_limits;
	}
	return 0;
}

/* A copy of the spec with the change in it; *ret_index is the container's, or SIZE_MAX. */
static struct spec *changed_spec(const struct workload *workload,
				 const Berth__V1__UpdateResourcesRequest *request,
				 const struct container *container, struct err *err)
{
	struct spec *draft = spec_new(workload->spec->message, err);
	struct spec *whole;
	Berth__V1__Resources **at;

	if (!draft)
		return NULL;
	at = container ? &draft->message->containers[container->index]->resources
		       : &draft->message->resources;
	if (merge(&draft->arena, at, request->resources) < 0) {
		spec_free(draft);
		(void)err_oom(err);
		return NULL;
	}
	/* The draft points into the request: the copy of it does not. */
	whole = spec_new(draft->message, err);
	spec_free(draft);
	return whole;
}

/* The containers keep their phases; their specs are the new ones. The launch of this generation may still
 * come once more, and is compared with what it said. */
static void adopt(struct workload *workload, struct spec *spec, uint64_t generation)
{
	struct spec *before = workload->spec;

	for (size_t i = 0; i < workload->n_containers; i++)
		workload->containers[i].spec = spec->message->containers[i];
	workload->spec = spec;
	if (generation > workload->generation) {
		spec_free(workload->launched);
		workload->launched = NULL;
		workload->generation = generation;
	} else if (!workload->launched) {
		workload->launched = before;
		return;
	}
	spec_free(before);
}

static void set_charge(struct workload *workload, const struct charge *charge)
{
	struct engine *engine = workload->engine;

	charge_subtract(&engine->charged, &workload->charge);
	workload->charge = *charge;
	charge_add(&engine->charged, charge);
}

static void finish_update(struct engine *engine, struct operation *op, struct workload *workload)
{
	FAILPOINT("berthd.update.done");
	if (!workload || workload_is_ended(workload))
		return; /* what it was charged went with it */
	if (op->err.kind != ERR_NONE) {
		set_charge(workload, &op->charge_before);
		return;
	}
	adopt(workload, op->spec, op->generation);
	op->spec = NULL;
	workload_touch(workload);
	set_charge(workload, &op->charge);
	hold_again(workload);
	workload_event(workload, NULL, REASON(RESOURCES_UPDATED), NULL, "resources changed");
	workload_put_intent(workload, workload->no_restart);
	if (engine->listener && engine->listener->workload_changed)
		engine->listener->workload_changed(engine->listener->userdata, workload);
	engine_start_waiting(engine);
}

static bool is_there(const struct workload *workload, const struct container *container)
{
	return container ? container->phase == CONTAINER_RUNNING : workload->created;
}

static int admit(struct workload *workload, struct charge *asked, struct engine_fault *fault,
		 struct err *err)
{
	struct engine *engine = workload->engine;
	struct charge all = engine_allocatable(engine);
	struct charge others = engine->charged;
	struct charge both;
	int r;

	charge_subtract(&others, &workload->charge);
	r = charge_fits(asked, &others, &all, fault, err);
	if (r < 0)
		return r;
	both = charge_max(asked, &workload->charge);
	set_charge(workload, &both);
	return 0;
}

static void send_update(struct command *command, struct workload *workload,
			struct container *container, const Berth__V1__Resources *change,
			struct operation *op)
{
	struct engine *engine = command->engine;
	struct sandboxlink_call call;
	struct err err = { 0 };

	if (is_there(workload, container)) {
		operation_call(op, engine, &call);
		if (request_update_limits(workload, container ? container->spec->name : "",
					  container ? container->attempt : 0, change, &call,
					  &err) < 0)
			operation_unsent(op, &err);
	}
	operation_sent(engine, op);
}

/* Everything that can be said against it without asking the kernel. */
static int check(struct command *command, struct workload *workload, struct container *container,
		 struct spec *spec, struct charge *charge)
{
	const Berth__V1__Resources *whole =
		container ? spec->message->containers[container->index]->resources
			  : spec->message->resources;
	const struct check fields = { .fault = &command->fault, .prefix = "resources" };
	int r;

	FAILPOINT("berthd.update.check");
	validate_resources(whole, &fields);
	r = engine_fault_check_fields(&command->fault, &command->err);
	if (r >= 0)
		r = supported_resources(whole, "the workload", &fields, &command->engine->host,
					&command->err);
	if (r < 0)
		return r;
	*charge = charge_of(spec->message, host_default_memory(&command->engine->host));
	return admit(workload, charge, &command->fault, &command->err);
}

static void update(struct command *command, const Berth__V1__UpdateResourcesRequest *request,
		   struct workload *workload, struct container *container)
{
	struct charge before = workload->charge;
	struct charge charge = { 0 };
	struct spec *spec = changed_spec(workload, request, container, &command->err);
	struct operation *op;
	int r = spec ? check(command, workload, container, spec, &charge) : -ENOMEM;

	op = r >= 0 ? operation_new(command->engine, workload, command->waiter, finish_update)
		    : NULL;
	if (r >= 0 && !op) {
		set_charge(workload, &before);
		r = err_oom(&command->err);
	}
	if (r < 0) {
		spec_free(spec);
		command_refuse(command, r);
		return;
	}
	op->spec = spec;
	op->charge = charge;
	op->charge_before = before;
	op->generation = request->fence->generation;
	send_update(command, workload, container, request->resources, op);
}

static bool find_target(struct command *command, const Berth__V1__UpdateResourcesRequest *request,
			struct workload **ret_workload, struct container **ret_container)
{
	struct workload *workload;

	if (!command_passes(command) || !command_finds(command, request->id, &workload))
		return false;
	*ret_container = NULL;
	if (*request->container) {
		*ret_container = workload_container(workload, request->container);
		if (!*ret_container) {
			command_refuse(command, err_set(&command->err, ERR_NOT_FOUND, ENOENT,
							"workload %s has no container %s",
							workload->id, request->container));
			return false;
		}
	}
	if (workload_is_ended(workload) || workload->ending || workload->successor) {
		command->fault.reason = FAULT_ENDED;
		command_refuse(command, err_set(&command->err, ERR_PRECONDITION, ESRCH,
						"workload %s has ended or is ending: %s",
						workload->id, workload->sentence));
		return false;
	}
	*ret_workload = workload;
	return true;
}

void engine_update_resources(struct engine *engine,
			     const Berth__V1__UpdateResourcesRequest *request,
			     struct engine_waiter *waiter)
{
	struct command command;
	struct container *container;
	struct workload *workload;
	struct err why = { 0 };

	command_begin(&command, engine, waiter, request->fence);
	validate_fence(request->fence, true, &command.fault);
	validate_id(request->id, "id", &command.fault);
	if (*request->container && names_check_container(request->container, &why) < 0)
		engine_fault_add_field(&command.fault, "container", why.text);
	if (!request->resources)
		engine_fault_add_field(&command.fault, "resources", "must be given");
	else if (request->resources->n_rlimits)
		engine_fault_add_field(&command.fault, "resources.rlimits",
				       "cannot change while the workload runs");
	if (find_target(&command, request, &workload, &container) && command_reaches(&command))
		update(&command, request, workload, container);
	command_end(&command);
}
