/* Bytes from a hostile berthd, up to where a handler would touch the host: there is no workload, and the
 * policy admits none. What a launch would check is checked beside it. */
#include <stddef.h>
#include <stdint.h>

#include "proto/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/hierarchy.h"
#include "proto/wirecheck.h"
#include "sandbox/requests.h"
#include "sandbox/requests_limits.h"
#include "sandbox/requests_program.h"
#include "sandbox/sandboxd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

void __wrap_agent_link_reply(struct agent_link *link, struct asker asker,
			     Berth__Sandbox__V1__Reply *reply, const int *fds, size_t n_fds)
{
	(void)berth__sandbox__v1__reply__get_packed_size(reply);
}

void __wrap_agent_link_reply_failure(struct agent_link *link, struct asker asker,
				     const struct err *err)
{
	if (err->kind == ERR_NONE || !err->text[0])
		__builtin_trap();
}

bool __wrap_agent_link_is_ready(const struct agent_link *link)
{
	return true;
}

void __wrap_agent_link_set_ready(struct agent_link *link, bool ready)
{
}

static struct sandboxd *new_host(void)
{
	static struct hierarchy hierarchy = { .layout = HIERARCHY_LEGACY };
	static struct sandboxd host = { .run_fd = -1, .log_fd = -1, .hierarchy = &hierarchy };

	log_set_priority_max(-1);
	if (policy_load_text("", &host.policy, NULL) < 0)
		__builtin_trap();
	host.policy.max_workloads = 0;
	return &host;
}

/* The checks of a launch that need no workload. */
static void check_launch(const Berth__Sandbox__V1__Launch *launch, const struct policy *policy,
			 struct arena *arena)
{
	const struct program_wish wish = {
		launch->command,      launch->n_command,      launch->env,    launch->n_env,
		launch->working_dir,  launch->user,           launch->groups, launch->n_groups,
		launch->capabilities, launch->n_capabilities,
	};
	struct taskgroup_limits limits;
	struct program program;

	(void)limits_from_message(launch->limits, policy, &limits, NULL);
	if (program_check(&wish, policy, arena, &program, NULL) == 0 &&
	    (program.capabilities & ~policy->capabilities || !program.argv[0]))
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_arena struct arena arena;
	const Berth__Sandbox__V1__Request *request;
	static struct sandboxd *host;
	struct packet packet = { .bytes = data, .length = size };
	struct err err = { 0 };

	if (!host)
		host = new_host();
	(void)requests_handle(1, &packet, host, &err);
	if (host->registry.n_workloads)
		__builtin_trap();
	arena_init(&arena, 1 << 20);
	request = wire_unpack(&berth__sandbox__v1__request__descriptor, data, size, &arena, NULL);
	if (request && request->verb_case == BERTH__SANDBOX__V1__REQUEST__VERB_LAUNCH)
		check_launch(request->launch, &host->policy, &arena);
	return 0;
}
