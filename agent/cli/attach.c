#include <string.h>
#include <unistd.h>

#include "agent/cli/session.h"
#include "agent/cli/verbs.h"

/* Whether the container has a terminal: then ours goes into raw mode. */
static int has_terminal(struct cli *cli, const Berth__V1__AttachStart *start, bool *ret)
{
	Berth__V1__GetRequest request = BERTH__V1__GET_REQUEST__INIT;
	const Berth__V1__WorkloadSpec *spec;
	struct grpc_reply reply;
	int code;

	request.id = start->id;
	code = cli_call(cli, "Get", &request.base, &berth__v1__get_response__descriptor, &reply);
	if (code != CLI_OK)
		return code;
	spec = ((const Berth__V1__GetResponse *)reply.message)->workload->spec;
	*ret = false;
	for (size_t i = 0; i < spec->n_containers; i++)
		if (!start->container[0] ||
		    strcmp(start->container, spec->containers[i]->name) == 0)
			*ret |= spec->containers[i]->tty;
	grpc_reply_done(&reply);
	return CLI_OK;
}

VERB(attach)
{
	Berth__V1__AttachRequest request = BERTH__V1__ATTACH_REQUEST__INIT;
	Berth__V1__AttachStart start = BERTH__V1__ATTACH_START__INIT;
	Berth__V1__TerminalSize size;
	struct session_options session;
	enum session_end end;
	bool tty = false;
	int code;

	if (!verb_has_no_options(cli, argc, argv))
		return verb_misused("attach", NULL);
	if (argc - optind < 1 || argc - optind > 2)
		return verb_misused("attach", "one workload, or one container of it");
	start.id = argv[optind];
	if (argc - optind == 2)
		start.container = argv[optind + 1];
	code = has_terminal(cli, &start, &tty);
	if (code != CLI_OK)
		return code;
	if (tty && session_terminal_size(&size))
		start.size = &size;
	request.message_case = BERTH__V1__ATTACH_REQUEST__MESSAGE_START;
	request.start = &start;
	session = (struct session_options){ .is_attach = true,
					    .first = &request.base,
					    .send_stdin = true,
					    .tty = tty && isatty(STDIN_FILENO) };
	return session_run(cli, &session, &end);
}
