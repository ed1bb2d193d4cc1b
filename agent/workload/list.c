/* Get and List. A page token is the last id that was told: the next page begins after it, whatever came
 * and went meanwhile. */
#include <errno.h>
#include <string.h>

#include "agent/workload/model.h"
#include "agent/workload/validate.h"
#include "proto/names.h"

#define PAGE_SIZE_DEFAULT 100
#define PAGE_SIZE_MAX     1000

int engine_get(struct engine *engine, const Berth__V1__GetRequest *request, struct arena *arena,
	       Berth__V1__GetResponse *ret, struct err *err, struct engine_fault *fault)
{
	const struct workload *workload;
	int r;

	validate_id(request->id, "id", fault);
	r = engine_fault_check_fields(fault, err);
	if (r < 0)
		return r;
	workload = engine_lookup(engine, request->id);
	if (!workload || !told_is_there(workload))
		return err_set(err, ERR_NOT_FOUND, ENOENT, "no workload %s on this host",
			       request->id);
	ret->workload = arena_message(arena, &berth__v1__workload__descriptor);
	if (!ret->workload || status_fill_workload(workload, true, arena, ret->workload) < 0)
		return err_set(err, ERR_EXHAUSTED, ENOMEM, "the answer is too large");
	return 0;
}

static bool has_label(const Berth__V1__WorkloadSpec *spec, const char *key, const char *value)
{
	for (size_t i = 0; i < spec->n_labels; i++)
		if (strcmp(spec->labels[i]->key, key) == 0)
			return strcmp(spec->labels[i]->value, value) == 0;
	return false;
}

static bool matches(const struct workload *workload, const Berth__V1__ListRequest *request)
{
	const struct engine_told told = engine_workload_told(workload);
	bool state = request->n_states == 0;

	for (size_t i = 0; i < request->n_states; i++)
		state |= request->states[i] == told.state;
	for (size_t i = 0; state && i < request->n_labels; i++)
		if (!has_label(told_spec(workload), request->labels[i]->key,
			       request->labels[i]->value))
			return false;
	return state;
}

static int validate_list(const Berth__V1__ListRequest *request, struct engine_fault *fault,
			 struct err *err)
{
	const struct check check = { .fault = fault, .prefix = "" };

	if (request->page_size > PAGE_SIZE_MAX)
		check_wrong(&check, "must be from 1 to 1000", "page_size");
	if (*request->page_token)
		check_result(&check, names_check_workload_id(request->page_token, err), err,
			     "page_token");
	for (size_t i = 0; i < request->n_states; i++)
		if (request->states[i] <= 0 || request->states[i] > STATE(LOST))
			check_wrong(&check, "is no state", "states[%zu]", i);
	return engine_fault_check_fields(fault, err);
}

int engine_list(struct engine *engine, const Berth__V1__ListRequest *request, struct arena *arena,
		Berth__V1__ListResponse *ret, struct err *err, struct engine_fault *fault)
{
	size_t max = request->page_size ? request->page_size : PAGE_SIZE_DEFAULT;
	size_t i = 0;
	int r = validate_list(request, fault, err);

	if (r < 0)
		return r;
	if (*request->page_token) {
		i = engine_position(engine, request->page_token);
		if (i < engine->n_workloads &&
		    strcmp(engine->by_id[i]->id, request->page_token) == 0)
			i++;
	}
	for (; i < engine->n_workloads; i++) {
		const struct workload *workload = engine->by_id[i];
		Berth__V1__Workload *message;

		if (!told_is_there(workload) || !matches(workload, request))
			continue;
		if (ret->n_workloads == max) {
			ret->next_page_token = ret->workloads[max - 1]->status->id;
			return 0;
		}
		message = arena_message(arena, &berth__v1__workload__descriptor);
		if (!message ||
		    status_fill_workload(workload, !request->status_only, arena, message) < 0 ||
		    arena_append(arena, &ret->workloads, &ret->n_workloads, message) < 0)
			return err_set(err, ERR_EXHAUSTED, ENOMEM,
				       "the answer is too large: ask for smaller pages");
	}
	return 0;
}

int engine_find_log(struct engine *engine, const char *id, const char *container, bool *ret_ended,
		    struct err *err)
{
	const struct workload *workload = engine_lookup(engine, id);
	const struct container *one = NULL;

	if (!workload)
		return err_set(err, ERR_NOT_FOUND, ENOENT, "no workload %s on this host", id);
	if (container && *container) {
		one = workload_container(workload, container);
		if (!one)
			return err_set(err, ERR_NOT_FOUND, ENOENT,
				       "workload %s has no container %s", id, container);
	}
	/* An init container of an attempt that goes on writes no more, but may in the next one. */
	*ret_ended = workload_is_ended(workload) && !workload->successor;
	return 0;
}
