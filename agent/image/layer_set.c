#include "agent/image/layer_set.h"

#include <stdlib.h>
#include <string.h>

/* Where @id is, or belongs. */
static size_t position(const struct layer_set *set, const char *id, bool *ret_found)
{
	size_t low = 0, high = set->n;

	*ret_found = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = strcmp(set->ids[middle], id);

		if (c == 0) {
			*ret_found = true;
			return middle;
		}
		if (c < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool layer_set_has(const struct layer_set *set, const char *id)
{
	bool found;

	(void)position(set, id, &found);
	return found;
}

static bool make_room(struct layer_set *set)
{
	size_t room = set->room ? set->room * 2 : 64;
	char **ids;

	if (set->n < set->room)
		return true;
	ids = reallocarray(set->ids, room, sizeof(char *));
	if (!ids)
		return false;
	set->ids = ids;
	set->room = room;
	return true;
}

void layer_set_add(struct layer_set *set, const char *id)
{
	bool found;
	size_t at = position(set, id, &found);
	char *copy = found || !make_room(set) ? NULL : strdup(id);

	if (!copy)
		return;
	memmove(&set->ids[at + 1], &set->ids[at], (set->n - at) * sizeof(char *));
	set->ids[at] = copy;
	set->n++;
}

void layer_set_remove(struct layer_set *set, const char *id)
{
	bool found;
	size_t at = position(set, id, &found);

	if (!found)
		return;
	free(set->ids[at]);
	set->n--;
	memmove(&set->ids[at], &set->ids[at + 1], (set->n - at) * sizeof(char *));
}

void layer_set_clear(struct layer_set *set)
{
	for (size_t i = 0; i < set->n; i++)
		free(set->ids[i]);
	free(set->ids);
	*set = (struct layer_set){ 0 };
}
