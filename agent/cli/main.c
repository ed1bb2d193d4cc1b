/*
 * berthctl: its own options, then the verb, which takes them too.
 */
#include <signal.h>
#include <string.h>

#include "agent/cli/options.h"
#include "agent/cli/verbs.h"

#define DEFAULT_ADDRESS "unix:///run/berth/berthd.sock"

static void usage(FILE *file)
{
	(void)fprintf(
		file,
		"usage: berthctl [OPTIONS] VERB ...\n\n"
		"  -a, --address ADDRESS  " DEFAULT_ADDRESS " or host:port\n"
		"                         (environment: BERTH_ADDRESS)\n"
		"      --cert FILE, --key FILE, --ca FILE, --server-name NAME    for host:port\n"
		"                         (BERTH_CERT, BERTH_KEY, BERTH_CA)\n"
		"  -o, --output FORM      table (default) or json\n"
		"  -q, --quiet            for scripts: ids alone; of why, the sentence alone\n"
		"      --raw              do not escape control characters of workloads\n"
		"      --timeout DURATION for one call; default 2m\n"
		"      --epoch N          of the scheduler; default: the highest that the host has seen\n"
		"      --version, --help\n\n"
		"All but -a may stand behind the verb too.\n\n"
		"verbs (berthctl VERB --help):\n");
	for (size_t i = 0; i < verb_count; i++)
		(void)fprintf(file, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
	(void)fprintf(
		file,
		"\nexit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 invalid, 5 not allowed,\n"
		"6 unavailable or late, 7 exhausted, 8 the state forbids it; run and exec: the program's own,\n"
		"128 + n for signal n, 125 when it could not be started\n");
}

static int run_verb(struct cli *cli, int argc, char **argv)
{
	const struct verb *verb = verb_find(argv[0]);
	int code;

	if (!verb)
		return cli_fail(CLI_USAGE, "%s is no verb; berthctl --help lists them", argv[0]);
	optind = 0; /* getopt(3): start anew, GNU's way */
	code = verb->run(cli, argc, argv);
	cli_close(cli);
	return code;
}

int main(int argc, char **argv)
{
	struct cli cli = {
		.address = getenv("BERTH_ADDRESS"),
		.certificate = getenv("BERTH_CERT"),
		.key = getenv("BERTH_KEY"),
		.ca = getenv("BERTH_CA"),
		.timeout_us = 120 * UINT64_C(1000000),
	};
	int option;

	(void)signal(SIGPIPE, SIG_IGN);
	if (!cli.address)
		cli.address = DEFAULT_ADDRESS;
	/* "+": what stands behind the verb is the verb's. */
	while ((option = getopt_long(argc, argv, "+a:" CLI_SHORT_OPTIONS, cli_options, NULL)) >=
	       0) {
		int code;

		if (option == 'h') {
			usage(stdout);
			return CLI_OK;
		}
		code = cli_take_option(&cli, option == 'a' ? CLI_OPTION_ADDRESS : option);
		if (code >= 0)
			return code;
	}
	if (optind == argc) {
		usage(stderr);
		return CLI_USAGE;
	}
	return run_verb(&cli, argc - optind, argv + optind);
}
