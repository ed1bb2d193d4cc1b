#include "agent/cli/schedulable.h"
#include "agent/cli/verbs.h"
#include "proto/quantity.h"

VERB(drain)
{
	static const struct option options[] = { { "deadline", required_argument, NULL, 'd' },
						 { "message", required_argument, NULL, 'm' },
						 { 0 } };
	const char *why = "drained by berthctl";
	struct err err = { 0 };
	uint64_t deadline_ms = 0;
	int option;

	while ((option = verb_next_option(cli, argc, argv, "d:m:", options)) >= 0) {
		if (option == 'm')
			why = optarg;
		else if (option != 'd')
			return verb_misused("drain", NULL);
		else if (quantity_parse_duration_ms(optarg, &deadline_ms, &err) < 0)
			return cli_fail_usage(&err, "--deadline");
	}
	if (optind < argc)
		return verb_misused("drain", "it takes no names: it is of the whole host");
	return schedulable_set(cli, false, why, deadline_ms);
}
