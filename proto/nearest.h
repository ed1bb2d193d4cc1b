/*
 * The name that was probably meant: for "unknown key Lisetn, did you mean Listen?".
 *
 *	struct nearest nearest = { .word = given };
 *
 *	for each name: nearest_offer(&nearest, name);
 *	if (nearest.best) ...
 */
#pragma once

#include <stddef.h>

struct nearest {
	const char *word;
	const char *best; /* the closest name so far; NULL when none is close */
	size_t distance;
};

/* Take @name into account: close is at most one edit (letter added, lost or changed, two swapped; case
 * is free) for each three letters of the word. @name must outlive the struct. */
void nearest_offer(struct nearest *nearest, const char *name);
