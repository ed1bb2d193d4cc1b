#include "agent/image/manifest.h"

#include <stdio.h>
#include <string.h>

#include "proto/names.h"

static int unsupported(struct err *err, const char *what)
{
	return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP, "%s", what);
}

static int old_schema(struct err *err)
{
	return unsupported(
		err,
		"it is of docker's schema 1, which no registry should have any more; push the image again with a present tool");
}

/* By what it holds, where it says nothing of itself; both is MEDIA_UNKNOWN. */
static enum media media_of_shape(const json_t *root)
{
	bool is_index = json_object_get(root, "manifests");
	bool is_manifest = json_object_get(root, "config") || json_object_get(root, "layers");

	if (is_index == is_manifest)
		return MEDIA_UNKNOWN;
	return is_index ? MEDIA_INDEX : MEDIA_MANIFEST;
}

static int judge(const json_t *root, const char *content_type, enum media *ret_media,
		 struct err *err)
{
	enum media shape = media_of_shape(root);
	enum media sent = media_of(content_type);
	const char *own;
	int r = document_string(root, "mediaType", &own, err);

	if (r < 0)
		return r;
	if (sent == MEDIA_MANIFEST_OLD ||
	    json_integer_value(json_object_get(root, "schemaVersion")) == 1)
		return old_schema(err);
	if (json_integer_value(json_object_get(root, "schemaVersion")) != 2)
		return err_set(err, ERR_INVALID, EINVAL, "schemaVersion is not 2");
	if (shape == MEDIA_UNKNOWN)
		return err_set(err, ERR_INVALID, EINVAL,
			       "it is neither a manifest nor an index of manifests");
	if ((own[0] && media_of(own) != shape) || (sent != MEDIA_UNKNOWN && sent != shape)) {
		char said[NAME_QUOTED_MAX];

		return err_set(err, ERR_INVALID, EINVAL,
			       "it is called %s, and holds what another type of document does",
			       names_quote(own[0] ? own : content_type, said));
	}
	*ret_media = shape;
	return 0;
}

int manifest_media(const void *bytes, size_t length, const char *content_type,
		   enum media *ret_media, struct err *err)
{
	cleanup_document json_t *root = NULL;
	int r = document_load(bytes, length, &root, err);

	return r < 0 ? r : judge(root, content_type, ret_media, err);
}

static int read_config(const json_t *root, struct descriptor *ret, struct err *err)
{
	const json_t *object = json_object_get(root, "config");
	int r = document_descriptor(object, ret, err);
	const char *type = "";
	char quoted[NAME_QUOTED_MAX];

	if (r < 0)
		return err_prefix(err, r, "config");
	(void)document_string(object, "mediaType", &type, NULL);
	if (ret->media != MEDIA_CONFIG)
		return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP,
			       "its configuration is of the type %s: it is no image of a container",
			       names_quote(type, quoted));
	if (ret->size_bytes > DOCUMENT_BYTES_MAX)
		return err_set(err, ERR_INVALID, EINVAL,
			       "its configuration has %llu bytes, at most %u are taken",
			       (unsigned long long)ret->size_bytes, DOCUMENT_BYTES_MAX);
	return 0;
}

static int read_layer(const json_t *object, struct descriptor *ret, struct err *err)
{
	int r = document_descriptor(object, ret, err);
	const char *type = "";
	char quoted[NAME_QUOTED_MAX];

	if (r < 0)
		return r;
	if (ret->media == MEDIA_LAYER_TAR || ret->media == MEDIA_LAYER_GZIP ||
	    ret->media == MEDIA_LAYER_ZSTD)
		return 0;
	if (ret->media == MEDIA_LAYER_FOREIGN)
		return unsupported(err,
				   "it is kept outside of registries (a nondistributable layer)");
	(void)document_string(object, "mediaType", &type, NULL);
	return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP,
		       "its type is %s; a tar, plain or compressed with gzip or zstd, is needed",
		       names_quote(type, quoted));
}

int manifest_read(const void *bytes, size_t length, struct manifest *ret_manifest, struct err *err)
{
	cleanup_document json_t *root = NULL;
	enum media media;
	const json_t *array;
	int r = document_load(bytes, length, &root, err);

	if (r == 0)
		r = judge(root, "", &media, err);
	if (r == 0 && media != MEDIA_MANIFEST)
		r = err_set(err, ERR_INVALID, EINVAL, "it is an index where a manifest belongs");
	if (r == 0)
		r = read_config(root, &ret_manifest->config, err);
	if (r == 0)
		r = document_array(root, "layers", MANIFEST_LAYERS_MAX, &array, err);
	if (r < 0)
		return r;
	ret_manifest->n_layers = json_array_size(array);
	ret_manifest->layer_bytes = 0;
	if (ret_manifest->n_layers == 0)
		return err_set(err, ERR_INVALID, EINVAL, "it has no layers");
	for (size_t i = 0; i < ret_manifest->n_layers; i++) {
		struct descriptor *layer = &ret_manifest->layers[i];

		r = read_layer(json_array_get(array, i), layer, err);
		if (r < 0)
			return err_prefix(err, r, "layer %zu", i + 1);
		if (__builtin_add_overflow(ret_manifest->layer_bytes, layer->size_bytes,
					   &ret_manifest->layer_bytes))
			return err_set(err, ERR_INVALID, EINVAL, "its sizes add up to nonsense");
	}
	return 0;
}

static int read_platform(const json_t *entry, struct platform *ret, struct err *err)
{
	const json_t *object;
	int r = document_object(entry, "platform", &object, err);

	if (r == 0)
		r = document_string(object, "os", &ret->os, err);
	if (r == 0)
		r = document_string(object, "architecture", &ret->architecture, err);
	if (r == 0)
		r = document_string(object, "variant", &ret->variant, err);
	return r;
}

/* "linux/arm64/v8, ..." for a sentence; what does not fit is left out. */
static void note_platform(char *text, size_t size, const struct platform *platform)
{
	size_t used = strlen(text);
	char one[64], quoted[NAME_QUOTED_MAX];
	int n = snprintf(one, sizeof(one), "%s/%s%s%s", platform->os, platform->architecture,
			 platform->variant[0] ? "/" : "", platform->variant);

	if (n < 0 || (size_t)n >= sizeof(one) || strcmp(one, "unknown/unknown") == 0)
		return; /* of attestations that lie beside the images */
	(void)names_quote(one, quoted);
	if (used + strlen(quoted) + 3 <= size)
		(void)snprintf(text + used, size - used, "%s%s", used ? ", " : "", quoted);
}

int manifest_choose(const void *bytes, size_t length, const struct platform *host,
		    struct descriptor *ret_manifest, struct err *err)
{
	cleanup_document json_t *root = NULL;
	char offered[160] = "";
	const json_t *array, *entry;
	int best = 0;
	size_t i;
	int r = document_load(bytes, length, &root, err);

	if (r == 0)
		r = document_array(root, "manifests", MANIFEST_PLATFORMS_MAX, &array, err);
	if (r < 0)
		return r;
	json_array_foreach (array, i, entry) {
		struct platform platform = { 0 };
		int fit;

		r = read_platform(entry, &platform, err);
		if (r < 0)
			return err_prefix(err, r, "manifest %zu", i + 1);
		note_platform(offered, sizeof(offered), &platform);
		fit = platform_fit(host, &platform);
		if (fit <= best)
			continue;
		r = document_descriptor(entry, ret_manifest, err);
		if (r < 0)
			return err_prefix(err, r, "manifest %zu", i + 1);
		best = fit;
	}
	if (best == 0)
		return err_set(err, ERR_NOT_FOUND, ENOENT,
			       "there is no image for %s/%s; there are some for %s", host->os,
			       host->architecture, offered[0] ? offered : "nothing that it names");
	return 0;
}
