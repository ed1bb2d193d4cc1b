/*
 * How far a pull is, on standard error: on a terminal one line that is written over, else one for each step.
 */
#pragma once

#include <stdbool.h>

#include "berth/v1/types.pb-c.h"

struct pull_line {
	bool live; /* a terminal */
	bool printed;
	Berth__V1__PullPhase phase;
	uint32_t layers_done;
};

void pull_line_begin(struct pull_line *line);
/* The figures of @image; @bytes_per_second 0: not known. */
void pull_line_print(struct pull_line *line, const Berth__V1__ContainerImage *image,
		     uint64_t bytes_per_second);
/* Nothing of it stays on a terminal. */
void pull_line_end(struct pull_line *line);
