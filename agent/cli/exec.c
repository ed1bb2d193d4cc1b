#include <unistd.h>

#include "agent/cli/labels.h"
#include "agent/cli/session.h"
#include "agent/cli/verbs.h"

static int take_option(Berth__V1__ExecStart *start, Berth__V1__Identity *identity,
		       struct labels *env, struct arena *arena, int option)
{
	switch (option) {
	case 'i':
		start->stdin = true;
		return 0;
	case 't':
		start->tty = true;
		return 0;
	case 'c':
		start->container = optarg;
		return 0;
	case 'w':
		start->working_dir = optarg;
		return 0;
	case 'u':
		identity->user = optarg;
		start->identity = identity;
		return 0;
	case 'e':
		return labels_add(env, optarg, arena) < 0 ? CLI_USAGE : 0;
	default:
		return verb_misused("exec", NULL);
	}
}

VERB(exec)
{
	static const struct option options[] = { { "interactive", no_argument, NULL, 'i' },
						 { "tty", no_argument, NULL, 't' },
						 { "container", required_argument, NULL, 'c' },
						 { "env", required_argument, NULL, 'e' },
						 { "workdir", required_argument, NULL, 'w' },
						 { "user", required_argument, NULL, 'u' },
						 { 0 } };
	Berth__V1__ExecRequest request = BERTH__V1__EXEC_REQUEST__INIT;
	Berth__V1__ExecStart start = BERTH__V1__EXEC_START__INIT;
	Berth__V1__Identity identity = BERTH__V1__IDENTITY__INIT;
	Berth__V1__TerminalSize size;
	cleanup_arena struct arena arena;
	struct labels env = { 0 };
	struct session_options session;
	enum session_end end;
	int option, code;

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	while ((option = verb_next_option(cli, argc, argv, "+itc:e:w:u:", options)) >= 0) {
		code = take_option(&start, &identity, &env, &arena, option);
		if (code != 0)
			return code;
	}
	if (argc - optind < 2)
		return verb_misused("exec", "a workload and a command are needed");
	start.id = argv[optind++];
	if (optind < argc && argv[optind][0] == '-' && argv[optind][1] == '-' && !argv[optind][2])
		optind++;
	start.command = argv + optind;
	start.n_command = (size_t)(argc - optind);
	start.env = (Berth__V1__ExecStart__EnvEntry **)labels_entries(
		&env, &berth__v1__exec_start__env_entry__descriptor, &arena);
	start.n_env = start.env ? env.count : 0;
	if (start.tty && session_terminal_size(&size))
		start.size = &size;
	request.message_case = BERTH__V1__EXEC_REQUEST__MESSAGE_START;
	request.start = &start;
	session = (struct session_options){ .first = &request.base,
					    .send_stdin = start.stdin,
					    .tty = start.tty && isatty(STDIN_FILENO) };
	return session_run(cli, &session, &end);
}
