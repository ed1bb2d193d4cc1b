/*
 * What provider.c and sweep.c share.
 */
#pragma once

#include "agent/image/text_set.h"
#include "agent/image/provider.h"

struct real_provider {
	struct provider base; /* first */
	struct images *images;
	struct sandboxlink *link;
	LIST_HEAD(, provision) provisions;
	LIST_HEAD(, unpacking) unpackings;
	unsigned int n_unpackings;
	uint64_t last_serial;
	struct text_set unpacked;
	struct sweep *sweep; /* under way */
	bool sweep_again;
	struct collector *collector;
};

/* Add the layers that somebody wants, or has on the way. */
void provider_add_wanted(const struct real_provider *provider, struct text_set *set);

/* Add the names of images that somebody wants. */
void provider_add_names(const struct real_provider *provider, struct text_set *set);

/* collector.c */
int collector_begin(struct real_provider *provider, sd_event *event, struct err *err);
/* A pull may have filled the disk, or found it full. */
void collector_soon(struct real_provider *provider);
void collector_free(struct collector *collector); /* NULL is fine */

/* sweep.c */
void sweep_begin(struct real_provider *provider);
void sweep_free(struct real_provider *provider);
