/* Facts of berth-sandboxd find their container, or are about something that is on its way out. */
#include <string.h>

#include "agent/workload/model.h"
#include "agent/workload/record.h"
#include "proto/syscall_names.h"

static struct container *find(struct engine *engine, const Berth__Sandbox__V1__ContainerRef *ref)
{
	struct workload *workload = ref ? engine_lookup(engine, ref->workload) : NULL;
	struct container *container;

	if (!workload || workload->instance != ref->instance)
		return NULL;
	container = workload_container(workload, ref->container);
	return container && container->attempt == ref->attempt ? container : NULL;
}

static void took_exited(struct engine *engine, const Berth__Sandbox__V1__Exited *fact)
{
	struct container *container = find(engine, fact->ref);

	if (container)
		container_took_exited(container, fact);
	else if (fact->ref)
		inventory_stray_exited(engine, fact->ref->workload, fact->ref->instance);
}

static void took_start_failed(struct engine *engine, const Berth__Sandbox__V1__StartFailed *fact)
{
	struct container *container = find(engine, fact->ref);
	struct err failure = { .kind = ERR_INTERNAL };

	if (!container) {
		if (fact->ref)
			inventory_stray_exited(engine, fact->ref->workload, fact->ref->instance);
		return;
	}
	if (fact->failure)
		(void)err_set(&failure, (enum err_kind)fact->failure->kind, fact->failure->errnum,
			      "%s", fact->failure->text);
	container_took_failed(container, &failure, fact->step);
}

static void took_denied(struct engine *engine, const Berth__Sandbox__V1__Denied *fact)
{
	struct container *container = find(engine, fact->ref);
	const char *name;

	if (!container || !fact->call)
		return;
	name = syscall_name((long)fact->call->number);
	if (name)
		workload_event(container->workload, container, REASON(SYSCALL_DENIED), NULL,
			       "%s(2) denied to %s", name, fact->call->program);
	else
		workload_event(container->workload, container, REASON(SYSCALL_DENIED), NULL,
			       "syscall %u denied to %s", fact->call->number, fact->call->program);
}

static void took_unkillable(struct engine *engine, const Berth__Sandbox__V1__Unkillable *fact)
{
	struct container *container = find(engine, fact->ref);
	struct workload *workload;

	if (!container || !container_is_live(container) || container->stuck)
		return;
	workload = container->workload;
	container->stuck = true;
	workload_set_state(workload, STATE(STUCK), REASON(UNKILLABLE),
			   "%s %s cannot be killed: %s%s", container_role_name(container),
			   container->spec->name,
			   fact->n_processes ? fact->processes[0] : "a process does not end",
			   fact->n_processes > 1 ? ", and others" : "");
	drain_advance(workload->engine);
}

/* Without memory nothing is refused beforehand: berth-sandboxd looks at everything itself. */
static void took_host(struct engine *engine, const Berth__Sandbox__V1__HelloResult *hello)
{
	if (host_take_hello(&engine->host, hello) == 0)
		engine_start_waiting(engine);
}

void fact_arrived(struct engine *engine, const Berth__Sandbox__V1__Fact *fact, int *fds,
		  size_t n_fds)
{
	struct container *container;

	if (sessions_took_fact(engine, fact))
		return;
	switch (fact->fact_case) {
	case BERTH__SANDBOX__V1__FACT__FACT_STARTED:
		container = find(engine, fact->started->ref);
		if (container)
			container_took_started(container, fact->started, fds, n_fds);
		break;
	case BERTH__SANDBOX__V1__FACT__FACT_START_FAILED:
		took_start_failed(engine, fact->start_failed);
		break;
	case BERTH__SANDBOX__V1__FACT__FACT_EXITED:
		took_exited(engine, fact->exited);
		break;
	case BERTH__SANDBOX__V1__FACT__FACT_DENIED:
		took_denied(engine, fact->denied);
		break;
	case BERTH__SANDBOX__V1__FACT__FACT_UNKILLABLE:
		took_unkillable(engine, fact->unkillable);
		break;
	case BERTH__SANDBOX__V1__FACT__FACT_HOST:
		took_host(engine, fact->host);
		break;
	default: /* of a later release */
		break;
	}
}
