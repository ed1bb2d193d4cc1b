#include "agent/cli/schedulable.h"
#include "agent/cli/verbs.h"

VERB(undrain)
{
	if (!verb_has_no_options(cli, argc, argv))
		return verb_misused("undrain", NULL);
	if (optind < argc)
		return verb_misused("undrain", "it takes no names: it is of the whole host");
	return schedulable_set(cli, true, "", 0);
}
