#include "sandbox/draft_layers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/names.h"
#include "sandbox/overlay.h"
#include "sandbox/sandboxd.h"

static int check_count(size_t count, const struct container_settings *settings, struct err *err)
{
	size_t noted = settings->layers ? strlen(settings->layers) / UNPACK_HEX_MAX + 1 : 0;

	if (count > OVERLAY_LAYERS_MAX)
		return err_set(err, ERR_INVALID, E2BIG, "layers: %zu, at most %d", count,
			       OVERLAY_LAYERS_MAX);
	if (noted + count > DRAFT_LAYERS_MAX)
		return err_set(err, ERR_INVALID, E2BIG,
			       "layers: %zu for the root and all mounts together, at most %d",
			       noted + count, DRAFT_LAYERS_MAX);
	return 0;
}

/* Words with a space between them. */
static int note(struct container_settings *settings, const char *hex, struct err *err)
{
	size_t length = settings->layers ? strlen(settings->layers) + 1 : 0;
	char *text = realloc(settings->layers, length + UNPACK_HEX_MAX);

	if (!text)
		return err_oom(err);
	if (length > 0)
		text[length - 1] = ' ';
	memcpy(text + length, hex, UNPACK_HEX_MAX);
	settings->layers = text;
	return 0;
}

int draft_layers(struct call *call, char *const *ids, size_t count,
		 struct container_settings *settings, const char *const **ret_hexes,
		 size_t *ret_count, struct err *err)
{
	const char **hexes = arena_alloc(call->arena, count * sizeof(*hexes));
	size_t first = 0;
	int r = check_count(count, settings, err);

	if (r < 0)
		return r;
	if (!hexes)
		return err_oom(err);
	for (size_t i = 0; i < count; i++) {
		const struct layer *layer;

		r = names_check_digest(ids[i], err);
		if (r < 0)
			return err_prefix(err, r, "layers[%zu]", i);
		hexes[i] = ids[i] + strlen("sha256:");
		layer = layer_store_find(&call->host->layers, hexes[i]);
		if (!layer)
			return err_set(err, ERR_NOT_FOUND, ENOENT,
				       "layers[%zu]: %s is not on this host", i, ids[i]);
		if (layer->cut)
			first = i;
		r = note(settings, hexes[i], err);
		if (r < 0)
			return r;
	}
	*ret_hexes = hexes + first;
	*ret_count = count - first;
	return 0;
}
