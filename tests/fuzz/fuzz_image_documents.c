/* The documents of an image, as a hostile registry sends them. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "agent/image/image_config.h"
#include "agent/image/manifest.h"

static void check_fault(int r, const struct err *err)
{
	assert(r == 0 || (err->kind != ERR_NONE && err->kind != ERR_INTERNAL && err->text[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct manifest manifest;
	const struct platform host = platform_of_host();
	struct image_config config;
	struct descriptor chosen;
	struct arena arena;
	struct err err = { 0 };
	enum media media;
	int r;

	check_fault(manifest_media(data, size, "", &media, &err), &err);
	r = manifest_read(data, size, &manifest, &err);
	check_fault(r, &err);
	assert(r < 0 || (manifest.n_layers >= 1 && manifest.n_layers <= MANIFEST_LAYERS_MAX));
	check_fault(manifest_choose(data, size, &host, &chosen, &err), &err);
	arena_init(&arena, 1 << 20);
	r = image_config_read(data, size, &arena, &config, &err);
	check_fault(r, &err);
	for (size_t i = 0; r == 0 && i < config.n_env; i++)
		assert(strlen(config.env[i]) <= size);
	if (r == 0)
		check_fault(image_config_check(&config, &manifest, &host, &err), &err);
	arena_done(&arena);
	return 0;
}
