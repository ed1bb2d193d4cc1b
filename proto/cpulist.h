/* Lists of cpus and memory nodes as the kernel writes them: "0-3,7" (cpuset(7), "List format"). */
#pragma once

#include <stdbool.h>

#define CPULIST_MAX 8192 /* numbers are below it */

/* Whether @text is a list that is not empty. */
bool cpulist_is_valid(const char *text);

/* Whether every number of @text is one of @of. False where either is not a list. */
bool cpulist_is_subset(const char *text, const char *of);
