#include "agent/cli/each.h"
#include "agent/cli/verbs.h"

static int remove_one(struct cli *cli, const char *id, void *userdata)
{
	const bool *force = userdata;
	Berth__V1__DeleteRequest request = BERTH__V1__DELETE_REQUEST__INIT;
	Berth__V1__Fence fence;
	struct grpc_reply reply;
	int code = cli_fence(cli, id, &fence);

	if (code != CLI_OK)
		return code;
	request.fence = &fence;
	request.id = (char *)id;
	request.force = *force;
	code = cli_call(cli, "Delete", &request.base, &berth__v1__delete_response__descriptor,
			&reply);
	if (code != CLI_OK)
		return code;
	if (cli->json)
		each_print(cli, ((const Berth__V1__DeleteResponse *)reply.message)->status);
	else
		(void)puts(id);
	grpc_reply_done(&reply);
	return CLI_OK;
}

VERB(rm)
{
	static const struct option options[] = { { "force", no_argument, NULL, 'f' }, { 0 } };
	bool force = false;
	int option;

	while ((option = verb_next_option(cli, argc, argv, "f", options)) >= 0) {
		if (option != 'f')
			return verb_misused("rm", NULL);
		force = true;
	}
	return each(cli, "rm", argc - optind, argv + optind, remove_one, &force);
}
