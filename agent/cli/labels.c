#include "agent/cli/labels.h"

#include <errno.h>
#include <string.h>

#include "agent/cli/cli.h"

int labels_add(struct labels *labels, const char *text, struct arena *arena)
{
	const char *equals = strchr(text, '=');

	if (!equals || equals == text)
		return cli_fail(-EINVAL, "%s: expected KEY=VALUE", text);
	if (labels->count == LABELS_MAX)
		return cli_fail(-EINVAL, "more than %d of %s", LABELS_MAX, text);
	labels->keys[labels->count] = arena_strndup(arena, text, (size_t)(equals - text));
	labels->values[labels->count] = equals + 1;
	return labels->keys[labels->count++] ? 0 : cli_fail(-ENOMEM, "out of memory");
}

void **labels_entries(const struct labels *labels, const ProtobufCMessageDescriptor *descriptor,
		      struct arena *arena)
{
	void **entries = NULL;
	size_t count = 0;

	for (size_t i = 0; i < labels->count; i++) {
		char *entry = arena_message(arena, descriptor);

		if (arena_append(arena, &entries, &count, entry) < 0)
			return NULL;
		/* Field 1 is the key and field 2 the value of every map entry. */
		*(const char **)(entry + descriptor->fields[0].offset) = labels->keys[i];
		*(const char **)(entry + descriptor->fields[1].offset) = labels->values[i];
	}
	return entries;
}
