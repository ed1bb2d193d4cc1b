/*
 * What callers are told of a workload is what is on record: a scheduler that read that it has ended, and placed
 * it elsewhere, is not to find it running after a power cut. While a life is on its way to the disk the one
 * before it is told, so that nobody who asks waits for the disk. Where the disk fails, there will be none but
 * the last: then that is told, as it is answered.
 *
 *	told   the last one that was answered
 *	next   put after that: what is told next
 *	last   put after that. What lies between it and the next is never told
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/canonical.h"
#include "agent/workload/model.h"

struct kept_life *kept_life_new(struct spec *spec, const Berth__Agent__V1__Life *life)
{
	size_t n = berth__agent__v1__life__get_packed_size(life);
	struct kept_life *kept = malloc(sizeof(*kept) + n);

	if (!kept)
		return NULL;
	kept->ticket = 0;
	kept->spec = spec_ref(spec);
	kept->told = (struct engine_told){ .state = life->status->state,
					   .generation = life->status->generation,
					   .restarts = life->status->restarts };
	kept->n = n;
	(void)berth__agent__v1__life__pack(life, kept->bytes);
	return kept;
}

void kept_life_free(struct kept_life *kept)
{
	if (!kept)
		return;
	spec_free(kept->spec);
	free(kept);
}

const struct kept_life *told_last(const struct workload *workload)
{
	if (workload->last)
		return workload->last;
	return workload->next ? workload->next : workload->told;
}

void told_put(struct workload *workload, struct kept_life *kept)
{
	if (!workload->next) {
		workload->next = kept;
		return;
	}
	kept_life_free(workload->last);
	workload->last = kept;
}

void told_answered(struct workload *workload, uint64_t ticket)
{
	struct kept_life *next = workload->next;

	if (workload->last && workload->last->ticket == ticket) {
		kept_life_free(next);
		next = workload->last;
		workload->last = NULL;
	} else if (!next || next->ticket != ticket) {
		return;
	}
	kept_life_free(workload->told);
	workload->told = next;
	workload->next = workload->last;
	workload->last = NULL;
}

void told_forget(struct workload *workload)
{
	kept_life_free(workload->told);
	kept_life_free(workload->next);
	kept_life_free(workload->last);
	workload->told = workload->next = workload->last = NULL;
}

/* ---- telling -------------------------------------------------------------------------------------- */

/* What it is now is on record, or cannot be. */
static bool is_now(const struct workload *workload)
{
	return !workload->next && (workload->told || workload->durable);
}

bool told_is_there(const struct workload *workload)
{
	return workload->told || is_now(workload);
}

const Berth__V1__WorkloadSpec *told_spec(const struct workload *workload)
{
	const struct spec *spec = is_now(workload) || !workload->told ? workload->spec
								      : workload->told->spec;

	return spec->message;
}

struct engine_told engine_workload_told(const struct workload *workload)
{
	if (workload->told && !is_now(workload))
		return workload->told->told;
	return (struct engine_told){ .state = workload->state,
				     .generation = workload->generation,
				     .restarts = workload->restarts };
}

/* What is not in a life: labels, and what a clock says. */
static void complete(const struct workload *workload, const Berth__Agent__V1__Life *life,
		     Berth__V1__WorkloadStatus *status)
{
	const Berth__V1__WorkloadSpec *spec = workload->told->spec->message;
	uint64_t now = timer_boot_ns(&workload->engine->timers);

	status->n_labels = spec->n_labels;
	status->labels = (Berth__V1__WorkloadStatus__LabelsEntry **)spec->labels;
	if (status->state == STATE(BACKOFF) && life->next_restart_boot_ns > now)
		status->next_restart_in_ms = (life->next_restart_boot_ns - now) / NS_PER_MS;
	status_fill_lease(workload, status);
	if (status->event_sequence > workload->engine->events.durable)
		status->event_sequence = workload->engine->events.durable;
}

int engine_fill_status(const struct workload *workload, struct arena *arena,
		       Berth__V1__WorkloadStatus *ret)
{
	const struct kept_life *told = workload->told;
	Berth__Agent__V1__Life *life;

	if (!told || is_now(workload))
		return status_fill_now(workload, arena, ret);
	life = berth__agent__v1__life__unpack(&arena->allocator, told->n, told->bytes);
	if (!life)
		return -ENOMEM;
	*ret = *life->status;
	complete(workload, life, ret);
	return 0;
}
