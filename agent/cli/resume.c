#include "agent/cli/each.h"
#include "agent/cli/verbs.h"

static int resume_one(struct cli *cli, const char *id, void *userdata)
{
	Berth__V1__ResumeRequest request = BERTH__V1__RESUME_REQUEST__INIT;
	Berth__V1__Fence fence;
	struct grpc_reply reply;
	int code = cli_fence(cli, id, &fence);

	if (code != CLI_OK)
		return code;
	request.fence = &fence;
	request.id = (char *)id;
	code = cli_call(cli, "Resume", &request.base, &berth__v1__resume_response__descriptor,
			&reply);
	if (code != CLI_OK)
		return code;
	each_print(cli, ((const Berth__V1__ResumeResponse *)reply.message)->status);
	grpc_reply_done(&reply);
	return CLI_OK;
}

VERB(resume)
{
	return each(cli, "resume", argc - 1, argv + 1, resume_one, NULL);
}
