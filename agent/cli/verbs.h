/*
 * The verbs of berthctl: one file each, one row each in verbs.c. Each is given what stands behind its name
 * (argv[0] is the verb), and returns the exit code.
 */
#pragma once

#include <getopt.h>

#include "agent/cli/cli.h"

struct verb {
	const char *name;
	const char *arguments;
	const char *summary;
	const char *help; /* its options, a line each; NULL: none */
	int (*run)(struct cli *cli, int argc, char **argv);
};

extern const struct verb verbs[];
extern const size_t verb_count;

const struct verb *verb_find(const char *name);
/* "berthctl @name: @why" (NULL: it has been said) and the verb's usage, on stderr; returns CLI_USAGE. */
int verb_misused(const char *name, const char *why);

#define VERB_OPTIONS_MAX 96

/*
 * getopt_long(3) for a verb, with at most VERB_OPTIONS_MAX options (NULL: none) of its own: those of berthctl
 * itself are taken into @cli here, and --help ends the program. Returns the next of the verb's own, -1 at their end,
 * '?' after saying what is wrong.
 */
int verb_next_option(struct cli *cli, int argc, char **argv, const char *letters,
		     const struct option *options);
/* The same for a verb without options: false after saying what is wrong. Its arguments begin at optind. */
bool verb_has_no_options(struct cli *cli, int argc, char **argv);

#define VERB(name) int verb_##name(struct cli *cli, int argc, char **argv)
VERB(run);
VERB(ps);
VERB(inspect);
VERB(logs);
VERB(exec);
VERB(attach);
VERB(stats);
VERB(events);
VERB(records);
VERB(why);
VERB(stop);
VERB(rm);
VERB(kill);
VERB(pause);
VERB(resume);
VERB(resize);
VERB(reconcile);
VERB(node);
VERB(drain);
VERB(undrain);
VERB(image);
