#include "agent/cli/schedulable.h"
#include "agent/cli/verbs.h"

VERB(undrain)
{
	if (argc > 1)
		return verb_misused("undrain");
	return schedulable_set(cli, true, "", 0);
}
