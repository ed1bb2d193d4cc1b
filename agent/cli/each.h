/*
 * Verbs that do the same to each of the workloads named: one call each, all of them tried, the first
 * failure's exit code.
 */
#pragma once

#include "agent/cli/cli.h"

/* Do it to @id; say its failure; return an exit code. */
typedef int (*each_call)(struct cli *cli, const char *id, void *userdata);

int each(struct cli *cli, const char *verb, int count, char **ids, each_call call, void *userdata);

/* After a success: the id with -q, the status as JSON, or "<id>: <state>, <sentence>". */
void each_print(const struct cli *cli, const Berth__V1__WorkloadStatus *status);
