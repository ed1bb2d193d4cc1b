#include "agent/cli/verbs.h"

static int inspect_one(struct cli *cli, const char *id, bool spec_only)
{
	Berth__V1__GetRequest request = BERTH__V1__GET_REQUEST__INIT;
	const Berth__V1__Workload *workload;
	struct grpc_reply reply;
	int code;

	request.id = (char *)id;
	code = cli_call(cli, "Get", &request.base, &berth__v1__get_response__descriptor, &reply);
	if (code != CLI_OK)
		return code;
	workload = ((const Berth__V1__GetResponse *)reply.message)->workload;
	if (cli->quiet)
		(void)puts(workload->status->id);
	else
		code = cli_print_json(spec_only ? &workload->spec->base : &workload->base,
				      !cli->json);
	grpc_reply_done(&reply);
	return code;
}

VERB(inspect)
{
	static const struct option options[] = { { "spec", no_argument, NULL, 's' }, { 0 } };
	bool spec_only = false;
	int option, code = CLI_OK;

	while ((option = verb_next_option(cli, argc, argv, "", options)) >= 0) {
		if (option != 's')
			return verb_misused("inspect", NULL);
		spec_only = true;
	}
	if (optind == argc)
		return verb_misused("inspect", "which workload?");
	for (int i = optind; i < argc && code == CLI_OK; i++)
		code = inspect_one(cli, argv[i], spec_only);
	return code;
}
