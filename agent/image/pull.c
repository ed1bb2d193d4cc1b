#include "agent/image/pull.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "proto/names.h"

struct layer {
	struct pull *pull;
	struct descriptor piece;
	struct content_writer *writer;
	struct fetch *fetch;
	bool done;
	uint64_t bytes; /* there of it, as the progress has it */
};

struct pull {
	LIST_ENTRY(pull) link;
	struct pull_yard *yard;
	struct reference reference;
	char name[REFERENCE_TEXT_MAX];
	struct registry *registry;
	struct pull_events events;
	struct pull_progress progress;
	struct fetch *fetch; /* of a document */
	char *document;
	size_t document_bytes;
	char content_type[256];
	struct descriptor wanted; /* the document, where its digest is known */
	bool has_wanted;
	bool has_digest;
	struct image image;
	struct manifest manifest;
	struct layer *layers;
};

static void pull_free(struct pull *pull)
{
	fetch_cancel(pull->fetch);
	for (size_t i = 0; pull->layers && i < pull->manifest.n_layers; i++) {
		struct layer *layer = &pull->layers[i];

		if (layer->fetch)
			pull->yard->layers_now--;
		fetch_cancel(layer->fetch);
		content_writer_stop(layer->writer);
	}
	LIST_REMOVE(pull, link);
	registry_free(pull->registry);
	free(pull->layers);
	free(pull->document);
	free(pull);
}

static void begin_layers_of_all(struct pull_yard *yard);

void pull_cancel(struct pull *pull)
{
	struct pull_yard *yard;

	if (!pull)
		return;
	yard = pull->yard;
	pull_free(pull);
	begin_layers_of_all(yard);
}

const struct pull_progress *pull_progress(const struct pull *pull)
{
	return &pull->progress;
}

bool pull_needs(const struct pull_yard *yard, const struct digest *digest)
{
	const struct pull *pull;

	LIST_FOREACH (pull, &yard->pulls, link) {
		if ((pull->has_digest && (digest_equal(digest, &pull->image.digest) ||
					  digest_equal(digest, &pull->image.manifest))) ||
		    (pull->has_wanted && digest_equal(digest, &pull->wanted.digest)))
			return true;
		if (!pull->layers)
			continue;
		if (digest_equal(digest, &pull->manifest.config.digest))
			return true;
		for (size_t i = 0; i < pull->manifest.n_layers; i++)
			if (digest_equal(digest, &pull->layers[i].piece.digest))
				return true;
	}
	return false;
}

static void report(struct pull *pull)
{
	pull->events.progress(pull, pull->events.user);
}

/* Ends the pull, and lets the others have its layers' places. */
static void fail(struct pull *pull, int r, struct err *err, const char *step)
{
	struct pull_events events = pull->events;
	struct pull_yard *yard = pull->yard;

	if (step)
		r = err_prefix(err, r, "%s", step);
	r = err_prefix(err, r, "pull %s", pull->name);
	events.end(pull, r, NULL, err, events.user);
	pull_free(pull);
	begin_layers_of_all(yard);
}

static uint64_t now_unix_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* All pieces are there. */
static void put_in_catalogue(struct pull *pull)
{
	struct pull_events events = pull->events;
	struct pull_yard *yard = pull->yard;
	const struct image *known = catalogue_find(yard->catalogue, pull->name);
	struct err err = { 0 };
	int r;

	pull->progress.phase = PULL_STORING;
	report(pull);
	(void)strcpy(pull->image.name, pull->name);
	pull->image.pulled_unix_ms = pull->image.used_unix_ms = now_unix_ms();
	pull->image.pinned = known && known->pinned;
	r = catalogue_put(yard->catalogue, &pull->image, &err);
	if (r < 0) {
		fail(pull, r, &err, "put it in the catalogue");
		return;
	}
	events.end(pull, 0, catalogue_find(yard->catalogue, pull->name), &err, events.user);
	pull_free(pull);
	begin_layers_of_all(yard);
}

/* ---- Layers ---- */

static void account(struct layer *layer, uint64_t bytes)
{
	struct pull_progress *progress = &layer->pull->progress;

	progress->bytes_done += bytes - layer->bytes;
	layer->bytes = bytes;
}

static uint64_t layer_have(void *user)
{
	struct layer *layer = user;
	struct err err = { 0 };

	/* Where it cannot be opened, adding to it says so. */
	if (!layer->writer &&
	    content_write(layer->pull->yard->content, &layer->piece, &layer->writer, &err) < 0)
		layer->writer = NULL;
	account(layer, layer->writer ? content_writer_bytes(layer->writer) : 0);
	/* All of it may be there, and only its end be missing: the last byte is asked for again. */
	if (layer->writer && layer->bytes > 0 && layer->bytes == layer->piece.size_bytes) {
		if (content_writer_restart(layer->writer, &err) < 0)
			return 0;
		account(layer, 0);
	}
	return layer->bytes;
}

static int layer_open(struct layer *layer, struct err *err)
{
	if (layer->writer)
		return 0;
	return content_write(layer->pull->yard->content, &layer->piece, &layer->writer, err);
}

static int layer_restart(void *user, struct err *err)
{
	struct layer *layer = user;
	int r = layer_open(layer, err);

	if (r == 0)
		r = content_writer_restart(layer->writer, err);
	account(layer, 0);
	return r;
}

static int layer_add(const void *bytes, size_t length, void *user, struct err *err)
{
	struct layer *layer = user;
	int r = layer_open(layer, err);

	if (r == 0)
		r = content_writer_add(layer->writer, bytes, length, err);
	if (r < 0)
		return r;
	layer->pull->progress.bytes_fetched += length;
	account(layer, content_writer_bytes(layer->writer));
	report(layer->pull);
	return 0;
}

static int layer_complete(const struct transfer_head *head, void *user, struct err *err)
{
	struct layer *layer = user;
	int r = layer_open(layer, err);

	if (r == 0)
		r = content_writer_end(take_ptr(&layer->writer), err);
	return r;
}

static void layer_done(struct layer *layer)
{
	layer->done = true;
	account(layer, layer->piece.size_bytes);
	layer->pull->progress.layers_done++;
	report(layer->pull);
}

static void layer_end(int r, const struct err *err, void *user)
{
	struct layer *layer = user;
	struct pull *pull = layer->pull;
	struct pull_yard *yard = pull->yard;
	struct err why = *err;
	char step[64];

	layer->fetch = NULL;
	yard->layers_now--;
	if (r < 0) {
		(void)snprintf(step, sizeof(step), "layer %zu of %zu",
			       (size_t)(layer - pull->layers) + 1, pull->manifest.n_layers);
		fail(pull, r, &why, step);
		return;
	}
	layer_done(layer);
	begin_layers_of_all(yard);
}

static const struct fetch_request layer_request = {
	.have = layer_have,
	.restart = layer_restart,
	.add = layer_add,
	.complete = layer_complete,
	.end = layer_end,
};

/* Of another layer or another pull the same piece is on its way: it is there when that one is done. */
static bool is_on_its_way(const struct pull_yard *yard, const struct digest *digest)
{
	const struct pull *pull;

	LIST_FOREACH (pull, &yard->pulls, link)
		for (size_t i = 0; pull->layers && i < pull->manifest.n_layers; i++)
			if (pull->layers[i].fetch &&
			    digest_equal(&pull->layers[i].piece.digest, digest))
				return true;
	return false;
}

static int begin_layer(struct layer *layer, struct err *err)
{
	char digest[DIGEST_TEXT_MAX], path[DIGEST_TEXT_MAX + sizeof("blobs/")];
	struct fetch_request request = layer_request;
	struct pull *pull = layer->pull;
	int r;

	(void)snprintf(path, sizeof(path), "blobs/%s", digest_text(&layer->piece.digest, digest));
	request.path = path;
	request.user = layer;
	r = fetch_begin(pull->registry, &request, &layer->fetch, err);
	if (r == 0)
		pull->yard->layers_now++;
	return r;
}

/* Those that may begin. False when the pull is over, in one way or the other. */
static bool begin_layers(struct pull *pull)
{
	struct pull_yard *yard = pull->yard;
	bool all = true;

	for (size_t i = 0; i < pull->manifest.n_layers; i++) {
		struct layer *layer = &pull->layers[i];
		struct err err = { 0 };
		uint64_t size;
		int r;

		if (!layer->done && !layer->fetch &&
		    content_has(yard->content, &layer->piece.digest, &size) &&
		    size == layer->piece.size_bytes)
			layer_done(layer);
		all &= layer->done;
		if (layer->done || layer->fetch || yard->layers_now >= yard->layers_max ||
		    is_on_its_way(yard, &layer->piece.digest))
			continue;
		r = begin_layer(layer, &err);
		if (r < 0) {
			fail(pull, r, &err, "a layer");
			return false;
		}
	}
	if (all)
		put_in_catalogue(pull);
	return !all;
}

static void begin_layers_of_all(struct pull_yard *yard)
{
	struct pull *pull;

	/* One that ends has begun those of all others before it returns. */
	LIST_FOREACH (pull, &yard->pulls, link)
		if (pull->layers && !begin_layers(pull))
			return;
}

static uint64_t missing_bytes(const struct pull *pull)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < pull->manifest.n_layers; i++)
		if (!content_has(pull->yard->content, &pull->layers[i].piece.digest, NULL))
			bytes += pull->layers[i].piece.size_bytes;
	return bytes;
}

static int plan_layers(struct pull *pull, struct err *err)
{
	struct layer *layers = calloc(pull->manifest.n_layers, sizeof(*layers));

	if (!layers)
		return err_oom(err);
	for (size_t i = 0; i < pull->manifest.n_layers; i++)
		layers[i] = (struct layer){ .pull = pull, .piece = pull->manifest.layers[i] };
	pull->layers = layers;
	pull->progress.phase = PULL_LAYERS;
	pull->progress.layers = (uint32_t)pull->manifest.n_layers;
	pull->progress.bytes = pull->manifest.layer_bytes;
	return content_check_room(pull->yard->content, missing_bytes(pull), err);
}

/* ---- Documents ---- */

static int document_restart(void *user, struct err *err)
{
	((struct pull *)user)->document_bytes = 0;
	return 0;
}

static uint64_t document_have(void *user)
{
	((struct pull *)user)->document_bytes = 0; /* from its first byte, each time */
	return 0;
}

static int document_add(const void *bytes, size_t length, void *user, struct err *err)
{
	struct pull *pull = user;
	size_t needed = pull->document_bytes + length;
	char *grown;

	if (needed > DOCUMENT_BYTES_MAX)
		return err_set(err, ERR_INVALID, EFBIG, "it has more than %u bytes",
			       DOCUMENT_BYTES_MAX);
	grown = realloc(pull->document, needed);
	if (!grown)
		return err_oom(err);
	memcpy(grown + pull->document_bytes, bytes, length);
	pull->document = grown;
	pull->document_bytes = needed;
	return 0;
}

static int store_document(struct pull *pull, const struct descriptor *piece, struct err *err)
{
	struct content_writer *writer;
	int r;

	if (content_has(pull->yard->content, &piece->digest, NULL))
		return 0;
	r = content_write(pull->yard->content, piece, &writer, err);
	if (r < 0)
		return r;
	r = content_writer_restart(writer, err);
	if (r == 0)
		r = content_writer_add(writer, pull->document, pull->document_bytes, err);
	if (r < 0) {
		content_writer_stop(writer);
		return r;
	}
	return content_writer_end(writer, err);
}

static int document_complete(const struct transfer_head *head, void *user, struct err *err)
{
	struct pull *pull = user;
	char has[DIGEST_TEXT_MAX], wanted[DIGEST_TEXT_MAX];
	struct digest digest;

	(void)snprintf(pull->content_type, sizeof(pull->content_type), "%s", head->content_type);
	if (digest_of(pull->document ? pull->document : "", pull->document_bytes, &digest) < 0)
		return err_oom(err);
	if (pull->has_wanted && !digest_equal(&digest, &pull->wanted.digest))
		return err_set(err, ERR_INVALID, EBADMSG, "its bytes have the digest %s, not %s",
			       digest_text(&digest, has),
			       digest_text(&pull->wanted.digest, wanted));
	pull->wanted.digest = digest;
	pull->wanted.size_bytes = pull->document_bytes;
	pull->has_wanted = true;
	return 0;
}

static int fetch_document(struct pull *pull, const char *kind, const char *name, const char *accept,
			  void (*end)(int r, const struct err *err, void *user), struct err *err)
{
	char path[DIGEST_TEXT_MAX + REFERENCE_TAG_MAX + 16];
	const struct fetch_request request = {
		.path = path,
		.accept = accept,
		.have = document_have,
		.restart = document_restart,
		.add = document_add,
		.complete = document_complete,
		.end = end,
		.user = pull,
	};

	(void)snprintf(path, sizeof(path), "%s/%s", kind, name);
	return fetch_begin(pull->registry, &request, &pull->fetch, err);
}

/* The configuration is there: it must belong to the manifest and to this host. */
static int take_config(struct pull *pull, struct err *err)
{
	const struct platform host = platform_of_host();
	cleanup_arena struct arena arena;
	struct image_config config;
	int r;

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	r = image_config_read(pull->document, pull->document_bytes, &arena, &config, err);
	if (r == 0)
		r = image_config_check(&config, &pull->manifest, &host, err);
	if (r == 0)
		r = store_document(pull, &pull->manifest.config, err);
	return r < 0 ? r : plan_layers(pull, err);
}

static void on_config(int r, const struct err *err, void *user)
{
	struct pull *pull = user;
	struct err why = *err;

	pull->fetch = NULL;
	if (r == 0)
		r = take_config(pull, &why);
	if (r < 0)
		fail(pull, r, &why, "its configuration");
	else
		begin_layers_of_all(pull->yard);
}

static int take_manifest(struct pull *pull, struct err *err)
{
	char digest[DIGEST_TEXT_MAX];
	int r = manifest_read(pull->document, pull->document_bytes, &pull->manifest, err);

	if (r == 0)
		r = store_document(pull, &pull->wanted, err);
	if (r < 0)
		return r;
	pull->image.manifest = pull->wanted.digest;
	if (!pull->has_digest)
		pull->image.digest = pull->wanted.digest;
	pull->has_digest = true;
	pull->wanted = pull->manifest.config;
	return fetch_document(pull, "blobs", digest_text(&pull->wanted.digest, digest), NULL,
			      on_config, err);
}

static void on_manifest(int r, const struct err *err, void *user)
{
	struct pull *pull = user;
	struct err why = *err;

	pull->fetch = NULL;
	if (r == 0)
		r = take_manifest(pull, &why);
	if (r < 0)
		fail(pull, r, &why, "its manifest");
}

static int take_index(struct pull *pull, struct err *err)
{
	const struct platform host = platform_of_host();
	struct descriptor chosen = { 0 };
	char digest[DIGEST_TEXT_MAX];
	int r = manifest_choose(pull->document, pull->document_bytes, &host, &chosen, err);

	if (r == 0)
		r = store_document(pull, &pull->wanted, err);
	if (r < 0)
		return r;
	pull->image.digest = pull->image.manifest = pull->wanted.digest;
	pull->has_digest = true;
	pull->wanted = chosen;
	return fetch_document(pull, "manifests", digest_text(&chosen.digest, digest), media_accept,
			      on_manifest, err);
}

/* What the name stands for: an index, or a manifest. */
static void on_named(int r, const struct err *err, void *user)
{
	struct pull *pull = user;
	struct err why = *err;
	enum media media;

	pull->fetch = NULL;
	if (r == 0)
		r = manifest_media(pull->document, pull->document_bytes, pull->content_type, &media,
				   &why);
	if (r == 0)
		r = media == MEDIA_INDEX ? take_index(pull, &why) : take_manifest(pull, &why);
	if (r < 0)
		fail(pull, r, &why, "its manifest");
}

static int resolve(struct pull *pull, struct err *err)
{
	const struct reference *reference = &pull->reference;
	char digest[DIGEST_TEXT_MAX];

	pull->progress.phase = PULL_RESOLVING;
	pull->has_wanted = reference->has_digest;
	pull->wanted.digest = reference->digest;
	return fetch_document(pull, "manifests",
			      reference->has_digest ? digest_text(&reference->digest, digest)
						    : reference->tag,
			      media_accept, on_named, err);
}

int pull_begin(struct pull_yard *yard, const struct reference *reference,
	       const struct credentials *credentials, const struct pull_events *events,
	       struct pull **ret_pull, struct err *err)
{
	struct pull *pull = calloc(1, sizeof(*pull));
	int r;

	if (!pull)
		return err_oom(err);
	pull->yard = yard;
	pull->reference = *reference;
	pull->events = *events;
	(void)reference_text(reference, pull->name);
	LIST_INSERT_HEAD(&yard->pulls, pull, link);
	r = registry_open(yard->event, yard->transfers, yard->rules, reference, credentials,
			  &pull->registry, err);
	if (r == 0)
		r = resolve(pull, err);
	if (r < 0) {
		r = err_prefix(err, r, "pull %s", pull->name);
		pull_free(pull);
		return r;
	}
	*ret_pull = pull;
	return 0;
}
