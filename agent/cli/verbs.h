/*
 * The verbs of berthctl: one file each, one row each in verbs.c. Each is given what stands behind its name
 * (argv[0] is the verb), and returns the exit code.
 */
#pragma once

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
/* The usage of @verb on stderr; returns CLI_USAGE. */
int verb_misused(const char *name);

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
