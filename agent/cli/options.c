#include "agent/cli/options.h"

#include <string.h>

#include "proto/quantity.h"

enum {
	OPTION_CERT = CLI_OPTION_ADDRESS + 1,
	OPTION_KEY,
	OPTION_CA,
	OPTION_SERVER_NAME,
	OPTION_RAW,
	OPTION_TIMEOUT,
	OPTION_EPOCH,
	OPTION_VERSION,
};

const struct option cli_options[CLI_OPTIONS_COUNT + 1] = {
	{ "address", required_argument, NULL, CLI_OPTION_ADDRESS },
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
};

bool cli_has_option(int option)
{
	for (const struct option *known = cli_options; known->name; known++)
		if (known->val == option)
			return true;
	return false;
}

int cli_take_option(struct cli *cli, int option)
{
	struct err err = { 0 };
	uint64_t ms;

	switch (option) {
	case CLI_OPTION_ADDRESS:
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
	default:
		return CLI_USAGE; /* getopt_long(3) has said why */
	}
}
