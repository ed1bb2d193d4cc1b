/* pause and resume: the same request under two names, a row each. */
#include "agent/cli/each.h"
#include "agent/cli/verbs.h"

struct freezing {
	const char *verb;
	const char *method;
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *response;
};

/* Either request is a fence and an id, either answer a status: Pause's stand for both below. */
#define SAME(a, b, field) _Static_assert(offsetof(a, field) == offsetof(b, field), #field)
SAME(Berth__V1__PauseRequest, Berth__V1__ResumeRequest, fence);
SAME(Berth__V1__PauseRequest, Berth__V1__ResumeRequest, id);
SAME(Berth__V1__PauseResponse, Berth__V1__ResumeResponse, status);
_Static_assert(sizeof(Berth__V1__PauseRequest) == sizeof(Berth__V1__ResumeRequest), "request");

static int freeze_one(struct cli *cli, const char *id, void *userdata)
{
	const struct freezing *freezing = userdata;
	Berth__V1__PauseRequest request = BERTH__V1__PAUSE_REQUEST__INIT;
	Berth__V1__Fence fence;
	struct grpc_reply reply;
	int code = cli_fence(cli, id, &fence);

	if (code != CLI_OK)
		return code;
	request.base.descriptor = freezing->request;
	request.fence = &fence;
	request.id = (char *)id;
	code = cli_call(cli, freezing->method, &request.base, freezing->response, &reply);
	if (code != CLI_OK)
		return code;
	each_print(cli, ((const Berth__V1__PauseResponse *)reply.message)->status);
	grpc_reply_done(&reply);
	return CLI_OK;
}

static int freeze(struct cli *cli, int argc, char **argv, struct freezing freezing)
{
	if (!verb_has_no_options(cli, argc, argv))
		return verb_misused(freezing.verb, NULL);
	return each(cli, freezing.verb, argc - optind, argv + optind, freeze_one, &freezing);
}

VERB(pause)
{
	return freeze(cli, argc, argv,
		      (struct freezing){ "pause", "Pause", &berth__v1__pause_request__descriptor,
					 &berth__v1__pause_response__descriptor });
}

VERB(resume)
{
	return freeze(cli, argc, argv,
		      (struct freezing){ "resume", "Resume", &berth__v1__resume_request__descriptor,
					 &berth__v1__resume_response__descriptor });
}
