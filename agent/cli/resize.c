#include "agent/cli/each.h"
#include "agent/cli/resources.h"
#include "agent/cli/verbs.h"

VERB(resize)
{
	static const struct option options[] = { RESOURCES_LONG_OPTIONS, { 0 } };
	Berth__V1__UpdateResourcesRequest request = BERTH__V1__UPDATE_RESOURCES_REQUEST__INIT;
	Berth__V1__Resources resources = BERTH__V1__RESOURCES__INIT;
	Berth__V1__Fence fence;
	struct grpc_reply reply;
	int option, code, taken = 0;

	while ((option = verb_next_option(cli, argc, argv, RESOURCES_SHORT_OPTIONS, options)) >=
	       0) {
		int r = resources_take_option(&resources, option, optarg);

		if (r == 0)
			return verb_misused("resize", NULL);
		if (r < 0)
			return CLI_USAGE;
		taken++;
	}
	if (taken == 0)
		return verb_misused("resize", "which limit?");
	if (argc - optind < 1 || argc - optind > 2)
		return verb_misused("resize", "one workload, or one container of it");
	request.id = argv[optind];
	if (argc - optind == 2)
		request.container = argv[optind + 1];
	request.resources = &resources;
	code = cli_fence(cli, request.id, &fence);
	if (code != CLI_OK)
		return code;
	request.fence = &fence;
	code = cli_call(cli, "UpdateResources", &request.base,
			&berth__v1__update_resources_response__descriptor, &reply);
	if (code != CLI_OK)
		return code;
	each_print(cli, ((const Berth__V1__UpdateResourcesResponse *)reply.message)->status);
	grpc_reply_done(&reply);
	return CLI_OK;
}
