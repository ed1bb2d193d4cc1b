#include "agent/image/image_config.h"

#include <string.h>

#include "agent/image/document.h"
#include "proto/names.h"

static int too_large(struct err *err)
{
	return err_set(err, ERR_EXHAUSTED, ENOMEM, "it does not fit the memory for it");
}

static int copy_string(const json_t *object, const char *key, struct arena *arena,
		       const char **ret_text, struct err *err)
{
	const char *text;
	int r = document_string(object, key, &text, err);

	if (r < 0)
		return r;
	*ret_text = arena_strdup(arena, text);
	return *ret_text ? 0 : too_large(err);
}

static int copy_strings(const json_t *object, const char *key, struct arena *arena,
			char ***ret_items, size_t *ret_n, struct err *err)
{
	const json_t *array, *item;
	size_t i;
	int r = document_array(object, key, IMAGE_CONFIG_STRINGS_MAX, &array, err);

	if (r < 0)
		return r;
	*ret_n = json_array_size(array);
	*ret_items = arena_calloc(arena, *ret_n, sizeof(char *));
	if (!*ret_items)
		return too_large(err);
	json_array_foreach (array, i, item) {
		if (!json_is_string(item))
			return err_set(err, ERR_INVALID, EINVAL,
				       "%s has something that is no string", key);
		(*ret_items)[i] = arena_strdup(arena, json_string_value(item));
		if (!(*ret_items)[i])
			return too_large(err);
	}
	return 0;
}

/* The keys of an object, as volumes are written. */
static int copy_keys(const json_t *object, const char *key, struct arena *arena, char ***ret_items,
		     size_t *ret_n, struct err *err)
{
	const json_t *map;
	const char *name;
	json_t *value;
	int r = document_object(object, key, &map, err);

	*ret_n = 0;
	*ret_items = NULL;
	if (r < 0)
		return r;
	json_object_foreach ((json_t *)map, name, value) {
		if (*ret_n == IMAGE_CONFIG_STRINGS_MAX)
			return err_set(err, ERR_INVALID, EINVAL, "%s has more than %u", key,
				       IMAGE_CONFIG_STRINGS_MAX);
		if (arena_append(arena, ret_items, ret_n, arena_strdup(arena, name)) < 0)
			return too_large(err);
	}
	return 0;
}

static int copy_labels(const json_t *object, struct arena *arena, struct image_config *config,
		       struct err *err)
{
	const json_t *map;
	const char *name;
	json_t *value;
	int r = document_object(object, "Labels", &map, err);

	if (r < 0)
		return r;
	if (json_object_size(map) > IMAGE_CONFIG_STRINGS_MAX)
		return err_set(err, ERR_INVALID, EINVAL, "it has more than %u labels",
			       IMAGE_CONFIG_STRINGS_MAX);
	config->labels = arena_calloc(arena, json_object_size(map), sizeof(*config->labels));
	if (!config->labels)
		return too_large(err);
	json_object_foreach ((json_t *)map, name, value) {
		struct image_label *label = &config->labels[config->n_labels];

		if (!json_is_string(value))
			return err_set(err, ERR_INVALID, EINVAL, "a label is no string");
		label->key = arena_strdup(arena, name);
		label->value = arena_strdup(arena, json_string_value(value));
		if (!label->key || !label->value)
			return too_large(err);
		config->n_labels++;
	}
	return 0;
}

static int copy_diff_ids(const json_t *root, struct arena *arena, struct image_config *config,
			 struct err *err)
{
	const json_t *rootfs, *array, *item;
	size_t i;
	int r = document_object(root, "rootfs", &rootfs, err);

	if (r == 0)
		r = document_array(rootfs, "diff_ids", MANIFEST_LAYERS_MAX, &array, err);
	if (r < 0)
		return err_prefix(err, r, "rootfs");
	config->n_diff_ids = json_array_size(array);
	config->diff_ids = arena_calloc(arena, config->n_diff_ids, sizeof(*config->diff_ids));
	if (!config->diff_ids)
		return too_large(err);
	json_array_foreach (array, i, item) {
		const char *text = json_string_value(item);

		r = digest_parse(text ? text : "", &config->diff_ids[i], err);
		if (r < 0)
			return err_prefix(err, r, "diff id %zu", i + 1);
	}
	return 0;
}

static int copy_platform(const json_t *root, struct arena *arena, struct platform *platform,
			 struct err *err)
{
	int r = copy_string(root, "os", arena, &platform->os, err);

	if (r == 0)
		r = copy_string(root, "architecture", arena, &platform->architecture, err);
	if (r == 0)
		r = copy_string(root, "variant", arena, &platform->variant, err);
	return r;
}

int image_config_read(const void *bytes, size_t length, struct arena *arena,
		      struct image_config *ret_config, struct err *err)
{
	cleanup_document json_t *root = NULL;
	struct image_config config = { 0 };
	const json_t *run;
	int r = document_load(bytes, length, &root, err);

	if (r == 0)
		r = document_object(root, "config", &run, err);
	if (r == 0)
		r = copy_platform(root, arena, &config.platform, err);
	if (r == 0)
		r = copy_string(root, "created", arena, &config.created, err);
	if (r == 0)
		r = copy_strings(run, "Entrypoint", arena, &config.entrypoint, &config.n_entrypoint,
				 err);
	if (r == 0)
		r = copy_strings(run, "Cmd", arena, &config.command, &config.n_command, err);
	if (r == 0)
		r = copy_strings(run, "Env", arena, &config.env, &config.n_env, err);
	if (r == 0)
		r = copy_keys(run, "Volumes", arena, &config.volumes, &config.n_volumes, err);
	if (r == 0)
		r = copy_labels(run, arena, &config, err);
	if (r == 0)
		r = copy_string(run, "User", arena, &config.user, err);
	if (r == 0)
		r = copy_string(run, "WorkingDir", arena, &config.working_directory, err);
	if (r == 0)
		r = copy_string(run, "StopSignal", arena, &config.stop_signal, err);
	if (r == 0)
		r = copy_diff_ids(root, arena, &config, err);
	if (r < 0)
		return r;
	*ret_config = config;
	return 0;
}

int image_config_check(const struct image_config *config, const struct manifest *manifest,
		       const struct platform *host, struct err *err)
{
	char os[NAME_QUOTED_MAX], architecture[NAME_QUOTED_MAX];

	if (config->n_diff_ids != manifest->n_layers)
		return err_set(err, ERR_INVALID, EINVAL,
			       "the configuration has %zu layers, and the manifest %zu",
			       config->n_diff_ids, manifest->n_layers);
	if (platform_fit(host, &config->platform) == 0)
		return err_set(err, ERR_NOT_FOUND, ENOENT,
			       "the image is for %s on %s, this host is %s/%s",
			       names_quote(config->platform.os, os),
			       names_quote(config->platform.architecture, architecture), host->os,
			       host->architecture);
	return 0;
}
