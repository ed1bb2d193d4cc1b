/* Launch: decide what it means for this host as it is (a plan), then carry it out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/canonical.h"
#include "agent/workload/model.h"
#include "agent/workload/validate.h"
#include "proto/cleanup.h"
#include "proto/failpoint.h"

#define RECORDS_MAX 4096 /* of ended workloads, beyond those that may run */

static int refuse_draining(struct engine *engine, struct engine_fault *fault, struct err *err)
{
	fault->reason = FAULT_DRAINING;
	return err_set(err, ERR_UNAVAILABLE, EBUSY, "this host takes no new workloads%s%s",
		       *engine->unschedulable ? ": " : "", engine->unschedulable);
}

static int refuse_away(struct engine_fault *fault, struct err *err)
{
	fault->reason = FAULT_SANDBOX_AWAY;
	return err_set(
		err, ERR_UNAVAILABLE, ENOTCONN,
		"berth-sandboxd is not connected: nothing can be launched (see systemctl status berth-sandboxd)");
}

static int refuse_releases(const struct engine *engine, struct engine_fault *fault, struct err *err)
{
	fault->reason = FAULT_RELEASES_DIFFER;
	return err_set(err, ERR_UNAVAILABLE, EPROTO, "nothing can be launched: %.300s",
		       host_why_no_starts(&engine->host));
}

static int refuse_store(const struct engine *engine, struct engine_fault *fault, struct err *err)
{
	fault->reason = FAULT_STORE_FAILED;
	return err_set(err, ERR_UNAVAILABLE, EIO, "nothing can be launched: %.300s",
		       engine->store->failure);
}

/* The same launch again, whose intent could not be kept: begin it, once nothing of it is left. */
static int compare_refused(const struct workload *workload, struct engine_fault *fault,
			   struct err *err)
{
	if (workload->is_replacement && workload_is_ended(workload))
		return 0;
	fault->reason = FAULT_STORE_FAILED;
	return err_set(err, ERR_UNAVAILABLE, EBUSY,
		       "workload %s could not be kept, and what was begun of it is being removed",
		       workload->id);
}

/* Whether @spec is that of the highest generation, as it is or as it was launched: 1, 0, or -ENOMEM. */
static int is_known(const struct workload *workload, const struct spec *spec)
{
	int r;

	if (workload->successor)
		return spec_equal(workload->successor->spec, spec);
	r = spec_equal(workload->spec, spec);
	return r == 0 && workload->launched ? spec_equal(workload->launched, spec) : r;
}

/* Against what is known of the id: its last generation, and the spec that it had. */
static int compare(struct engine *engine, uint64_t generation, struct launch_plan *plan,
		   struct engine_fault *fault, struct err *err)
{
	const char *id = plan->spec->message->id;
	struct workload *workload = engine_lookup(engine, id);
	uint64_t highest = workload ? workload->generation : fence_tombstone(&engine->fence, id);
	int r;

	if (!workload) {
		plan->verdict = LAUNCH_NEW;
		return generation <= highest
			       ? fence_stale_generation(id, generation, highest, fault, err)
			       : 0;
	}
	plan->workload = workload;
	plan->verdict = LAUNCH_REPLACE;
	if (workload->successor)
		highest = workload->successor->generation;
	if (generation < highest)
		return fence_stale_generation(id, generation, highest, fault, err);
	if (workload->refused && !workload->successor && generation == highest)
		return compare_refused(workload, fault, err);
	if (generation > highest) {
		if (generation <= workload->stopped_generation)
			return fence_stale_generation(id, generation, workload->stopped_generation,
						      fault, err);
		return 0;
	}
	r = is_known(workload, plan->spec);
	if (r < 0)
		return err_oom(err);
	if (r == 0) {
		fault->reason = FAULT_SPEC_DIFFERS;
		engine_fault_add_number(fault, "generation", generation);
		return err_set(
			err, ERR_EXISTS, EEXIST,
			"workload %s has generation %llu already, with another spec: raise the generation to change it",
			id, (unsigned long long)generation);
	}
	plan->verdict = LAUNCH_SAME;
	return 0;
}

/* What the old life holds comes free for the new one; both never hold room at once, so that the larger of
 * the two is what must fit. */
static int admit(struct engine *engine, const struct charge *promised, struct launch_plan *plan,
		 struct engine_fault *fault, struct err *err)
{
	struct charge all = engine_allocatable(engine);
	struct charge taken = engine->charged;
	int r;

	if (plan->workload)
		charge_subtract(&taken, &plan->workload->charge);
	plan->waits_for_room = promised && plan->verdict == LAUNCH_NEW &&
			       charge_fits(&plan->charge, &taken, &all, NULL, NULL) < 0;
	if (promised)
		charge_subtract(&taken, promised);
	r = charge_fits(&plan->charge, &taken, &all, fault, err);
	return r < 0 ? err_prefix(err, r, "launch %s", plan->spec->message->id) : 0;
}

/* Records of ended workloads stay until Delete: one who never deletes finds an end too. */
static int check_records(struct engine *engine, const struct launch_plan *plan,
			 struct engine_fault *fault, struct err *err)
{
	struct charge all = engine_allocatable(engine);
	size_t max = all.workloads + RECORDS_MAX;
	const struct fault_quota quota = { .resource = "records", .unit = "", .asked = 1 };

	if (plan->workload || engine->n_workloads < max)
		return 0;
	fault->reason = FAULT_NO_ROOM;
	engine_fault_add_quota(fault, &quota);
	return err_set(
		err, ERR_EXHAUSTED, ENOSPC,
		"this host keeps the records of %zu workloads already: delete those that have ended",
		engine->n_workloads);
}

static int check_new(struct engine *engine, const struct charge *promised, struct launch_plan *plan,
		     struct engine_fault *fault, struct err *err)
{
	const char *id = plan->spec->message->id;
	int r;

	if (!engine->schedulable)
		return refuse_draining(engine, fault, err);
	if (engine->store->failure[0])
		return refuse_store(engine, fault, err);
	if (!engine->ready)
		return refuse_away(fault, err);
	if (host_why_no_starts(&engine->host)[0])
		return refuse_releases(engine, fault, err);
	if (inventory_has_stray(engine, id)) {
		fault->reason = FAULT_SANDBOX_AWAY;
		return err_set(err, ERR_UNAVAILABLE, EBUSY,
			       "what an earlier life of workload %s left is still being removed",
			       id);
	}
	r = supported_spec(plan->spec->message, &engine->host, fault, err);
	if (r >= 0)
		r = check_records(engine, plan, fault, err);
	return r < 0 ? r : admit(engine, promised, plan, fault, err);
}

void launch_plan(struct engine *engine, const Berth__V1__WorkloadSpec *spec, uint64_t generation,
		 const struct charge *promised, struct launch_plan *plan,
		 struct engine_fault *fault, struct err *err)
{
	*plan = (struct launch_plan){ .verdict = LAUNCH_REFUSED };
	plan->spec = spec_new(spec, err);
	if (!plan->spec) {
		plan->r = -ENOMEM;
		return;
	}
	plan->charge = charge_of(plan->spec->message, host_default_memory(&engine->host));
	plan->r = compare(engine, generation, plan, fault, err);
	if (plan->r >= 0 && plan->verdict != LAUNCH_SAME)
		plan->r = check_new(engine, promised, plan, fault, err);
	if (plan->r < 0)
		plan->verdict = LAUNCH_REFUSED;
}

void launch_plan_done(struct launch_plan *plan)
{
	spec_free(plan->spec);
	plan->spec = NULL;
}

static int launch_new(struct engine *engine, struct launch_plan *plan, uint64_t generation,
		      uint64_t epoch, struct workload **ret_workload, struct err *err)
{
	struct workload *workload = NULL;
	int r = workload_new(engine, plan->spec, generation, epoch, &workload, err);

	if (r < 0)
		return r;
	plan->spec = NULL;
	r = engine_add_workload(engine, workload, err);
	if (r < 0) {
		workload_free(workload);
		return r;
	}
	workload->waits_for_room = plan->waits_for_room;
	lease_pass_to(workload, plan->scheduler);
	charge_add(&engine->charged, &workload->charge);
	*ret_workload = workload;
	workload_begin(workload);
	return 0;
}

static int launch_replace(struct engine *engine, struct launch_plan *plan, uint64_t generation,
			  uint64_t epoch, Berth__V1__Reason reason, struct err *err)
{
	struct workload *workload = plan->workload;
	struct successor *next = workload->successor;
	struct charge both;

	FAILPOINT("berthd.launch.replace");
	if (!next)
		next = calloc(1, sizeof(*next));
	if (!next)
		return err_oom(err);
	spec_free(next->spec);
	free(next->scheduler);
	*next = (struct successor){ .spec = take_ptr(&plan->spec),
				    .generation = generation,
				    .epoch = epoch,
				    .scheduler = plan->scheduler ? strdup(plan->scheduler) : NULL,
				    .charge = plan->charge };
	workload->successor = next;
	workload->delete_when_ended = false;
	workload_touch(workload);
	both = charge_max(&workload->charge, &plan->charge);
	charge_subtract(&engine->charged, &workload->charge);
	charge_add(&engine->charged, &both);
	workload->charge = both;
	if (workload->removing)
		return 0; /* it succeeds when the old one is removed */
	if (!workload_is_ended(workload)) {
		stop_workload(workload, reason, -1, "a newer generation takes its place");
		return 0;
	}
	charge_subtract(&engine->charged, &workload->charge);
	workload->charge = (struct charge){ 0 };
	workload_succeed(workload);
	return 0;
}

/* It is there as it should be: who says so now, answers for it. */
void launch_confirm(struct workload *workload, const char *scheduler)
{
	char *copy;

	if (!workload->successor) {
		lease_pass_to(workload, scheduler);
		return;
	}
	copy = scheduler ? strdup(scheduler) : NULL;
	if (!copy)
		return;
	free(workload->successor->scheduler);
	workload->successor->scheduler = copy;
	workload_touch(workload);
}

int launch_carry_out(struct engine *engine, struct launch_plan *plan, uint64_t generation,
		     uint64_t epoch, Berth__V1__Reason reason, struct workload **ret_workload,
		     struct err *err)
{
	FAILPOINT_RETURN("berthd.launch.accept", err);
	if (plan->verdict == LAUNCH_NEW)
		return launch_new(engine, plan, generation, epoch, ret_workload, err);
	*ret_workload = plan->workload;
	return launch_replace(engine, plan, generation, epoch, reason, err);
}

static void launch(struct command *command, const Berth__V1__LaunchRequest *request)
{
	struct engine *engine = command->engine;
	cleanup(launch_plan_done) struct launch_plan plan = { 0 };
	struct workload *workload = NULL;
	uint64_t generation;
	int r;

	validate_fence(request->fence, true, &command->fault);
	validate_spec(request->spec, "spec", &command->fault);
	if (!command_passes(command))
		return;
	generation = request->fence->generation;
	launch_plan(engine, request->spec, generation, NULL, &plan, &command->fault, &command->err);
	if (plan.verdict == LAUNCH_REFUSED) {
		(void)inventory_end_stray(engine, request->spec->id);
		command_refuse(command, plan.r);
		return;
	}
	workload = plan.workload;
	plan.scheduler = command->waiter->scheduler;
	if (plan.verdict == LAUNCH_SAME) {
		workload->epoch = request->fence->epoch;
		launch_confirm(workload, plan.scheduler);
	} else {
		r = launch_carry_out(engine, &plan, generation, request->fence->epoch,
				     REASON(GENERATION_REPLACED), &workload, &command->err);
		if (r < 0) {
			command_refuse(command, r);
			return;
		}
	}
	FAILPOINT("berthd.launch.begun");
	engine_wait(workload, command->waiter, request->no_wait ? UNTIL_DURABLE : UNTIL_SETTLED,
		    plan.verdict == LAUNCH_SAME);
}

void engine_launch(struct engine *engine, const Berth__V1__LaunchRequest *request,
		   struct engine_waiter *waiter)
{
	struct command command;

	command_begin(&command, engine, waiter, request->fence);
	launch(&command, request);
	command_end(&command);
}
