#include "agent/image/text_set.h"

#include <stdlib.h>
#include <string.h>

/* Where @text is, or belongs. */
static size_t position(const struct text_set *set, const char *text, bool *ret_found)
{
	size_t low = 0, high = set->n;

	*ret_found = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int c = strcmp(set->texts[middle], text);

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

bool text_set_has(const struct text_set *set, const char *text)
{
	bool found;

	(void)position(set, text, &found);
	return found;
}

static bool make_room(struct text_set *set)
{
	size_t room = set->room ? set->room * 2 : 64;
	char **texts;

	if (set->n < set->room)
		return true;
	texts = reallocarray(set->texts, room, sizeof(char *));
	if (!texts)
		return false;
	set->texts = texts;
	set->room = room;
	return true;
}

void text_set_add(struct text_set *set, const char *text)
{
	bool found;
	size_t at = position(set, text, &found);
	char *copy;

	if (found)
		return;
	copy = make_room(set) ? strdup(text) : NULL;
	if (!copy) {
		set->incomplete = true;
		return;
	}
	memmove(&set->texts[at + 1], &set->texts[at], (set->n - at) * sizeof(char *));
	set->texts[at] = copy;
	set->n++;
}

void text_set_remove(struct text_set *set, const char *text)
{
	bool found;
	size_t at = position(set, text, &found);

	if (!found)
		return;
	free(set->texts[at]);
	set->n--;
	memmove(&set->texts[at], &set->texts[at + 1], (set->n - at) * sizeof(char *));
}

void text_set_clear(struct text_set *set)
{
	for (size_t i = 0; i < set->n; i++)
		free(set->texts[i]);
	free(set->texts);
	*set = (struct text_set){ 0 };
}
