/*
 * UpdateResources, as a change (change.c): the spec with it is validated and admitted as a whole; the kernel is
 * asked for what is new; when it has it the changed spec becomes the workload's. While the question is open
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

/* A copy of the spec with the change in it. */
static struct spec *changed_spec(const struct workload *workload,
				 const Berth__Agent__V1__Change *change,
				 const struct container *container, struct err *err)
{
	struct spec *draft = spec_new(workload->spec->message, err);
	struct spec *whole;
	Berth__V1__Resources **at;

	if (!draft)
		return NULL;
	at = container ? &draft->message->containers[container->index]->resources
		       : &draft->message->resources;
	if (merge(&draft->arena, at, change->resources) < 0) {
		spec_free(draft);
		(void)err_oom(err);
		return NULL;
	}
	/* The draft points into the change: the copy of it does not. */
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

static void finish(struct operation *op, struct workload *workload)
{
	struct engine *engine = workload->engine;

	FAILPOINT("berthd.update.done");
	if (workload_is_ended(workload))
		return; /* what it was charged went with it */
	adopt(workload, op->spec, op->change->generation);
	op->spec = NULL;
	set_charge(workload, &op->charge);
	hold_again(workload);
	workload_event(workload, NULL, REASON(RESOURCES_UPDATED), NULL, "resources changed");
	workload_put_intent(workload, workload->no_restart);
	if (engine->listener && engine->listener->workload_changed)
		engine->listener->workload_changed(engine->listener->userdata, workload);
	engine_start_waiting(engine);
}

static void undo(struct operation *op, struct workload *workload)
{
	if (op->spec && !workload_is_ended(workload))
		set_charge(workload, &op->charge_before);
}

static bool is_there(const struct workload *workload, const struct container *container)
{
	return container ? container->phase == CONTAINER_RUNNING : workload->created;
}

static struct container *target(const struct operation *op, const struct workload *workload)
{
	return *op->change->container ? workload_container(workload, op->change->container) : NULL;
}

static void charge_both(struct operation *op, struct workload *workload)
{
	struct charge both = charge_max(&op->charge, &workload->charge);

	op->charge_before = workload->charge;
	set_charge(workload, &both);
}

static int admit(struct operation *op, struct workload *workload, struct engine_fault *fault,
		 struct err *err)
{
	struct engine *engine = workload->engine;
	struct charge all = engine_allocatable(engine);
	struct charge others = engine->charged;

	charge_subtract(&others, &workload->charge);
	return charge_fits(&op->charge, &others, &all, fault, err);
}

/* Everything that can be said against it without asking the kernel. */
static int check(struct operation *op, struct workload *workload, struct engine_fault *fault,
		 struct err *err)
{
	const struct container *container = target(op, workload);
	const Berth__V1__Resources *whole =
		container ? op->spec->message->containers[container->index]->resources
			  : op->spec->message->resources;
	const struct check fields = { .fault = fault, .prefix = "resources" };
	int r;

	FAILPOINT("berthd.update.check");
	validate_resources(whole, &fields);
	r = engine_fault_check_fields(fault, err);
	if (r >= 0)
		r = supported_resources(whole, "the workload", &fields, &workload->engine->host,
					err);
	return r < 0 ? r : admit(op, workload, fault, err);
}

static int prepare(struct operation *op, struct workload *workload, struct err *err)
{
	op->spec = changed_spec(workload, op->change, target(op, workload), err);
	if (!op->spec)
		return -ENOMEM;
	op->charge = charge_of(op->spec->message, host_default_memory(&workload->engine->host));
	return 0;
}

static int begin(struct operation *op, struct workload *workload, struct engine_fault *fault,
		 struct err *err)
{
	int r = change_check_over(workload, fault, err);

	if (r >= 0)
		r = engine_reach_sandbox(workload->engine, fault, err);
	if (r >= 0)
		r = prepare(op, workload, err);
	if (r >= 0)
		r = check(op, workload, fault, err);
	if (r >= 0)
		charge_both(op, workload);
	return r;
}

static int send_update(struct operation *op, struct workload *workload, struct err *err)
{
	struct container *container = target(op, workload);
	struct sandboxlink_call call;

	if (!op->spec) {
		/* An earlier process had admitted it. */
		if (prepare(op, workload, err) < 0)
			return -ENOMEM;
		charge_both(op, workload);
	}
	/* It was launched with what is to change. */
	if (container && container->phase == CONTAINER_LAUNCHING)
		return 1;
	if (!is_there(workload, container))
		return 0;
	operation_call(op, workload->engine, &call);
	return request_update_limits(workload, container ? container->spec->name : "",
				     container ? container->attempt : 0, op->change->resources,
				     &call, err);
}

const struct change_kind change_of_resources = {
	.begin = begin, .send = send_update, .finish = finish, .undo = undo
};

static void update(struct command *command, const Berth__V1__UpdateResourcesRequest *request)
{
	Berth__Agent__V1__Change change = BERTH__AGENT__V1__CHANGE__INIT;
	struct workload *workload;

	if (!command_passes(command) || !command_finds(command, request->id, &workload))
		return;
	if (*request->container && !workload_container(workload, request->container)) {
		command_refuse(command, err_set(&command->err, ERR_NOT_FOUND, ENOENT,
						"workload %s has no container %s", workload->id,
						request->container));
		return;
	}
	change.generation = request->fence->generation;
	change.container = request->container;
	change.resources = request->resources;
	change_ask(command, workload, &change);
}

void engine_update_resources(struct engine *engine,
			     const Berth__V1__UpdateResourcesRequest *request,
			     struct engine_waiter *waiter)
{
	struct command command;
	const struct check fields = { .fault = &command.fault, .prefix = "resources" };
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
	if (request->resources)
		validate_known(&request->resources->base, &fields);
	update(&command, request);
	command_end(&command);
}
