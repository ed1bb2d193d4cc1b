/*
 * A set of texts: diff ids of layers, names of images.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct text_set {
	char **texts; /* sorted */
	size_t n, room;
	bool incomplete; /* something could not be added, without memory */
};

bool text_set_has(const struct text_set *set, const char *text);
void text_set_add(struct text_set *set, const char *text);
void text_set_remove(struct text_set *set, const char *text);
void text_set_clear(struct text_set *set);
