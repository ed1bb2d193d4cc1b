/*
 * Images for containers to run from: pulled where that is wanted, their layers unpacked by berth-sandboxd,
 * and what they say of their program.
 *
 * What provides is behind `struct provider_ops`: provider_new() is the real one; tests play their own.
 */
#pragma once

#include <stdbool.h>
#include <sys/queue.h>

#include "agent/image/images.h"
#include "agent/sandboxlink/sandboxlink.h"

struct provider;

/* Somebody who wants an image. Embedded by the asker, and there until `ended` or end(). */
struct provider_want {
	/*
	 * Once, from the loop, never from within begin(): @image is here with all its layers, lowest first,
	 * and is valid during the call. Or NULL, and @err says why: ERR_CANCELLED where berth-sandboxd went
	 * away meanwhile, and the same may be asked again once it is back.
	 */
	void (*ended)(struct provider_want *want, const Berth__V1__GetImageResponse *image,
		      const struct err *err);

	/* the provider's own from here; NULL: nothing is under way */
	struct provision *provision;
	LIST_ENTRY(provider_want) link;
};

struct provider_ops {
	/* Whether an image may be had by @reference here. ERR_INVALID, ERR_UNSUPPORTED: it is no reference;
	 * ERR_DENIED: by this host's configuration. */
	int (*check)(struct provider *provider, const char *reference, struct err *err);
	/* @policy: not UNSPECIFIED. One that is under way already is joined. */
	int (*begin)(struct provider *provider, const char *reference, Berth__V1__PullPolicy policy,
		     struct provider_want *want, struct err *err);
	/* How far it is: phase and figures of @ret, which has its defaults. */
	void (*progress)(const struct provider_want *want, Berth__V1__ContainerImage *ret);
	/* It is wanted no more: `ended` is not called. What nobody wants ends. */
	void (*end)(struct provider_want *want);
	/* Layers that were unpacked may be gone: the next one who wants them has them looked for. */
	void (*doubt)(struct provider *provider);
	/* Remove layers that no image has any more: one was removed, or berth-sandboxd is there again. */
	void (*sweep)(struct provider *provider);
};

/* Embedded first in what implements it. */
struct provider {
	const struct provider_ops *ops;
	/* Set by whoever runs containers: tell each layer that one of them may be launched from. */
	void (*each_used)(void *user, void (*tell)(const char *diff_id, void *set), void *set);
	/* The same, each image that may be needed, by its whole name. */
	void (*each_image)(void *user, void (*tell)(const char *name, void *set), void *set);
	void *user;
};

/* @images and @link outlive it; but what it has asked @images is answered by images_free() alone, which
 * comes after provider_free(). Nobody wants anything any more by then. */
int provider_new(sd_event *event, struct images *images, struct sandboxlink *link,
		 struct provider **ret_provider, struct err *err);
void provider_free(struct provider *provider); /* NULL is fine */
