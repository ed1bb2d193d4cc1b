#include "agent/image/image_message.h"

static char *copy_digest(struct arena *arena, const struct digest *digest)
{
	char text[DIGEST_TEXT_MAX];

	return arena_strdup(arena, digest_text(digest, text));
}

Berth__V1__Image *image_message(struct arena *arena, const struct image *image)
{
	Berth__V1__Image *message = arena_message(arena, &berth__v1__image__descriptor);

	if (!message)
		return NULL;
	message->name = arena_strdup(arena, image->name);
	message->digest = copy_digest(arena, &image->digest);
	message->manifest_digest = copy_digest(arena, &image->manifest);
	message->size_bytes = image->size_bytes;
	message->layers = image->n_layers;
	message->pulled_unix_ms = image->pulled_unix_ms;
	return message->name && message->digest && message->manifest_digest ? message : NULL;
}

static int add_labels(struct arena *arena, const struct image_config *config,
		      Berth__V1__ImageConfig *message)
{
	for (size_t i = 0; i < config->n_labels; i++) {
		Berth__V1__ImageConfig__LabelsEntry *entry =
			arena_message(arena, &berth__v1__image_config__labels_entry__descriptor);

		if (arena_append(arena, &message->labels, &message->n_labels, entry) < 0)
			return -ENOMEM;
		entry->key = (char *)config->labels[i].key;
		entry->value = (char *)config->labels[i].value;
	}
	return 0;
}

static int add_layer(struct arena *arena, const struct digest *diff_id,
		     const struct descriptor *piece, Berth__V1__GetImageResponse *reply)
{
	Berth__V1__ImageLayer *layer = arena_message(arena, &berth__v1__image_layer__descriptor);

	if (arena_append(arena, &reply->layers, &reply->n_layers, layer) < 0)
		return -ENOMEM;
	layer->digest = copy_digest(arena, &piece->digest);
	layer->diff_id = copy_digest(arena, diff_id);
	layer->size_bytes = piece->size_bytes;
	return layer->digest && layer->diff_id ? 0 : -ENOMEM;
}

/* The strings are the configuration's, which lives in the same arena. */
int image_message_details(struct arena *arena, const struct image_config *config,
			  const struct manifest *manifest, Berth__V1__GetImageResponse *reply)
{
	Berth__V1__ImageConfig *message = arena_message(arena,
							&berth__v1__image_config__descriptor);

	if (!message)
		return -ENOMEM;
	reply->config = message;
	message->os = (char *)config->platform.os;
	message->architecture = (char *)config->platform.architecture;
	message->variant = (char *)config->platform.variant;
	message->created = (char *)config->created;
	message->entrypoint = config->entrypoint;
	message->n_entrypoint = config->n_entrypoint;
	message->command = config->command;
	message->n_command = config->n_command;
	message->env = config->env;
	message->n_env = config->n_env;
	message->volumes = config->volumes;
	message->n_volumes = config->n_volumes;
	message->user = (char *)config->user;
	message->working_directory = (char *)config->working_directory;
	message->stop_signal = (char *)config->stop_signal;
	for (size_t i = 0; i < manifest->n_layers && i < config->n_diff_ids; i++)
		if (add_layer(arena, &config->diff_ids[i], &manifest->layers[i], reply) < 0)
			return -ENOMEM;
	return add_labels(arena, config, message);
}
