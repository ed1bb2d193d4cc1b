#pragma once

#include "agent/cli/cli.h"

/* SetSchedulable, and the node as it then is. */
int schedulable_set(struct cli *cli, bool schedulable, const char *why, uint64_t deadline_ms);
