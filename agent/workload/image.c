/*
 * The images that containers run from. They are had before the first container starts, and once for a life of
 * the workload: a restart is of the same image. How they are had is agent/image's; what one says of its
 * program is image_run.c's.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/workload/model.h"
#include "proto/cleanup.h"

static const Berth__V1__ImageRoot *image_of(const Berth__V1__Container *spec)
{
	return spec->root->source_case == BERTH__V1__ROOT_FILESYSTEM__SOURCE_IMAGE
		       ? spec->root->image
		       : NULL;
}

static bool is_missing(const struct container *container)
{
	return image_of(container->spec) && !container->image;
}

bool images_are_missing(const struct workload *workload)
{
	for (size_t i = 0; i < workload->n_containers; i++)
		if (is_missing(&workload->containers[i]))
			return true;
	return volume_images_missing(workload) != NULL;
}

/* ---- what it was -------------------------------------------------------------------------------- */

void image_forget(struct container *container)
{
	if (container->want.provision)
		container->workload->engine->host.provider->ops->end(&container->want);
	if (container->image)
		berth__agent__v1__had_image__free_unpacked(container->image, NULL);
	container->image = NULL;
}

void image_lost(struct container *container)
{
	struct provider *provider = container->workload->engine->host.provider;

	if (!container->image && !volume_images_any(container->workload))
		return;
	image_forget(container);
	volume_images_forget(container->workload);
	if (provider)
		provider->ops->doubt(provider);
}

void image_load(struct container *container, const Berth__Agent__V1__HadImage *image)
{
	size_t n = image ? berth__agent__v1__had_image__get_packed_size(image) : 0;
	cleanup_free uint8_t *bytes = malloc(n ? n : 1);

	if (!image || !image->run || !bytes)
		return; /* it is had once more when it is needed */
	(void)berth__agent__v1__had_image__pack(image, bytes);
	container->image = berth__agent__v1__had_image__unpack(NULL, n, bytes);
}

/* ---- having it ---------------------------------------------------------------------------------- */

/* One that is not to be had ends the attempt. */
static void take_failure(struct workload *workload, const struct err *err)
{
	/* berth-sandboxd went away: inventory.c begins again when it is back. */
	if (err->kind == ERR_CANCELLED)
		return;
	workload_end(workload, REASON(PULL_FAILED), "%s", err->text);
}

static void on_ended(struct provider_want *want, const Berth__V1__GetImageResponse *image,
		     const struct err *why)
{
	struct container *container =
		(struct container *)((char *)want - offsetof(struct container, want));
	struct workload *workload = container->workload;
	struct engine *engine = workload->engine;
	struct err err = *why;

	engine_enter(engine);
	if (image && image_run(container, image, &container->image, &err) < 0)
		image = NULL;
	image_arrived(workload, container, image ? image->image : NULL, &err);
	engine_leave(engine);
}

void image_arrived(struct workload *workload, struct container *container,
		   const Berth__V1__Image *image, const struct err *err)
{
	if (!image) {
		take_failure(workload, err);
		return;
	}
	workload_touch(workload);
	workload_event(workload, container, REASON(IMAGE_READY), NULL, "image %s, %s, is here",
		       image->name, image->digest);
	if (workload->state == STATE(PULLING) && !workload->ending && !images_are_missing(workload))
		workload_start(workload);
}

static int begin(struct container *container, struct err *err)
{
	const Berth__V1__ImageRoot *root = image_of(container->spec);
	struct provider *provider = container->workload->engine->host.provider;

	if (!provider)
		return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP,
			       "image %.200s: this host keeps no images", root->reference);
	container->want.ended = on_ended;
	return provider->ops->begin(provider, root->reference, root->pull_policy, &container->want,
				    err);
}

static void say_pulling(struct workload *workload)
{
	const char *of_volume = volume_images_missing(workload), *first = of_volume;
	size_t n = of_volume != NULL;

	for (size_t i = 0; i < workload->n_containers; i++)
		if (is_missing(&workload->containers[i]) && n++ == 0)
			first = image_of(workload->containers[i].spec)->reference;
	workload_set_state(workload, STATE(PULLING), REASON(PULLING_IMAGE),
			   n > 1 ? "needs image %.200s, and more" : "needs image %.200s",
			   first ? first : "");
}

void images_begin(struct workload *workload)
{
	struct err err = { 0 };

	if (workload->state != STATE(PULLING))
		say_pulling(workload);
	for (size_t i = 0; i < workload->n_containers; i++) {
		struct container *container = &workload->containers[i];

		if (!is_missing(container) || container->want.provision)
			continue;
		if (begin(container, &err) < 0) {
			take_failure(workload, &err);
			return;
		}
	}
	if (volume_images_begin(workload, &err) < 0) {
		take_failure(workload, &err);
		return;
	}
	/* None was missing: what was had is known from before. */
	if (!images_are_missing(workload))
		workload_start(workload);
}

void images_end(struct workload *workload)
{
	for (size_t i = 0; i < workload->n_containers; i++)
		if (workload->containers[i].want.provision)
			workload->engine->host.provider->ops->end(&workload->containers[i].want);
	volume_images_end(workload);
}

/* Layers of what has not ended: of what is launched, and may be launched again. */
static void each_used(void *user, void (*tell)(const char *diff_id, void *set), void *set)
{
	const struct engine *engine = user;

	for (size_t i = 0; i < engine->n_workloads; i++) {
		const struct workload *workload = engine->by_id[i];

		for (size_t j = 0; !workload_is_ended(workload) && j < workload->n_containers;
		     j++) {
			const Berth__Agent__V1__HadImage *image = workload->containers[j].image;

			for (size_t k = 0; image && k < image->n_layers; k++)
				tell(image->layers[k], set);
		}
		if (!workload_is_ended(workload))
			volume_images_each_used(workload, tell, set);
	}
}

static void tell_image(const char *text, void (*tell)(const char *name, void *set), void *set)
{
	struct reference reference;
	char name[REFERENCE_TEXT_MAX];

	if (reference_parse(text, &reference, NULL) == 0)
		tell(reference_text(&reference, name), set);
}

static void tell_images(const Berth__V1__WorkloadSpec *spec,
			void (*tell)(const char *name, void *set), void *set)
{
	for (size_t i = 0; i < spec->n_containers; i++)
		if (image_of(spec->containers[i]))
			tell_image(image_of(spec->containers[i])->reference, tell, set);
	for (size_t i = 0; i < spec->n_volumes; i++)
		if (spec->volumes[i]->source_case == BERTH__V1__VOLUME__SOURCE_IMAGE)
			tell_image(spec->volumes[i]->image->reference, tell, set);
}

static void each_image(void *user, void (*tell)(const char *name, void *set), void *set)
{
	const struct engine *engine = user;

	for (size_t i = 0; i < engine->n_workloads; i++) {
		const struct workload *workload = engine->by_id[i];

		if (!workload_is_ended(workload))
			tell_images(workload->spec->message, tell, set);
		if (workload->successor)
			tell_images(workload->successor->spec->message, tell, set);
	}
}

void images_attach(struct engine *engine, struct provider *provider)
{
	engine->host.provider = provider;
	if (!provider)
		return;
	provider->each_used = each_used;
	provider->each_image = each_image;
	provider->user = engine;
}

void images_detach(struct engine *engine)
{
	if (!engine->host.provider)
		return;
	engine->host.provider->each_used = NULL;
	engine->host.provider->each_image = NULL;
}

/* ---- asked about it ----------------------------------------------------------------------------- */

static bool is_called(const char *text, const char *name)
{
	struct reference reference;
	char whole[REFERENCE_TEXT_MAX];

	return reference_parse(text, &reference, NULL) == 0 &&
	       strcmp(reference_text(&reference, whole), name) == 0;
}

static bool spec_uses(const Berth__V1__WorkloadSpec *spec, const char *name)
{
	for (size_t i = 0; i < spec->n_containers; i++) {
		const Berth__V1__ImageRoot *root = image_of(spec->containers[i]);

		if (root && is_called(root->reference, name))
			return true;
	}
	for (size_t i = 0; i < spec->n_volumes; i++)
		if (spec->volumes[i]->source_case == BERTH__V1__VOLUME__SOURCE_IMAGE &&
		    is_called(spec->volumes[i]->image->reference, name))
			return true;
	return false;
}

bool engine_uses_image(const struct engine *engine, const char *name, const char **ret_user)
{
	for (size_t i = 0; i < engine->n_workloads; i++) {
		const struct workload *workload = engine->by_id[i];

		if (!(spec_uses(workload->spec->message, name) && !workload_is_ended(workload)) &&
		    !(workload->successor && spec_uses(workload->successor->spec->message, name)))
			continue;
		*ret_user = workload->id;
		return true;
	}
	return false;
}

Berth__V1__ContainerImage *image_status(char *reference, const struct provider_want *want,
					const Berth__Agent__V1__HadImage *had,
					const struct workload *workload, struct arena *arena)
{
	Berth__V1__ContainerImage *ret = arena_message(arena,
						       &berth__v1__container_image__descriptor);
	struct reference parsed;
	char whole[REFERENCE_TEXT_MAX];

	if (!ret)
		return NULL;
	ret->name = reference_parse(reference, &parsed, NULL) < 0
			    ? reference
			    : arena_strdup(arena, reference_text(&parsed, whole));
	if (want->provision) {
		workload->engine->host.provider->ops->progress(want, ret);
	} else if (had) {
		ret->digest = had->digest;
		ret->manifest_digest = had->manifest_digest;
		ret->phase = BERTH__V1__PULL_PHASE__PULL_PHASE_DONE;
	}
	return ret->name ? ret : NULL;
}

int image_fill(const struct container *container, struct arena *arena,
	       Berth__V1__ContainerStatus *ret)
{
	const Berth__V1__ImageRoot *root = image_of(container->spec);

	if (!root)
		return 0;
	ret->image = image_status(root->reference, &container->want, container->image,
				  container->workload, arena);
	return ret->image ? 0 : -ENOMEM;
}
