/*
 * How many bytes may be held for peers: one budget for all of them, and one for each connection within it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct budget {
	struct budget *parent; /* NULL for the outermost */
	size_t limit_bytes;
	size_t used_bytes;
};

/* Take @n bytes of @budget and of all its parents, or, if one of them has not as many, of none. */
bool budget_take(struct budget *budget, size_t n);
/* Give back what was taken. */
void budget_give(struct budget *budget, size_t n);
/* What could be taken now. */
size_t budget_left(const struct budget *budget);
