/*
 * Reconcile: one action for every id that is desired or there. All are decided first, on the host as
 * it is; then, unless it is a rehearsal, carried out: removals first. What is removed counts as room for
 * what is launched, which then waits until the room is really there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"
#include "agent/workload/validate.h"
#include "proto/cleanup.h"

#define DESIRED_MAX 10000

struct step {
	Berth__V1__ReconcileAction *action;
	const Berth__V1__Desired *desired;
	struct launch_plan plan;
};

struct reconcile {
	struct command command;
	const Berth__V1__ReconcileRequest *request;
	struct arena *arena;
	const Berth__V1__Desired **desired; /* by id */
	struct step *steps;
	size_t n_steps;
	struct charge promised; /* what is removed and replaced will give back */
	Berth__V1__ReconcileResponse *response;
};

static int compare_desired(const void *a, const void *b)
{
	const Berth__V1__Desired *const *left = a;
	const Berth__V1__Desired *const *right = b;

	return strcmp((*left)->spec->id, (*right)->spec->id);
}

/* Ids alone: what is wrong with a spec is said in its own action, and the others go on. */
static void validate(struct reconcile *rec)
{
	const Berth__V1__ReconcileRequest *request = rec->request;
	struct engine_fault *fault = &rec->command.fault;
	char path[64];

	validate_fence(request->fence, false, fault);
	if (request->n_desired > DESIRED_MAX) {
		engine_fault_add_field(fault, "desired", "at most 10,000");
		return;
	}
	for (size_t i = 0; i < request->n_desired; i++) {
		const Berth__V1__Desired *desired = request->desired[i];

		(void)snprintf(path, sizeof(path), "desired[%zu].spec", i);
		if (!desired->spec) {
			engine_fault_add_field(fault, path, "must be given");
			continue;
		}
		(void)snprintf(path, sizeof(path), "desired[%zu].spec.id", i);
		validate_id(desired->spec->id, path, fault);
		if (desired->generation == 0) {
			(void)snprintf(path, sizeof(path), "desired[%zu].generation", i);
			engine_fault_add_field(fault, path, "must be at least 1");
		}
	}
}

static int sort_desired(struct reconcile *rec)
{
	const Berth__V1__ReconcileRequest *request = rec->request;
	struct engine_fault *fault = &rec->command.fault;

	rec->desired = calloc(request->n_desired + 1, sizeof(*rec->desired));
	rec->steps = calloc(request->n_desired + rec->command.engine->n_workloads + 1,
			    sizeof(*rec->steps));
	if (!rec->desired || !rec->steps)
		return err_oom(&rec->command.err);
	for (size_t i = 0; i < request->n_desired; i++)
		rec->desired[i] = request->desired[i];
	qsort(rec->desired, request->n_desired, sizeof(*rec->desired), compare_desired);
	for (size_t i = 1; i < request->n_desired; i++)
		if (strcmp(rec->desired[i]->spec->id, rec->desired[i - 1]->spec->id) == 0)
			engine_fault_add_field(fault, "desired", rec->desired[i]->spec->id);
	if (fault->n_fields)
		return err_set(&rec->command.err, ERR_INVALID, EINVAL,
			       "desired: workload %s is given twice", fault->fields[0].text);
	return 0;
}

static struct step *add_step(struct reconcile *rec, const char *id, Berth__V1__ReconcileVerb verb,
			     uint64_t from, uint64_t to, const char *sentence)
{
	Berth__V1__ReconcileAction *action =
		arena_message(rec->arena, &berth__v1__reconcile_action__descriptor);
	struct step *step = &rec->steps[rec->n_steps];

	if (arena_append(rec->arena, &rec->response->actions, &rec->response->n_actions, action) <
	    0)
		return NULL;
	action->id = arena_strdup(rec->arena, id);
	action->sentence = arena_strdup(rec->arena, sentence);
	if (!action->id || !action->sentence) {
		rec->response->n_actions--;
		return NULL;
	}
	action->verb = verb;
	action->from_generation = from;
	action->to_generation = to;
	step->action = action;
	rec->n_steps++;
	return step;
}

static int decide_removal(struct reconcile *rec, struct workload *workload)
{
	struct step *step;

	step = add_step(rec, workload->id, BERTH__V1__RECONCILE_VERB__RECONCILE_REMOVE,
			workload->generation, 0,
			workload_is_ended(workload) ? "not desired: it has ended, and is deleted"
						    : "not desired: it is stopped and deleted");
	if (!step)
		return -ENOMEM;
	step->plan.workload = workload;
	charge_add(&rec->promised, &workload->charge);
	return 0;
}

/* What the fields of one spec are refused for. */
static int check_spec(const Berth__V1__WorkloadSpec *spec, struct err *err)
{
	cleanup_fault struct engine_fault fault;

	engine_fault_init(&fault);
	validate_spec(spec, "spec", &fault);
	return engine_fault_check_fields(&fault, err);
}

static int decide_desired(struct reconcile *rec, const Berth__V1__Desired *desired)
{
	static const struct {
		Berth__V1__ReconcileVerb verb;
		const char *sentence;
	} words[] = {
		[LAUNCH_NEW] = { BERTH__V1__RECONCILE_VERB__RECONCILE_LAUNCH, "it is missing" },
		[LAUNCH_SAME] = { BERTH__V1__RECONCILE_VERB__RECONCILE_KEEP, "it is there" },
		[LAUNCH_REPLACE] = { BERTH__V1__RECONCILE_VERB__RECONCILE_REPLACE,
				     "the old generation is stopped first" },
		[LAUNCH_REFUSED] = { BERTH__V1__RECONCILE_VERB__RECONCILE_REFUSE, NULL },
	};
	struct engine *engine = rec->command.engine;
	const struct workload *workload = engine_lookup(engine, desired->spec->id);
	cleanup_fault struct engine_fault fault;
	struct launch_plan plan = { .verdict = LAUNCH_REFUSED };
	struct err err = { 0 };
	struct step *step;

	engine_fault_init(&fault);
	if (check_spec(desired->spec, &err) >= 0)
		launch_plan(engine, desired->spec, desired->generation, &rec->promised, &plan,
			    &fault, &err);
	step = add_step(rec, desired->spec->id, words[plan.verdict].verb,
			workload ? workload->generation : 0, desired->generation,
			words[plan.verdict].sentence ? words[plan.verdict].sentence : err.text);
	if (!step) {
		launch_plan_done(&plan);
		return -ENOMEM;
	}
	step->desired = desired;
	step->plan = plan;
	if (plan.verdict == LAUNCH_NEW) {
		/* What is launched takes of what was promised, and of the room. */
		charge_add(&engine->charged, &plan.charge);
	} else if (plan.verdict == LAUNCH_REPLACE) {
		struct charge both = charge_max(&plan.charge, &plan.workload->charge);

		charge_subtract(&engine->charged, &plan.workload->charge);
		charge_add(&engine->charged, &both);
	}
	return 0;
}

/* Both lists are sorted by id. Removals are decided first: what they give back is room for the rest. */
static int decide_removals(struct reconcile *rec)
{
	const struct engine *engine = rec->command.engine;
	size_t n = rec->request->n_desired;
	size_t d = 0;

	for (size_t i = 0; i < engine->n_workloads; i++) {
		struct workload *workload = engine->by_id[i];

		while (d < n && strcmp(rec->desired[d]->spec->id, workload->id) < 0)
			d++;
		if (d < n && strcmp(rec->desired[d]->spec->id, workload->id) == 0)
			continue;
		if (decide_removal(rec, workload) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int decide(struct reconcile *rec)
{
	struct engine *engine = rec->command.engine;
	struct charge before = engine->charged;
	int r = decide_removals(rec);

	for (size_t i = 0; r >= 0 && i < rec->request->n_desired; i++)
		r = decide_desired(rec, rec->desired[i]);
	engine->charged = before; /* deciding charges nobody */
	return r < 0 ? err_oom(&rec->command.err) : 0;
}

static void carry_out_step(struct reconcile *rec, struct step *step)
{
	struct engine *engine = rec->command.engine;
	struct workload *workload;
	struct err err = { 0 };

	if (step->action->verb == BERTH__V1__RECONCILE_VERB__RECONCILE_REMOVE) {
		workload_drop_successor(step->plan.workload);
		workload_delete(step->plan.workload, REASON(NOT_DESIRED), "not desired any more");
		return;
	}
	step->plan.scheduler = rec->command.waiter->scheduler;
	if (step->plan.verdict == LAUNCH_SAME)
		launch_confirm(step->plan.workload, step->plan.scheduler);
	if (step->plan.verdict != LAUNCH_NEW && step->plan.verdict != LAUNCH_REPLACE)
		return;
	if (launch_carry_out(engine, &step->plan, step->desired->generation,
			     rec->request->fence->epoch, REASON(GENERATION_REPLACED), &workload,
			     &err) >= 0)
		return;
	step->action->verb = BERTH__V1__RECONCILE_VERB__RECONCILE_REFUSE;
	step->action->sentence = arena_strdup(rec->arena, err.text);
	if (!step->action->sentence)
		step->action->sentence = (char *)"out of memory";
}

static int compare_actions(const void *a, const void *b)
{
	const Berth__V1__ReconcileAction *const *left = a;
	const Berth__V1__ReconcileAction *const *right = b;

	return strcmp((*left)->id, (*right)->id);
}

static void reconcile(struct reconcile *rec)
{
	int r;

	validate(rec);
	if (!command_passes(&rec->command))
		return;
	r = sort_desired(rec);
	if (r >= 0)
		r = decide(rec);
	if (r < 0) {
		rec->response->n_actions = 0;
		command_refuse(&rec->command, r);
		return;
	}
	for (size_t i = 0; !rec->request->dry_run && i < rec->n_steps; i++)
		carry_out_step(rec, &rec->steps[i]);
	if (rec->response->n_actions)
		qsort(rec->response->actions, rec->response->n_actions, sizeof(void *),
		      compare_actions);
	engine_accept_when_durable(rec->command.engine, rec->command.waiter);
}

void engine_reconcile(struct engine *engine, const Berth__V1__ReconcileRequest *request,
		      struct arena *arena, Berth__V1__ReconcileResponse *response,
		      struct engine_waiter *waiter)
{
	struct reconcile rec = { .request = request, .arena = arena, .response = response };

	command_begin(&rec.command, engine, waiter, request->fence);
	reconcile(&rec);
	for (size_t i = 0; i < rec.n_steps; i++)
		launch_plan_done(&rec.steps[i].plan);
	free(rec.steps);
	free(rec.desired);
	command_end(&rec.command);
}
