/*
 * The options of `run`, as a WorkloadSpec.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/cli/cli.h"
#include "agent/cli/labels.h"
#include "berth/v1/types.pb-c.h"

#define RUN_VOLUMES_MAX 32

struct run_spec {
	bool detach;
	bool remove;
	bool interactive;
	bool tty;
	uint64_t generation; /* 0: not given */
	const char *file;
	Berth__V1__WorkloadSpec *spec; /* from the options, or from the file; in `arena` */
	/* the options' own */
	struct arena arena;
	Berth__V1__Container *container;
	Berth__V1__ImageRoot *image; /* of the container, unless there is --root */
	struct labels env, labels;
};

/* Parse argv. Returns 0, or the exit code after saying what is wrong. run_spec_done() follows either way. */
int run_spec_parse(struct cli *cli, struct run_spec *run, int argc, char **argv);
void run_spec_done(struct run_spec *run);
