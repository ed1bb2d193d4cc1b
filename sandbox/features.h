/*
 * What this kernel and this process can do, beside control groups: asked once at start. What a launch
 * cannot do without is a refusal to start; the rest is told to the scheduler.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/err.h"

struct host_feature {
	const char *name;
	bool supported;
	const char *sentence; /* what follows where it is not */
};

/* Probe all. ERR_UNSUPPORTED for what cannot be missed, with what to do; ERR_DENIED when this is not
 * root. */
int features_probe(struct err *err);

/* What was found out later of what features_probe() took to be possible: that it is not, for the reason of @why
 * (ERR_NONE: it is). */
void features_found(const char *name, const struct err *why);

/* What was found. */
const struct host_feature *features_list(void);
size_t features_count(void);
