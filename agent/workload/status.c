/* What a workload looks like from outside. Texts that live as long as the workload are not copied: the
 * caller packs the message before the loop runs again. */
#include <errno.h>
#include <string.h>

#include "agent/workload/model.h"
#include "agent/workload/record.h"

static Berth__V1__WorkloadState state_of(const struct container *container)
{
	const struct workload *workload = container->workload;

	if (container->stuck && container_is_live(container))
		return STATE(STUCK);
	if (container->stop_asked && container_is_live(container))
		return STATE(STOPPING);
	switch (container->phase) {
	case CONTAINER_LAUNCHING:
		return STATE(STARTING);
	case CONTAINER_RUNNING:
		return STATE(RUNNING);
	case CONTAINER_ENDED:
		return workload->state == STATE(BACKOFF) ? STATE(BACKOFF) : STATE(EXITED);
	default:
		if (workload->state == STATE(EXITED) || workload->state == STATE(PULLING))
			return workload->state;
		return STATE(PENDING);
	}
}

/* Figures that change without messages, from the page. */
static int fill_from_page(const struct container *container, struct arena *arena,
			  Berth__V1__ContainerStatus *ret)
{
	struct container_page page;

	ret->log_bytes = container->log_bytes;
	ret->log_dropped_bytes = container->log_dropped_bytes;
	if (!container->page || page_read(container->page, &page, NULL) < 0)
		return 0;
	ret->log_bytes = page.log_bytes;
	ret->log_dropped_bytes = page.log_dropped_bytes;
	for (uint32_t i = 0; i < page.denied_count && i < PAGE_DENIED_MAX; i++)
		if (arena_append(arena, &ret->denied, &ret->n_denied,
				 record_denied(arena, page.denied[i].number, page.denied[i].errnum,
					       page.denied[i].times, page.denied[i].program)) < 0)
			return -ENOMEM;
	return 0;
}

static Berth__V1__ContainerStatus *container_status(const struct container *container,
						    struct arena *arena)
{
	Berth__V1__ContainerStatus *ret = arena_message(arena,
							&berth__v1__container_status__descriptor);

	if (!ret)
		return NULL;
	ret->name = container->spec->name;
	ret->role = container->spec->role;
	ret->state = state_of(container);
	ret->pid = container->pid;
	ret->attempt = container->attempt;
	ret->started_time_unix_ns = container->started_wall_ns;
	ret->n_launch_steps = container->n_steps;
	ret->launch_steps = container->steps;
	ret->n_warnings = container->n_warnings;
	ret->warnings = container->warnings;
	ret->paused = container->workload->paused && container->phase == CONTAINER_RUNNING;
	ret->ready = container->ready;
	ret->ready_changed_unix_ns = container->ready_changed_wall_ns;
	if (!container->ready)
		ret->unready_sentence = (char *)container->unready;
	if (probes_fill(container, arena, ret) < 0 || image_fill(container, arena, ret) < 0)
		return NULL;
	if (container->last_exit)
		ret->last_exit = container->last_exit->message;
	if (fill_from_page(container, arena, ret) < 0)
		return NULL;
	if (container->phase == CONTAINER_ENDED && container->last_exit) {
		ret->n_denied = container->last_exit->message->n_denied;
		ret->denied = container->last_exit->message->denied;
	}
	return ret;
}

void status_fill_lease(const struct workload *workload, Berth__V1__WorkloadStatus *ret)
{
	if (!workload->lease)
		return;
	ret->_lease_left_ms_case = BERTH__V1__WORKLOAD_STATUS___LEASE_LEFT_MS_LEASE_LEFT_MS;
	ret->lease_left_ms = lease_left_ns(workload) / NS_PER_MS;
}

int status_fill_now(const struct workload *workload, struct arena *arena,
		    Berth__V1__WorkloadStatus *ret)
{
	const Berth__V1__WorkloadSpec *spec = workload->spec->message;

	ret->id = (char *)workload->id;
	ret->generation = workload->generation;
	ret->epoch = workload->epoch;
	ret->state = workload->state;
	ret->reason = workload->reason;
	ret->sentence = (char *)workload->sentence;
	ret->restarts = workload->restarts;
	ret->next_restart_unix_ns = workload->state == STATE(BACKOFF)
					    ? workload->next_restart_wall_ns
					    : 0;
	ret->next_restart_in_ms = workload->state == STATE(BACKOFF) ? restart_left_ms(workload) : 0;
	ret->created_time_unix_ns = workload->created_wall_ns;
	ret->changed_time_unix_ns = workload->changed_wall_ns;
	ret->band = spec->band;
	ret->n_labels = spec->n_labels;
	ret->labels = (Berth__V1__WorkloadStatus__LabelsEntry **)spec->labels;
	ret->host_id_first = workload->host_id_first;
	ret->paused = workload->paused;
	if (workload->hold.frozen)
		ret->pressure_step = BERTH__V1__PRESSURE_STEP__PRESSURE_FROZEN;
	else if (workload->hold.high_bytes)
		ret->pressure_step = BERTH__V1__PRESSURE_STEP__PRESSURE_SQUEEZED;
	ret->pressure_sentence = (char *)workload->hold.sentence;
	ret->ready = workload->ready;
	ret->ready_changed_unix_ns = workload->ready_changed_wall_ns;
	if (workload->scheduler)
		ret->scheduler = workload->scheduler;
	status_fill_lease(workload, ret);
	/* A number that was not told may come to be another event's. */
	ret->event_sequence = workload->event_sequence < workload->engine->events.durable
				      ? workload->event_sequence
				      : workload->engine->events.durable;
	if (volume_images_fill(workload, arena, ret) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < workload->n_containers; i++)
		if (arena_append(arena, &ret->containers, &ret->n_containers,
				 container_status(&workload->containers[i], arena)) < 0)
			return -ENOMEM;
	return 0;
}

int status_fill_workload(const struct workload *workload, bool with_spec, struct arena *arena,
			 Berth__V1__Workload *ret)
{
	ret->status = arena_message(arena, &berth__v1__workload_status__descriptor);
	if (!ret->status)
		return -ENOMEM;
	if (with_spec)
		ret->spec = (Berth__V1__WorkloadSpec *)told_spec(workload);
	return engine_fill_status(workload, arena, ret->status);
}
