#include "proto/nearest.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define WORD_MAX 63 /* longer words are no slips of the finger */

static bool same(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Letters added, lost, changed, or swapped with their neighbour, to get from @a to @b: the rows of the
 * usual table, of which the last three are kept. */
static size_t edits(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t rows[3][WORD_MAX + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2];

	for (size_t k = 0; k <= b_length; k++)
		above[k] = k;
	for (size_t i = 1; i <= a_length; i++) {
		size_t *oldest = before;

		row[0] = i;
		for (size_t k = 1; k <= b_length; k++) {
			size_t cost = same(a[i - 1], b[k - 1]) ? 0 : 1;

			row[k] = smaller(above[k - 1] + cost, smaller(above[k], row[k - 1]) + 1);
			if (i > 1 && k > 1 && same(a[i - 1], b[k - 2]) && same(a[i - 2], b[k - 1]))
				row[k] = smaller(row[k], before[k - 2] + 1);
		}
		before = above;
		above = row;
		row = oldest;
	}
	return above[b_length];
}

void nearest_offer(struct nearest *nearest, const char *name)
{
	size_t word_length = strnlen(nearest->word, WORD_MAX + 1);
	size_t name_length = strnlen(name, WORD_MAX + 1);
	size_t distance;

	if (word_length == 0 || word_length > WORD_MAX || name_length > WORD_MAX)
		return;
	distance = edits(nearest->word, word_length, name, name_length);
	if (distance > (word_length + 2) / 3)
		return;
	if (!nearest->best || distance < nearest->distance) {
		nearest->best = name;
		nearest->distance = distance;
	}
}
