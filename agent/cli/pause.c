#include "agent/cli/each.h"
#include "agent/cli/verbs.h"

static int pause_one(struct cli *cli, const char *id, void *userdata)
{
	Berth__V1__PauseRequest request = BERTH__V1__PAUSE_REQUEST__INIT;
	Berth__V1__Fence fence;
	struct grpc_reply reply;
	int code = cli_fence(cli, id, &fence);

	if (code != CLI_OK)
		return code;
	request.fence = &fence;
	request.id = (char *)id;
	code = cli_call(cli, "Pause", &request.base, &berth__v1__pause_response__descriptor,
			&reply);
	if (code != CLI_OK)
		return code;
	each_print(cli, ((const Berth__V1__PauseResponse *)reply.message)->status);
	grpc_reply_done(&reply);
	return CLI_OK;
}

VERB(pause)
{
	return each(cli, "pause", argc - 1, argv + 1, pause_one, NULL);
}
