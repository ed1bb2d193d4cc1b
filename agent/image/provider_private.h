/*
 * What provider.c and sweep.c share.
 */
#pragma once

#include "agent/image/layer_set.h"
#include "agent/image/provider.h"

struct real_provider {
	struct provider base; /* first */
	struct images *images;
	struct sandboxlink *link;
	LIST_HEAD(, provision) provisions;
	LIST_HEAD(, unpacking) unpackings;
	unsigned int n_unpackings;
	uint64_t last_serial;
	struct layer_set unpacked;
	struct sweep *sweep; /* under way */
	bool sweep_again;
};

/* Add the layers that somebody wants, or has on the way. */
void provider_add_wanted(const struct real_provider *provider, struct layer_set *set);

/* sweep.c */
void sweep_begin(struct real_provider *provider);
void sweep_free(struct real_provider *provider);
