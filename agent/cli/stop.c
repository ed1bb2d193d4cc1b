#include "agent/cli/each.h"
#include "agent/cli/verbs.h"
#include "proto/quantity.h"

struct stop_options {
	bool has_grace;
	uint64_t grace_ms;
};

static int stop_one(struct cli *cli, const char *id, void *userdata)
{
	const struct stop_options *options = userdata;
	Berth__V1__StopRequest request = BERTH__V1__STOP_REQUEST__INIT;
	Berth__V1__Fence fence;
	struct grpc_reply reply;
	int code = cli_fence(cli, id, &fence);

	if (code != CLI_OK)
		return code;
	request.fence = &fence;
	request.id = (char *)id;
	if (options->has_grace) {
		request._grace_ms_case = BERTH__V1__STOP_REQUEST___GRACE_MS_GRACE_MS;
		request.grace_ms = (uint32_t)options->grace_ms;
	}
	code = cli_call(cli, "Stop", &request.base, &berth__v1__stop_response__descriptor, &reply);
	if (code != CLI_OK)
		return code;
	each_print(cli, ((const Berth__V1__StopResponse *)reply.message)->status);
	grpc_reply_done(&reply);
	return CLI_OK;
}

VERB(stop)
{
	static const struct option options[] = { { "grace", required_argument, NULL, 'g' }, { 0 } };
	struct stop_options stop = { 0 };
	struct err err = { 0 };
	int option;

	while ((option = verb_next_option(cli, argc, argv, "g:", options)) >= 0) {
		if (option != 'g')
			return verb_misused("stop", NULL);
		if (quantity_parse_duration_ms(optarg, &stop.grace_ms, &err) < 0)
			return cli_fail_usage(&err, "--grace");
		stop.has_grace = true;
	}
	return each(cli, "stop", argc - optind, argv + optind, stop_one, &stop);
}
