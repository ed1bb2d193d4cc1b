/*
 * The options of berthctl itself: before the verb, or among the verb's own.
 */
#pragma once

#include <getopt.h>

#include "agent/cli/cli.h"

/* Letters that no verb has another use for; "-a" is --address before the verb alone. */
#define CLI_SHORT_OPTIONS "o:qh"

/* What has no letter is numbered from here; the options of verbs are below. */
#define CLI_OPTION_ADDRESS 4096
#define CLI_OPTIONS_COUNT  12

/* Ended by a row of zeros. */
extern const struct option cli_options[CLI_OPTIONS_COUNT + 1];

/* Whether @option, as getopt_long(3) returned it, is one of these. */
bool cli_has_option(int option);

/*
 * Take the option that getopt_long(3) has just found, with optarg; not "h", which is the caller's. Returns -1
 * to go on, or the exit code to end with: after --version, or after saying what is wrong.
 */
int cli_take_option(struct cli *cli, int option);
