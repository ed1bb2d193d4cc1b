/*
 * What `run` shows while the images of its workload are on the way.
 */
#pragma once

#include <stdbool.h>

#include "agent/cli/cli.h"
#include "berth/v1/types.pb-c.h"

bool run_has_images(const Berth__V1__WorkloadSpec *spec);
/* Until @id waits for its images no more, and for no room. Returns CLI_OK or the exit code after saying what is
 * wrong. */
int run_pull_follow(struct cli *cli, const char *id);
