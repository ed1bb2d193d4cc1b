/*
 * Volumes that are images: had with those that containers run from, and like them once for a life of the
 * workload. Nothing is run of them: what counts is their layers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"
#include "proto/cleanup.h"

static size_t count(const struct workload *workload)
{
	return workload->volume_images ? workload->spec->message->n_volumes : 0;
}

static const Berth__V1__ImageVolume *image_of(const struct workload *workload, size_t i)
{
	const Berth__V1__Volume *volume = workload->spec->message->volumes[i];

	return volume->source_case == BERTH__V1__VOLUME__SOURCE_IMAGE ? volume->image : NULL;
}

static bool is_missing(const struct workload *workload, size_t i)
{
	return image_of(workload, i) && !workload->volume_images[i].image;
}

const char *volume_images_missing(const struct workload *workload)
{
	for (size_t i = 0; i < count(workload); i++)
		if (is_missing(workload, i))
			return image_of(workload, i)->reference;
	return NULL;
}

int volume_images_new(struct workload *workload)
{
	size_t n = workload->spec->message->n_volumes;

	workload->volume_images = calloc(n ? n : 1, sizeof(*workload->volume_images));
	if (!workload->volume_images)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		workload->volume_images[i].workload = workload;
	return 0;
}

static void forget(struct volume_image *volume)
{
	struct provider *provider = volume->workload->engine->host.provider;

	if (volume->want.provision)
		provider->ops->end(&volume->want);
	if (volume->image)
		berth__agent__v1__had_image__free_unpacked(volume->image, NULL);
	volume->image = NULL;
}

void volume_images_forget(struct workload *workload)
{
	for (size_t i = 0; i < count(workload); i++)
		forget(&workload->volume_images[i]);
}

void volume_images_free(struct workload *workload)
{
	volume_images_forget(workload);
	free(workload->volume_images);
	workload->volume_images = NULL;
}

static Berth__Agent__V1__HadImage *copy(const Berth__Agent__V1__HadImage *image)
{
	size_t n = berth__agent__v1__had_image__get_packed_size(image);
	cleanup_free uint8_t *bytes = malloc(n ? n : 1);

	if (!bytes)
		return NULL;
	(void)berth__agent__v1__had_image__pack(image, bytes);
	return berth__agent__v1__had_image__unpack(NULL, n, bytes);
}

static int take(struct volume_image *volume, const Berth__V1__GetImageResponse *image,
		struct err *err)
{
	Berth__Agent__V1__HadImage had = BERTH__AGENT__V1__HAD_IMAGE__INIT;
	cleanup_free char **layers = calloc(image->n_layers + 1, sizeof(*layers));

	if (image->n_layers == 0)
		return err_set(err, ERR_INVALID, EINVAL,
			       "image %.200s: it has no layers: there is nothing to mount",
			       image->image->name);
	if (!layers)
		return err_oom(err);
	for (size_t i = 0; i < image->n_layers; i++)
		layers[i] = image->layers[i]->diff_id;
	had.digest = image->image->digest;
	had.manifest_digest = image->image->manifest_digest;
	had.layers = layers;
	had.n_layers = image->n_layers;
	volume->image = copy(&had);
	return volume->image ? 0 : err_oom(err);
}

static void on_ended(struct provider_want *want, const Berth__V1__GetImageResponse *image,
		     const struct err *why)
{
	struct volume_image *volume =
		(struct volume_image *)((char *)want - offsetof(struct volume_image, want));
	struct workload *workload = volume->workload;
	struct engine *engine = workload->engine;
	struct err err = *why;

	engine_enter(engine);
	if (image && take(volume, image, &err) < 0)
		image = NULL;
	image_arrived(workload, NULL, image ? image->image : NULL, &err);
	engine_leave(engine);
}

int volume_images_begin(struct workload *workload, struct err *err)
{
	struct provider *provider = workload->engine->host.provider;
	int r = 0;

	for (size_t i = 0; r == 0 && i < count(workload); i++) {
		struct volume_image *volume = &workload->volume_images[i];

		if (!is_missing(workload, i) || volume->want.provision)
			continue;
		volume->want.ended = on_ended;
		r = !provider ? err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP,
					"image %.200s: this host keeps no images",
					image_of(workload, i)->reference)
			      : provider->ops->begin(provider, image_of(workload, i)->reference,
						     image_of(workload, i)->pull_policy,
						     &volume->want, err);
	}
	return r;
}

void volume_images_end(struct workload *workload)
{
	for (size_t i = 0; i < count(workload); i++)
		if (workload->volume_images[i].want.provision)
			workload->engine->host.provider->ops->end(&workload->volume_images[i].want);
}

const Berth__Agent__V1__HadImage *volume_image_of(const struct workload *workload, const char *name)
{
	for (size_t i = 0; i < count(workload); i++)
		if (image_of(workload, i) &&
		    strcmp(workload->spec->message->volumes[i]->name, name) == 0)
			return workload->volume_images[i].image;
	return NULL;
}

void volume_images_each_used(const struct workload *workload,
			     void (*tell)(const char *diff_id, void *set), void *set)
{
	for (size_t i = 0; i < count(workload); i++) {
		const Berth__Agent__V1__HadImage *image = workload->volume_images[i].image;

		for (size_t j = 0; image && j < image->n_layers; j++)
			tell(image->layers[j], set);
	}
}

/* ---- what is kept, and told ----------------------------------------------------------------------- */

int volume_images_keep(const struct workload *workload, struct arena *arena,
		       Berth__Agent__V1__Life *life)
{
	if (!volume_images_any(workload))
		return 0;
	for (size_t i = 0; i < count(workload); i++) {
		Berth__Agent__V1__HadImage *image = workload->volume_images[i].image;

		if (!image)
			image = arena_message(arena, &berth__agent__v1__had_image__descriptor);
		if (arena_append(arena, &life->volume_images, &life->n_volume_images, image) < 0)
			return -ENOMEM;
	}
	return 0;
}

void volume_images_load(struct workload *workload, const Berth__Agent__V1__Life *life)
{
	for (size_t i = 0; i < count(workload) && i < life->n_volume_images; i++)
		if (image_of(workload, i) && life->volume_images[i]->n_layers)
			workload->volume_images[i].image = copy(life->volume_images[i]);
}

bool volume_images_any(const struct workload *workload)
{
	for (size_t i = 0; i < count(workload); i++)
		if (image_of(workload, i))
			return true;
	return false;
}

int volume_images_fill(const struct workload *workload, struct arena *arena,
		       Berth__V1__WorkloadStatus *ret)
{
	for (size_t i = 0; i < count(workload); i++) {
		Berth__V1__VolumeStatus *status;

		if (!image_of(workload, i))
			continue;
		status = arena_message(arena, &berth__v1__volume_status__descriptor);
		if (arena_append(arena, &ret->volumes, &ret->n_volumes, status) < 0)
			return -ENOMEM;
		status->name = workload->spec->message->volumes[i]->name;
		status->image = image_status(image_of(workload, i)->reference,
					     &workload->volume_images[i].want,
					     workload->volume_images[i].image, workload, arena);
		if (!status->image)
			return -ENOMEM;
	}
	return 0;
}
