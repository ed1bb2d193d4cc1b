#include <string.h>

#include "agent/cli/node_print.h"
#include "agent/cli/verbs.h"

VERB(node)
{
	const Berth__V1__GetNodeRequest request = BERTH__V1__GET_NODE_REQUEST__INIT;
	const Berth__V1__Node *node;
	struct grpc_reply reply;
	int code;

	if (!verb_has_no_options(cli, argc, argv))
		return verb_misused("node", NULL);
	if (optind < argc)
		return verb_misused("node",
				    "it takes no names; another host is --address HOST:PORT");
	code = cli_call(cli, "GetNode", &request.base, &berth__v1__get_node_response__descriptor,
			&reply);
	if (code != CLI_OK)
		return code;
	node = ((const Berth__V1__GetNodeResponse *)reply.message)->node;
	if (cli->quiet)
		(void)puts(node->hostname);
	else if (cli->json)
		code = cli_print_json(&node->base, false);
	else
		node_print(node, stdout);
	grpc_reply_done(&reply);
	return code;
}
