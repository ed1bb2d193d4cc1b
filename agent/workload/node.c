/* GetNode: what the host is, has and can do. */
#include <errno.h>
#include <stdio.h>

#include "agent/workload/model.h"
#include "proto/names.h"

static Berth__V1__NodeResources *resources(struct arena *arena, uint64_t cpu_millis,
					   uint64_t memory_bytes, uint64_t pids, uint64_t workloads)
{
	Berth__V1__NodeResources *ret = arena_message(arena,
						      &berth__v1__node_resources__descriptor);

	if (!ret)
		return NULL;
	ret->cpu_millis = cpu_millis;
	ret->memory_bytes = memory_bytes;
	ret->pids = pids;
	ret->workloads = (uint32_t)workloads;
	return ret;
}

static int fill_resources(const struct engine *engine, struct arena *arena, Berth__V1__Node *ret)
{
	const struct engine_resources *all = &engine->capacity;
	const struct charge free = engine_allocatable(engine);
	const struct charge *used = &engine->charged;

	ret->capacity = resources(arena, all->cpu_millis, all->memory_bytes, all->pids,
				  all->workloads);
	ret->allocatable = resources(arena, free.cpu_millis, free.memory_bytes, free.pids,
				     free.workloads);
	ret->requested = resources(arena, used->cpu_millis, used->memory_bytes, used->pids,
				   used->workloads);
	return ret->capacity && ret->allocatable && ret->requested ? 0 : -ENOMEM;
}

static int fill_features(const Berth__Sandbox__V1__HelloResult *hello, struct arena *arena,
			 Berth__V1__Node *ret)
{
	for (size_t i = 0; i < hello->n_features; i++) {
		Berth__V1__Feature *feature = arena_message(arena, &berth__v1__feature__descriptor);

		if (arena_append(arena, &ret->features, &ret->n_features, feature) < 0)
			return -ENOMEM;
		feature->name = hello->features[i]->name;
		feature->supported = hello->features[i]->supported;
		feature->sentence = hello->features[i]->sentence;
	}
	return 0;
}

static int fill_defaults(const Berth__Sandbox__V1__Limits *limits, struct arena *arena,
			 Berth__V1__Node *ret)
{
	Berth__V1__Resources *r = arena_message(arena, &berth__v1__resources__descriptor);

	if (!r)
		return -ENOMEM;
	if (limits->_cpu_millis_case) {
		r->_cpu_limit_millis_case =
			BERTH__V1__RESOURCES___CPU_LIMIT_MILLIS_CPU_LIMIT_MILLIS;
		r->cpu_limit_millis = limits->cpu_millis;
	}
	if (limits->_memory_max_bytes_case) {
		r->_memory_limit_bytes_case =
			BERTH__V1__RESOURCES___MEMORY_LIMIT_BYTES_MEMORY_LIMIT_BYTES;
		r->memory_limit_bytes = limits->memory_max_bytes;
	}
	if (limits->_memory_swap_bytes_case) {
		r->_memory_swap_bytes_case =
			BERTH__V1__RESOURCES___MEMORY_SWAP_BYTES_MEMORY_SWAP_BYTES;
		r->memory_swap_bytes = limits->memory_swap_bytes;
	}
	if (limits->_pids_max_case) {
		r->_pids_limit_case = BERTH__V1__RESOURCES___PIDS_LIMIT_PIDS_LIMIT;
		r->pids_limit = limits->pids_max;
	}
	ret->default_limits = r;
	return 0;
}

/* What berth-sandboxd said the last time it was there. */
static int fill_sandbox(const struct engine *engine, struct arena *arena, Berth__V1__Node *ret)
{
	const Berth__Sandbox__V1__HelloResult *hello = engine->host.hello;

	if (!engine->ready &&
	    arena_append(arena, &ret->warnings, &ret->n_warnings,
			 (char *)"berth-sandboxd is not connected: nothing can be launched") < 0)
		return -ENOMEM;
	if (!hello)
		return 0;
	if (hello->refuses_starts[0] &&
	    arena_append(
		    arena, &ret->warnings, &ret->n_warnings,
		    arena_printf(arena, "nothing can be launched: %s", hello->refuses_starts)) < 0)
		return -ENOMEM;
	ret->cgroup_layout = hello->cgroup_layout;
	ret->sandbox_version = hello->version;
	for (size_t i = 0; i < hello->n_grantable_capabilities; i++)
		if (arena_append(
			    arena, &ret->grantable_capabilities, &ret->n_grantable_capabilities,
			    (char *)names_bare_capability(hello->grantable_capabilities[i])) < 0)
			return -ENOMEM;
	ret->n_allowed_sysctls = hello->n_allowed_sysctls;
	ret->allowed_sysctls = hello->allowed_sysctls;
	for (size_t i = 0; i < hello->n_warnings; i++)
		if (arena_append(arena, &ret->warnings, &ret->n_warnings, hello->warnings[i]) < 0)
			return -ENOMEM;
	if (hello->default_limits && fill_defaults(hello->default_limits, arena, ret) < 0)
		return -ENOMEM;
	return fill_features(hello, arena, ret);
}

static int add_stuck_warnings(const struct engine *engine, struct arena *arena,
			      Berth__V1__Node *ret)
{
	for (size_t i = 0; i < engine->n_workloads; i++)
		if (engine->by_id[i]->state == STATE(STUCK) &&
		    arena_append(arena, &ret->warnings, &ret->n_warnings,
				 arena_printf(arena, "workload %s is stuck: %s",
					      engine->by_id[i]->id, engine->by_id[i]->sentence)) <
			    0)
			return -ENOMEM;
	return 0;
}

static int add_store_warnings(const struct engine *engine, struct arena *arena,
			      Berth__V1__Node *ret)
{
	const struct store *store = engine->store;
	const struct stray *stray;

	if (store->failure[0] &&
	    arena_append(arena, &ret->warnings, &ret->n_warnings,
			 arena_printf(arena, "nothing can be launched: %s", store->failure)) < 0)
		return -ENOMEM;
	if (store->damage[0] &&
	    arena_append(arena, &ret->warnings, &ret->n_warnings, (char *)store->damage) < 0)
		return -ENOMEM;
	/* Where nobody ever acknowledges, that is how it is meant. */
	if (engine->acknowledges && engine->records.dropped &&
	    arena_append(
		    arena, &ret->warnings, &ret->n_warnings,
		    arena_printf(
			    arena,
			    "%llu terminal records were dropped before a scheduler had acknowledged them (see [Records] in berthd.conf)",
			    (unsigned long long)engine->records.dropped)) < 0)
		return -ENOMEM;
	LIST_FOREACH (stray, &engine->strays, link)
		if (stray->stays &&
		    arena_append(
			    arena, &ret->warnings, &ret->n_warnings,
			    arena_printf(
				    arena,
				    "workload %s runs, but what was asked for it is lost: stop, delete or launch it to have it removed",
				    stray->id)) < 0)
			return -ENOMEM;
	return 0;
}

int engine_fill_node(struct engine *engine, struct arena *arena, Berth__V1__Node *ret)
{
	const struct engine_listener *listener = engine->listener;
	uint64_t now = timer_boot_ns(&engine->timers);

	ret->hostname = engine->host.hostname;
	ret->boot_id = engine->host.boot_id;
	ret->machine_id = engine->host.machine_id;
	ret->kernel = engine->host.kernel;
	ret->architecture = engine->host.architecture;
	ret->agent_version = engine->version;
	ret->uptime_ms = now / NS_PER_MS;
	ret->agent_uptime_ms = (now - engine->start_boot_ns) / NS_PER_MS;
	ret->schedulable = engine->schedulable;
	ret->unschedulable_sentence = engine->unschedulable;
	ret->drain_deadline_unix_ns = engine->drain.deadline_wall_ns;
	ret->highest_epoch = engine->fence.epoch;
	ret->event_sequence = engine->events.durable;
	ret->instance = engine->events.instance;
	ret->records = arena_message(arena, &berth__v1__record_figures__descriptor);
	if (!ret->records)
		return -ENOMEM;
	engine_fill_records(engine, ret->records);
	if (listener && listener->node_usage)
		ret->usage = listener->node_usage(listener->userdata, arena);
	if (fill_resources(engine, arena, ret) < 0 || fill_sandbox(engine, arena, ret) < 0)
		return -ENOMEM;
	if (engine->pressure &&
	    engine->pressure->fill_node(engine->pressure->userdata, arena, ret) < 0)
		return -ENOMEM;
	return add_store_warnings(engine, arena, ret) < 0 ? -ENOMEM
							  : add_stuck_warnings(engine, arena, ret);
}
