/*
 * The layers that a launch names, for its root or for a mount: checked, found, and noted as in use by its container.
 */
#pragma once

#include <stddef.h>

#include "proto/err.h"
#include "sandbox/call.h"
#include "sandbox/registry.h"

#define DRAFT_LAYERS_MAX 256 /* of one container: they have to fit into its record and a packet */

/*
 * From the diff ids @ids, @count of them and the lowest first, to the digits of those that are seen: in *ret_hexes,
 * borrowed from the request and of the call's arena. In use, which @settings notes, are all of them, also those that
 * one above them hides.
 *   ERR_INVALID    more than can be mounted, or one is no digest
 *   ERR_NOT_FOUND  one is not here
 */
int draft_layers(struct call *call, char *const *ids, size_t count,
		 struct container_settings *settings, const char *const **ret_hexes,
		 size_t *ret_count, struct err *err);
