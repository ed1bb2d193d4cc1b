/*
 * What an image says of how its program is to be run: the configuration of OCI and docker, which have the
 * same fields. All of it is somebody else's text; whoever runs something checks it like a caller's.
 */
#pragma once

#include "agent/image/digest.h"
#include "agent/image/manifest.h"
#include "proto/arena.h"

#define IMAGE_CONFIG_STRINGS_MAX 4096U /* of each list */

struct image_label {
	const char *key;
	const char *value;
};

struct image_config {
	struct platform platform;
	const char *created; /* RFC 3339, or "" */
	char **entrypoint;   /* @n strings each, and no NULL after them */
	size_t n_entrypoint;
	char **command;
	size_t n_command;
	char **env; /* "NAME=value" */
	size_t n_env;
	char **volumes; /* paths */
	size_t n_volumes;
	struct image_label *labels;
	size_t n_labels;
	const char *user;
	const char *working_directory;
	const char *stop_signal;
	struct digest *diff_ids; /* of the layers uncompressed, lowest first */
	size_t n_diff_ids;
};

/*
 * Everything that *ret_config points to lives in @arena.
 *
 * Returns 0, or a negative errno with @err:
 *   ERR_INVALID     it is no configuration of an image
 *   ERR_EXHAUSTED   it does not fit @arena
 */
int image_config_read(const void *bytes, size_t length, struct arena *arena,
		      struct image_config *ret_config, struct err *err);

/* Does @config belong to @manifest, and to this host's kind? ERR_INVALID, ERR_NOT_FOUND. */
int image_config_check(const struct image_config *config, const struct manifest *manifest,
		       const struct platform *host, struct err *err);
