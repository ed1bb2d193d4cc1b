#include "agent/cli/schedulable.h"

int schedulable_set(struct cli *cli, bool schedulable, const char *why, uint64_t deadline_ms)
{
	Berth__V1__SetSchedulableRequest request = BERTH__V1__SET_SCHEDULABLE_REQUEST__INIT;
	const Berth__V1__Node *node;
	Berth__V1__Fence fence;
	struct grpc_reply reply;
	int code = cli_fence(cli, NULL, &fence);

	if (code != CLI_OK)
		return code;
	request.fence = &fence;
	request.schedulable = schedulable;
	request.sentence = (char *)why;
	request.drain_deadline_ms = deadline_ms;
	code = cli_call(cli, "SetSchedulable", &request.base,
			&berth__v1__set_schedulable_response__descriptor, &reply);
	if (code != CLI_OK)
		return code;
	node = ((const Berth__V1__SetSchedulableResponse *)reply.message)->node;
	if (cli->json)
		code = cli_print_json(&node->base, false);
	else if (!cli->quiet)
		(void)printf("%s: %s\n", node->hostname,
			     node->schedulable ? "accepts workloads" : "accepts no workloads");
	grpc_reply_done(&reply);
	return code;
}
