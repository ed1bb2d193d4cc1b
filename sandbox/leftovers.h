/*
 * Control groups that could not be removed at once: a process that was killed may take a moment to be
 * gone, and one that waits for a dead disk takes as long as that. They are killed and tried again, at
 * growing intervals, off everyone's path; the ids of a workload are free only when its group is gone.
 */
#pragma once

#include <stdint.h>

#include <systemd/sd-event.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "sandbox/idrange.h"
#include "sandbox/taskgroup.h"

struct leftovers;

int leftovers_new(sd_event *event, struct idranges *ranges, struct leftovers **ret_leftovers,
		  struct err *err);
void leftovers_free(struct leftovers *leftovers); /* accepts NULL; the groups stay */
DEFINE_CLEANUP(struct leftovers *, leftovers_free)

/*
 * Remove @group, which becomes theirs, now or later; then give the ids from @id_first on back, unless
 * it is 0. Returns 0 when it is gone, 1 when it is tried again by itself: @err then has the reason.
 */
int leftovers_remove(struct leftovers *leftovers, struct taskgroup *group, uint32_t id_first,
		     struct err *err);

size_t leftovers_count(const struct leftovers *leftovers);

/* Try all of them now. Returns how many are left. */
size_t leftovers_retry(struct leftovers *leftovers);
