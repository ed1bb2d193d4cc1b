#include "agent/cli/each.h"

#include <string.h>

#include "agent/cli/text.h"
#include "agent/cli/verbs.h"

int each(struct cli *cli, const char *verb, int count, char **ids, each_call call, void *userdata)
{
	int first = CLI_OK;

	if (count == 0)
		return verb_misused(verb, "which workload?");
	for (int i = 0; i < count; i++) {
		int code = call(cli, ids[i], userdata);

		if (first == CLI_OK)
			first = code;
	}
	return first;
}

void each_print(const struct cli *cli, const Berth__V1__WorkloadStatus *status)
{
	char sentence[TEXT_ESCAPED_MAX];

	if (cli->quiet)
		(void)puts(status->id);
	else if (cli->json)
		(void)cli_print_json(&status->base, false);
	else
		(void)printf("%s: %s%s%s%s\n", status->id, text_state(status->state),
			     status->paused ? " (paused)" : "", status->sentence[0] ? ": " : "",
			     text_escape(status->sentence, strlen(status->sentence), sentence));
}
