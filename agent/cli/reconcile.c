#include <string.h>

#include "agent/cli/text.h"
#include "agent/cli/verbs.h"

static const char *verb_name(int verb)
{
	const ProtobufCEnumValue *value =
		protobuf_c_enum_descriptor_get_value(&berth__v1__reconcile_verb__descriptor, verb);
	const char *name = value ? value->name : "?";

	return strncmp(name, "RECONCILE_", 10) == 0 ? name + 10 : name;
}

static int print_actions(const struct cli *cli, const Berth__V1__ReconcileResponse *response)
{
	static const char *const heads[] = { "ID", "ACTION", "FROM", "TO", "WHY", NULL };
	struct table *table;
	int code = CLI_OK;

	if (cli->json)
		return cli_print_json(&response->base, false);
	table = cli->quiet ? NULL : table_new(heads);
	for (size_t i = 0; i < response->n_actions; i++) {
		const Berth__V1__ReconcileAction *action = response->actions[i];

		table_add(table, "%s", action->id);
		table_add(table, "%s", verb_name(action->verb));
		table_add(table, "%llu", (unsigned long long)action->from_generation);
		table_add(table, "%llu", (unsigned long long)action->to_generation);
		table_add(table, "%s", action->sentence);
		if (action->verb == BERTH__V1__RECONCILE_VERB__RECONCILE_REFUSE)
			code = CLI_CONFLICT;
	}
	table_end(table, stdout);
	return code;
}

VERB(reconcile)
{
	static const struct option options[] = { { "file", required_argument, NULL, 'f' },
						 { "dry-run", no_argument, NULL, 'd' },
						 { 0 } };
	Berth__V1__ReconcileRequest *request;
	cleanup_arena struct arena arena;
	struct grpc_reply reply;
	Berth__V1__Fence fence;
	const char *path = NULL;
	bool dry_run = false;
	int option, code;

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	while ((option = verb_next_option(cli, argc, argv, "f:", options)) >= 0) {
		if (option == 'f')
			path = optarg;
		else if (option == 'd')
			dry_run = true;
		else
			return verb_misused("reconcile", NULL);
	}
	if (!path || optind < argc)
		return verb_misused("reconcile", "a file is needed, by -f, and nothing else");
	request = cli_read_json(path, &berth__v1__reconcile_request__descriptor, &arena);
	if (!request)
		return CLI_USAGE;
	request->dry_run |= dry_run;
	if (!request->fence) {
		code = cli_fence(cli, NULL, &fence);
		if (code != CLI_OK)
			return code;
		request->fence = &fence;
	}
	code = cli_call(cli, "Reconcile", &request->base,
			&berth__v1__reconcile_response__descriptor, &reply);
	if (code != CLI_OK)
		return code;
	code = print_actions(cli, (const Berth__V1__ReconcileResponse *)reply.message);
	grpc_reply_done(&reply);
	return code;
}
