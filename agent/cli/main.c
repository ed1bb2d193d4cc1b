/*
 * berthctl: global options, then the verb.
 */
#include <getopt.h>
#include <signal.h>
#include <string.h>

#include "agent/cli/verbs.h"
#include "proto/quantity.h"

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
		"verbs (berthctl VERB --help):\n");
	for (size_t i = 0; i < verb_count; i++)
		(void)fprintf(file, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
	(void)fprintf(
		file,
		"\nexit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 invalid, 5 not allowed,\n"
		"6 unavailable or late, 7 exhausted, 8 the state forbids it; run and exec: the program's own,\n"
		"128 + n for signal n, 125 when it could not be started\n");
}

enum {
	OPTION_CERT = 256,
	OPTION_KEY,
	OPTION_CA,
	OPTION_SERVER_NAME,
	OPTION_RAW,
	OPTION_TIMEOUT,
	OPTION_EPOCH,
	OPTION_VERSION,
};

static const struct option options[] = {
	{ "address", required_argument, NULL, 'a' },
	{ "cert", required_argument, NULL, OPTION_CERT },
	{ "key", required_argument, NULL, OPTION_KEY },
	{ "ca", required_argument, NULL, OPTION_CA },
	{ "server-name", required_argument, NULL, OPTION_SERVER_NAME },
	{ "output", required_argument, NULL, 'o' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "raw", no_argument, NULL, OPTION_RAW },
	{ "timeout", required_argument, NULL, OPTION_TIMEOUT },
	{ "epoch", required_argument, NULL, OPTION_EPOCH },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ "help", no_argument, NULL, 'h' },
	{ 0 },
};

/* Returns -1 to go on, or an exit code. */
static int take_option(struct cli *cli, int option)
{
	struct err err = { 0 };
	uint64_t ms;

	switch (option) {
	case 'a':
		cli->address = optarg;
		return -1;
	case OPTION_CERT:
		cli->certificate = optarg;
		return -1;
	case OPTION_KEY:
		cli->key = optarg;
		return -1;
	case OPTION_CA:
		cli->ca = optarg;
		return -1;
	case OPTION_SERVER_NAME:
		cli->server_name = optarg;
		return -1;
	case 'o':
		if (strcmp(optarg, "json") != 0 && strcmp(optarg, "table") != 0)
			return cli_fail(CLI_USAGE, "--output %s: table or json", optarg);
		cli->json = strcmp(optarg, "json") == 0;
		return -1;
	case 'q':
		cli->quiet = true;
		return -1;
	case OPTION_RAW:
		cli->raw = true;
		return -1;
	case OPTION_TIMEOUT:
		if (quantity_parse_duration_ms(optarg, &ms, &err) < 0)
			return cli_fail_usage(&err, "--timeout");
		cli->timeout_us = ms * 1000;
		return -1;
	case OPTION_EPOCH:
		cli->has_epoch = true;
		if (quantity_parse_decimal(optarg, 0, UINT64_MAX, &cli->epoch, &err) < 0)
			return cli_fail_usage(&err, "--epoch");
		return -1;
	case OPTION_VERSION:
		(void)puts("berthctl " BERTH_VERSION);
		return CLI_OK;
	case 'h':
		usage(stdout);
		return CLI_OK;
	default:
		usage(stderr);
		return CLI_USAGE;
	}
}

static int run_verb(struct cli *cli, int argc, char **argv)
{
	const struct verb *verb = verb_find(argv[0]);
	int code;

	if (!verb)
		return cli_fail(CLI_USAGE, "%s is no verb; berthctl --help lists them", argv[0]);
	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		(void)printf("usage: berthctl %s %s\n%s: %s\n%s", verb->name, verb->arguments,
			     verb->name, verb->summary, verb->help ? verb->help : "");
		return CLI_OK;
	}
	code = cli_open(cli);
	if (code == CLI_OK) {
		optind = 0; /* getopt(3): start anew, GNU's way */
		code = verb->run(cli, argc, argv);
	}
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
	while ((option = getopt_long(argc, argv, "+a:o:qh", options, NULL)) >= 0) {
		int code = take_option(&cli, option);

		if (code >= 0)
			return code;
	}
	if (optind == argc) {
		usage(stderr);
		return CLI_USAGE;
	}
	return run_verb(&cli, argc - optind, argv + optind);
}
