/*
 * What an image says of its program, below what the spec of its container says. All of it is somebody else's
 * text: it is checked as a caller's is.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"
#include "agent/workload/validate.h"
#include "proto/cleanup.h"
#include "proto/names.h"

#define ARENA_BYTES   (8U << 20)
#define RUN_BYTES_MAX (256U << 10) /* as a spec */
#define ENV_MAX       1024

struct merge {
	const struct container *container;
	const Berth__V1__ImageConfig *config;
	struct arena *arena;
	Berth__Agent__V1__HadImage *had;
	Berth__V1__Container *run; /* of @had */
};

static int add_strings(struct merge *merge, char *const *strings, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (arena_append(merge->arena, &merge->run->command, &merge->run->n_command,
				 strings[i]) < 0)
			return -ENOMEM;
	return 0;
}

/* A command takes the place of entrypoint and cmd, arguments that of cmd. */
static int merge_command(struct merge *merge)
{
	const Berth__V1__Container *spec = merge->container->spec;
	const Berth__V1__ImageConfig *config = merge->config;
	int r;

	if (spec->n_command)
		r = add_strings(merge, spec->command, spec->n_command);
	else
		r = add_strings(merge, config->entrypoint, config->n_entrypoint);
	if (r == 0 && (spec->n_command || spec->n_args))
		r = add_strings(merge, spec->args, spec->n_args);
	else if (r == 0)
		r = add_strings(merge, config->command, config->n_command);
	return r;
}

static Berth__V1__Container__EnvEntry *find_env(const Berth__V1__Container *run, const char *key,
						size_t length)
{
	for (size_t i = 0; i < run->n_env; i++)
		if (strncmp(run->env[i]->key, key, length) == 0 && !run->env[i]->key[length])
			return run->env[i];
	return NULL;
}

/* One of the image, "NAME=value": the last of a name counts, and that of the spec before all. */
static int add_env(struct merge *merge, const char *text, size_t n_of_spec)
{
	const char *equals = strchr(text, '=');
	size_t length = equals ? (size_t)(equals - text) : strlen(text);
	Berth__V1__Container__EnvEntry *entry = find_env(merge->run, text, length);

	for (size_t i = 0; entry && i < n_of_spec; i++)
		if (merge->run->env[i] == entry)
			return 0;
	if (!entry) {
		entry = arena_message(merge->arena, &berth__v1__container__env_entry__descriptor);
		if (arena_append(merge->arena, &merge->run->env, &merge->run->n_env, entry) < 0)
			return -ENOMEM;
		entry->key = arena_strndup(merge->arena, text, length);
	}
	entry->value = arena_strdup(merge->arena, equals ? equals + 1 : "");
	return entry->key && entry->value ? 0 : -ENOMEM;
}

static int merge_env(struct merge *merge)
{
	const Berth__V1__Container *spec = merge->container->spec;

	for (size_t i = 0; i < spec->n_env; i++)
		if (arena_append(merge->arena, &merge->run->env, &merge->run->n_env, spec->env[i]) <
		    0)
			return -ENOMEM;
	for (size_t i = 0; i < merge->config->n_env && i <= ENV_MAX; i++)
		if (add_env(merge, merge->config->env[i], spec->n_env) < 0)
			return -ENOMEM;
	return 0;
}

/* Images have "/app/", "app" and "/srv//app" where only one spelling may be asked for. */
static char *clean_path(struct arena *arena, const char *text)
{
	char *path = arena_alloc(arena, strlen(text) + 2);
	char *end = path;

	if (!path)
		return NULL;
	while (*text) {
		size_t length = strcspn(text, "/");

		if (length > 0 && !(length == 1 && *text == '.')) {
			*end++ = '/';
			memcpy(end, text, length);
			end += length;
		}
		text += length;
		text += strspn(text, "/");
	}
	if (end == path)
		*end++ = '/';
	*end = '\0';
	return path;
}

static int merge_places(struct merge *merge)
{
	const Berth__V1__Container *spec = merge->container->spec;
	Berth__V1__Container *run = merge->run;

	run->working_dir = *spec->working_dir
				   ? spec->working_dir
				   : clean_path(merge->arena, merge->config->working_directory);
	run->identity = arena_message(merge->arena, &berth__v1__identity__descriptor);
	if (!run->working_dir || !run->identity)
		return -ENOMEM;
	*run->identity = *spec->identity;
	if (!*run->identity->user)
		run->identity->user = *merge->config->user ? merge->config->user : (char *)"0:0";
	run->stop_signal = spec->stop_signal;
	if (!*run->stop_signal)
		run->stop_signal = *merge->config->stop_signal ? merge->config->stop_signal
							       : (char *)"SIGTERM";
	return 0;
}

/* A name that is none of the spec's. */
static char *volume_name(struct merge *merge, size_t number)
{
	const Berth__V1__WorkloadSpec *spec = merge->container->workload->spec->message;
	char *name = arena_printf(merge->arena, "image-%u-%zu", merge->container->index, number);

	for (size_t i = 0; name && i < spec->n_volumes; i++)
		if (strcmp(spec->volumes[i]->name, name) == 0) {
			name = arena_printf(merge->arena, "%s-x", name);
			i = (size_t)-1; /* from the first again */
		}
	return name;
}

static bool is_mounted(const Berth__V1__Container *run, const char *target)
{
	for (size_t i = 0; i < run->n_mounts; i++)
		if (strcmp(run->mounts[i]->target, target) == 0)
			return true;
	return false;
}

static int add_volume(struct merge *merge, const char *text, size_t number)
{
	Berth__V1__Container *run = merge->run;
	char *target = clean_path(merge->arena, text);
	Berth__V1__Mount *mount;

	if (!target)
		return -ENOMEM;
	if (is_mounted(run, target))
		return 0;
	mount = arena_message(merge->arena, &berth__v1__mount__descriptor);
	if (arena_append(merge->arena, &run->mounts, &run->n_mounts, mount) < 0)
		return -ENOMEM;
	mount->target = target;
	mount->volume = volume_name(merge, number);
	return arena_append(merge->arena, &merge->had->volumes, &merge->had->n_volumes,
			    mount->volume);
}

static int merge_mounts(struct merge *merge)
{
	const Berth__V1__Container *spec = merge->container->spec;

	for (size_t i = 0; i < spec->n_mounts; i++)
		if (arena_append(merge->arena, &merge->run->mounts, &merge->run->n_mounts,
				 spec->mounts[i]) < 0)
			return -ENOMEM;
	for (size_t i = 0; i < merge->config->n_volumes && i <= MOUNTS_MAX; i++)
		if (add_volume(merge, merge->config->volumes[i], i) < 0)
			return -ENOMEM;
	return 0;
}

static int copy_image(struct merge *merge, const Berth__V1__GetImageResponse *image)
{
	merge->had->digest = image->image->digest;
	merge->had->manifest_digest = image->image->manifest_digest;
	for (size_t i = 0; i < image->n_layers; i++)
		if (arena_append(merge->arena, &merge->had->layers, &merge->had->n_layers,
				 image->layers[i]->diff_id) < 0)
			return -ENOMEM;
	return 0;
}

static int check(const struct merge *merge, struct err *err)
{
	cleanup_fault struct engine_fault fault;
	const struct check check = { .fault = &fault, .prefix = "" };
	const Berth__V1__Container *run = merge->run;

	engine_fault_init(&fault);
	if (merge->had->n_layers == 0)
		return err_set(err, ERR_INVALID, EINVAL, "it has no layers: nothing runs from it");
	if (run->n_command == 0)
		return err_set(
			err, ERR_INVALID, EINVAL,
			"it names no program, and neither does the container's command: give one");
	if (berth__v1__container__get_packed_size(run) > RUN_BYTES_MAX)
		return err_set(err, ERR_INVALID, E2BIG,
			       "what it says of its program is more than 256 KiB");
	validate_run(run, merge->container->spec->n_mounts, &check);
	return engine_fault_check_fields(&fault, err);
}

static int merge_all(struct merge *merge, const Berth__V1__GetImageResponse *image, struct err *err)
{
	merge->had = arena_message(merge->arena, &berth__agent__v1__had_image__descriptor);
	merge->run = arena_message(merge->arena, &berth__v1__container__descriptor);
	if (!merge->had || !merge->run || copy_image(merge, image) < 0 ||
	    merge_command(merge) < 0 || merge_env(merge) < 0 || merge_places(merge) < 0 ||
	    merge_mounts(merge) < 0)
		return err_oom(err);
	merge->had->run = merge->run;
	return check(merge, err);
}

/* In memory of its own. */
static int copy(const Berth__Agent__V1__HadImage *had, Berth__Agent__V1__HadImage **ret_image,
		struct err *err)
{
	size_t n = berth__agent__v1__had_image__get_packed_size(had);
	cleanup_free uint8_t *bytes = malloc(n ? n : 1);
	Berth__Agent__V1__HadImage *image = NULL;

	if (bytes) {
		(void)berth__agent__v1__had_image__pack(had, bytes);
		image = berth__agent__v1__had_image__unpack(NULL, n, bytes);
	}
	if (!image)
		return err_oom(err);
	*ret_image = image;
	return 0;
}

int image_run(const struct container *container, const Berth__V1__GetImageResponse *image,
	      Berth__Agent__V1__HadImage **ret_image, struct err *err)
{
	cleanup_arena struct arena arena;
	struct merge merge = { .container = container, .config = image->config, .arena = &arena };
	int r;

	arena_init(&arena, ARENA_BYTES);
	r = merge_all(&merge, image, err);
	if (r < 0)
		return err_prefix(err, r, "image %.200s", image->image->name);
	return copy(merge.had, ret_image, err);
}
