/*
 * KEY=VALUE options: labels and environment, as the entries of a map field.
 */
#pragma once

#include <stddef.h>

#include "proto/arena.h"

#define LABELS_MAX 1024

struct labels {
	size_t count;
	const char *keys[LABELS_MAX];
	const char *values[LABELS_MAX];
};

/* Take "KEY=VALUE" apart. Returns 0, or -EINVAL after saying what is wrong. */
int labels_add(struct labels *labels, const char *text, struct arena *arena);

/* The entries of a map<string, string> whose entry message has @descriptor: an array of pointers to them, for
 * the message's member. NULL for none, or without memory. */
void **labels_entries(const struct labels *labels, const ProtobufCMessageDescriptor *descriptor,
		      struct arena *arena);
