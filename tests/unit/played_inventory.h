/* What a berth-sandboxd that is played (sandbox_player.h) tells of when the next connection begins. */
#pragma once

#include "sandbox_player.h"

void played_knows_nothing(struct player *player);
/* Of @workload, as it was last launched: @container in @state (proto/page.h). Until played_knows_nothing(). */
Berth__Sandbox__V1__KnownContainer *played_knows(struct player *player, const char *workload,
						 const char *container, uint32_t attempt,
						 uint32_t state);
void played_knows_exit(struct player *player, const char *workload, const char *container,
		       uint32_t attempt, int code, int status);
