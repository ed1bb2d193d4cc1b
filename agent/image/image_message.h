/*
 * Images as messages of berth.v1.
 */
#pragma once

#include "agent/image/catalogue.h"
#include "berth/v1/node_agent.pb-c.h"
#include "proto/arena.h"

/* All of these build in @arena, and return NULL or -ENOMEM when it is full. */
Berth__V1__Image *image_message(struct arena *arena, const struct image *image);
int image_message_details(struct arena *arena, const struct image_config *config,
			  const struct manifest *manifest, Berth__V1__GetImageResponse *reply);
