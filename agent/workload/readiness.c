/*
 * Who is ready: a container by its probes, a workload when all of it is. Told in the status, and by an event
 * where a probe has a say in it: a workload without probes is ready when it runs, which is told already.
 */
#include <stdio.h>
#include <string.h>

#include "agent/workload/model.h"

static bool is_asked(const struct container *container)
{
	return container->spec->startup_probe || container->spec->readiness_probe;
}

/* Init containers are over by then. */
static bool is_all_ready(const struct workload *workload, bool *ret_asked)
{
	bool ready = workload->state == STATE(RUNNING);

	*ret_asked = false;
	for (size_t i = 0; i < workload->n_containers; i++) {
		const struct container *container = &workload->containers[i];

		if (container->spec->role == ROLE(INIT))
			continue;
		ready &= container->ready;
		*ret_asked |= is_asked(container);
	}
	return ready;
}

void readiness_update(struct workload *workload)
{
	bool asked;
	bool ready = is_all_ready(workload, &asked);

	if (ready == workload->ready)
		return;
	workload->ready = ready;
	workload->ready_changed_wall_ns = timer_wall_ns(&workload->engine->timers);
	workload_touch(workload);
	/* Where it does not run any more, that was told. */
	if (!asked || workload->state != STATE(RUNNING))
		return;
	if (ready)
		workload_event(workload, NULL, REASON(BECAME_READY), NULL,
			       "all its containers are ready");
	else
		workload_event(workload, NULL, REASON(BECAME_UNREADY), NULL,
			       "not all its containers are ready");
}

/* Nothing has failed yet. A sentence of a failure stays: the same one is put differently each time by who
 * wants to see it written to the disk. */
static bool is_waiting(const struct container *container)
{
	return !*container->unready || strncmp(container->unready, "its ", 4) == 0;
}

void readiness_set(struct container *container, bool ready, const char *why)
{
	struct workload *workload = container->workload;
	bool first = container->ready_changed_wall_ns == 0;

	if (ready == container->ready && (ready || !is_waiting(container)))
		return;
	if (ready != container->ready || first)
		container->ready_changed_wall_ns = timer_wall_ns(&workload->engine->timers);
	(void)snprintf(container->unready, sizeof(container->unready), "%s", why);
	workload_touch(workload);
	if (ready == container->ready)
		return; /* only why it is not is news */
	container->ready = ready;
	if (is_asked(container) && ready)
		workload_event(workload, container, REASON(BECAME_READY), NULL, "%s %s is ready",
			       container_role_name(container), container->spec->name);
	else if (is_asked(container))
		workload_event(workload, container, REASON(BECAME_UNREADY), NULL,
			       "%s %s is not ready: %s", container_role_name(container),
			       container->spec->name, why);
	readiness_update(workload);
}

void readiness_lost(struct container *container, const char *why)
{
	if (container->ready)
		container->ready_changed_wall_ns =
			timer_wall_ns(&container->workload->engine->timers);
	container->ready = false;
	(void)snprintf(container->unready, sizeof(container->unready), "%s", why);
	readiness_update(container->workload);
}
