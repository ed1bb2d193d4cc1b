/*
 * Run a function in a child under a real filter of the real kernel, with its denials answered as
 * the monitor would.
 */
#pragma once

#include <stddef.h>

#include "sandbox/filter.h"

#define FILTERED_RESULTS 1024

/* What the probe found out, in memory shared with the test. */
struct filtered_results {
	int listener_fd; /* the child's number of it */
	int errnums[FILTERED_RESULTS];
	size_t denial_count;
	struct denial denials[64];
};

/*
 * Load @filter in a child, call @probe there, answer denials until the child is gone. Returns the
 * child's wait status. *results is emptied first.
 */
int run_filtered(const struct filter *filter, void (*probe)(struct filtered_results *results),
		 struct filtered_results *results);

/* Memory for results, to unmap never: a test ends soon. */
struct filtered_results *filtered_results_new(void);

/* The compiled @source for a test; fails the test if it does not compile. */
struct filter *compile_or_fail(const struct filter_request *request);
