#include "played_inventory.h"

#include <string.h>

#include "proto/page.h"

static struct {
	Berth__Sandbox__V1__KnownWorkload workloads[4];
	Berth__Sandbox__V1__KnownWorkload *workload_list[4];
	Berth__Sandbox__V1__KnownContainer containers[4][4];
	Berth__Sandbox__V1__KnownContainer *container_lists[4][4];
	Berth__Sandbox__V1__Exited exits[4][4];
} known;

void played_knows_nothing(struct player *player)
{
	memset(&known, 0, sizeof(known));
	player->inventory.n_workloads = 0;
	player->inventory.workloads = known.workload_list;
}

/* Of @workload, as it was last launched: the container's state. */
Berth__Sandbox__V1__KnownContainer *played_knows(struct player *player, const char *workload,
						 const char *container, uint32_t attempt,
						 uint32_t state)
{
	const Berth__Sandbox__V1__Launch *launch = player_last_launch(player, workload, container);
	size_t i = 0;
	size_t j;

	assert_non_null(launch);
	while (i < player->inventory.n_workloads &&
	       strcmp(known.workloads[i].workload, workload) != 0)
		i++;
	if (i == player->inventory.n_workloads) {
		berth__sandbox__v1__known_workload__init(&known.workloads[i]);
		known.workloads[i].workload = (char *)workload;
		known.workloads[i].instance = launch->ref->instance;
		known.workloads[i].containers = known.container_lists[i];
		known.workload_list[i] = &known.workloads[i];
		player->inventory.n_workloads++;
	}
	j = known.workloads[i].n_containers++;
	berth__sandbox__v1__known_container__init(&known.containers[i][j]);
	known.containers[i][j].container = (char *)container;
	known.containers[i][j].attempt = attempt;
	known.containers[i][j].state = state;
	known.container_lists[i][j] = &known.containers[i][j];
	return &known.containers[i][j];
}

void played_knows_exit(struct player *player, const char *workload, const char *container,
		       uint32_t attempt, int code, int status)
{
	Berth__Sandbox__V1__KnownContainer *it = played_knows(player, workload, container, attempt,
							      PAGE_EXITED);
	Berth__Sandbox__V1__Exited *exit = &known.exits[0][0];

	while (exit->base.descriptor)
		exit++;
	berth__sandbox__v1__exited__init(exit);
	exit->exit_si_code = code;
	exit->exit_si_status = status;
	it->exited = exit;
}
