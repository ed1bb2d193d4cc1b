#include "agent/cli/verbs.h"

VERB(kill)
{
	static const struct option options[] = { { "signal", required_argument, NULL, 's' },
						 { "all", no_argument, NULL, 'a' },
						 { 0 } };
	Berth__V1__SignalRequest request = BERTH__V1__SIGNAL_REQUEST__INIT;
	Berth__V1__Fence fence;
	struct grpc_reply reply;
	int option, code;

	request.signal = (char *)"TERM";
	while ((option = verb_next_option(cli, argc, argv, "s:a", options)) >= 0) {
		if (option == 's')
			request.signal = optarg;
		else if (option == 'a')
			request.all_processes = true;
		else
			return verb_misused("kill", NULL);
	}
	if (argc - optind < 1 || argc - optind > 2)
		return verb_misused("kill", "one workload, or one container of it");
	request.id = argv[optind];
	if (argc - optind == 2)
		request.container = argv[optind + 1];
	code = cli_fence(cli, request.id, &fence);
	if (code != CLI_OK)
		return code;
	request.fence = &fence;
	code = cli_call(cli, "Signal", &request.base, &berth__v1__signal_response__descriptor,
			&reply);
	if (code == CLI_OK)
		grpc_reply_done(&reply);
	return code;
}
