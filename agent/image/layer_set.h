/*
 * Which layers are known to be unpacked, by their diff ids.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct layer_set {
	char **ids; /* sorted */
	size_t n, room;
};

bool layer_set_has(const struct layer_set *set, const char *id);
/* Without memory it is not in it, and is asked for again. */
void layer_set_add(struct layer_set *set, const char *id);
void layer_set_remove(struct layer_set *set, const char *id);
void layer_set_clear(struct layer_set *set);
