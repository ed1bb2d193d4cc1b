/*
 * Questions about the images that are here. Each is answered at once, but for `verify`, which reads all of an
 * image: a piece of the work at each turn of the thread's loop, so that pulls go on.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/image/image_message.h"
#include "agent/image/images_private.h"

#define VERIFY_BYTES (4U << 20) /* read at one turn */

struct verification {
	LIST_ENTRY(verification) link;
	struct images *images;
	struct question *question;
	sd_event_source *turn;
	struct descriptor pieces[MANIFEST_LAYERS_MAX + 1];
	size_t n_pieces, at;
	int fd;
	struct digester *digester;
};

static int full(struct err *err)
{
	return err_set(err, ERR_EXHAUSTED, ENOMEM, "the answer does not fit the memory for it");
}

/* ---- Those of one image ---- */

static int find(const struct keeper *keeper, const char *text, const struct image **ret_image,
		struct err *err)
{
	struct reference reference;
	char name[REFERENCE_TEXT_MAX];
	int r = reference_parse(text, &reference, err);

	if (r < 0)
		return err_prefix(err, r, "reference");
	*ret_image = catalogue_find(keeper->catalogue, reference_text(&reference, name));
	if (!*ret_image)
		return err_set(err, ERR_NOT_FOUND, ENOENT, "there is no image %s on this host",
			       name);
	return 0;
}

static int get(struct keeper *keeper, struct question *question, struct err *err)
{
	const Berth__V1__GetImageRequest *request = (const void *)question->request;
	cleanup_free struct manifest *manifest = malloc(sizeof(*manifest));
	struct arena *arena = &question->arena;
	Berth__V1__GetImageResponse *reply =
		arena_message(arena, &berth__v1__get_image_response__descriptor);
	struct image_config config;
	const struct image *image;
	int r = manifest && reply ? 0 : full(err);

	if (r == 0)
		r = find(keeper, request->reference, &image, err);
	if (r == 0)
		r = catalogue_read(keeper->catalogue, image, manifest, arena, &config, err);
	if (r < 0)
		return r;
	reply->image = image_message(arena, image);
	if (!reply->image || image_message_details(arena, &config, manifest, reply) < 0)
		return full(err);
	question->reply = &reply->base;
	return 0;
}

static bool is_needed(const struct digest *digest, void *user)
{
	return pull_needs(user, digest);
}

int keeper_collect(struct keeper *keeper, bool remove, uint64_t *ret_bytes, struct err *err)
{
	return catalogue_collect(keeper->catalogue, remove, is_needed, &keeper->yard, ret_bytes,
				 err);
}

static int remove_image(struct keeper *keeper, struct question *question, struct err *err)
{
	const Berth__V1__RemoveImageRequest *request = (const void *)question->request;
	Berth__V1__RemoveImageResponse *reply =
		arena_message(&question->arena, &berth__v1__remove_image_response__descriptor);
	char name[REFERENCE_TEXT_MAX];
	const struct image *image;
	int r = reply ? find(keeper, request->reference, &image, err) : full(err);

	if (r < 0)
		return r;
	(void)strcpy(name, image->name);
	r = catalogue_remove(keeper->catalogue, name, err);
	if (r == 0)
		r = keeper_collect(keeper, true, &reply->freed_bytes, err);
	question->reply = &reply->base;
	return r;
}

/* ---- Those of all ---- */

static int compare(const void *a, const void *b)
{
	const Berth__V1__Image *const *one = a, *const *other = b;

	return strcmp((*one)->name, (*other)->name);
}

static int list(struct keeper *keeper, struct question *question, struct err *err)
{
	struct arena *arena = &question->arena;
	Berth__V1__ListImagesResponse *reply =
		arena_message(arena, &berth__v1__list_images_response__descriptor);
	const struct image *image;

	if (!reply)
		return full(err);
	TAILQ_FOREACH(image, catalogue_images(keeper->catalogue), link)
	if (arena_append(arena, &reply->images, &reply->n_images, image_message(arena, image)) < 0)
		return full(err);
	if (reply->n_images)
		qsort(reply->images, reply->n_images, sizeof(reply->images[0]), compare);
	question->reply = &reply->base;
	return 0;
}

static bool add_size(const struct digest *digest, uint64_t size_bytes, bool whole, void *user)
{
	*(uint64_t *)user += size_bytes;
	return true;
}

static int usage(struct keeper *keeper, struct question *question, struct err *err)
{
	Berth__V1__ImageUsageResponse *reply =
		arena_message(&question->arena, &berth__v1__image_usage_response__descriptor);
	const struct image *image;
	int r = reply ? content_each(keeper->content, add_size, &reply->bytes, err) : full(err);

	if (r == 0)
		r = keeper_collect(keeper, false, &reply->unused_bytes, err);
	if (r == 0)
		r = content_room(keeper->content, &reply->available_bytes, err);
	if (r < 0)
		return r;
	TAILQ_FOREACH(image, catalogue_images(keeper->catalogue), link)
	reply->images++;
	question->reply = &reply->base;
	return 0;
}

static int collect_all(struct keeper *keeper, struct question *question, struct err *err)
{
	Berth__V1__CollectImagesResponse *reply =
		arena_message(&question->arena, &berth__v1__collect_images_response__descriptor);

	if (!reply)
		return full(err);
	question->reply = &reply->base;
	return keeper_collect(keeper, true, &reply->freed_bytes, err);
}

/* ---- Verifying ---- */

static void verification_end(struct verification *verification)
{
	struct images *images = verification->images;
	struct question *question = verification->question;

	LIST_REMOVE(verification, link);
	sd_event_source_disable_unref(verification->turn);
	digester_free(verification->digester);
	fd_close(&verification->fd);
	free(verification);
	images_answer(images, &question->job);
}

/* The piece is done; @intact or not. */
static int next_piece(struct verification *verification, bool intact)
{
	Berth__V1__VerifyImageResponse *reply = (void *)verification->question->reply;
	struct arena *arena = &verification->question->arena;
	char digest[DIGEST_TEXT_MAX];

	fd_close(&verification->fd);
	digester_free(take_ptr(&verification->digester));
	if (!intact) {
		reply->intact = false;
		(void)digest_text(&verification->pieces[verification->at].digest, digest);
		if (arena_append(arena, &reply->damaged, &reply->n_damaged,
				 arena_strdup(arena, digest)) < 0)
			return full(&verification->question->err);
	}
	verification->at++;
	return 0;
}

static int begin_piece(struct verification *verification)
{
	const struct descriptor *piece = &verification->pieces[verification->at];

	if (content_open_piece(verification->images->keeper.content, &piece->digest,
			       &verification->fd, NULL) < 0)
		return next_piece(verification, false);
	verification->digester = digester_new();
	return verification->digester ? 0 : full(&verification->question->err);
}

/* Some more of the piece that is open. */
static int read_piece(struct verification *verification)
{
	const struct digest *wanted = &verification->pieces[verification->at].digest;
	Berth__V1__VerifyImageResponse *reply = (void *)verification->question->reply;
	cleanup_free char *bytes = malloc(VERIFY_BYTES);
	struct digest digest;
	ssize_t n;

	if (!bytes)
		return full(&verification->question->err);
	n = read(verification->fd, bytes, VERIFY_BYTES);
	if (n < 0)
		return next_piece(verification, false);
	if (n > 0) {
		reply->bytes += (uint64_t)n;
		return digester_add(verification->digester, bytes, (size_t)n) < 0
			       ? full(&verification->question->err)
			       : 0;
	}
	if (digester_end(verification->digester, &digest) < 0)
		return full(&verification->question->err);
	return next_piece(verification, digest_equal(&digest, wanted));
}

static int on_turn(sd_event_source *source, void *userdata)
{
	struct verification *verification = userdata;
	int r;

	if (verification->at == verification->n_pieces) {
		verification_end(verification);
		return 0;
	}
	r = verification->fd < 0 ? begin_piece(verification) : read_piece(verification);
	if (r < 0)
		verification_end(verification);
	return 0;
}

/* The manifest itself and its configuration have been read, and with that verified. */
static int verify(struct images *images, struct question *question, struct err *err)
{
	const Berth__V1__VerifyImageRequest *request = (const void *)question->request;
	struct verification *verification = calloc(1, sizeof(*verification));
	cleanup_free struct manifest *manifest = malloc(sizeof(*manifest));
	Berth__V1__VerifyImageResponse *reply =
		arena_message(&question->arena, &berth__v1__verify_image_response__descriptor);
	const struct image *image;
	int r = verification && manifest && reply ? 0 : full(err);

	if (r == 0)
		r = find(&images->keeper, request->reference, &image, err);
	if (r == 0)
		r = catalogue_read(images->keeper.catalogue, image, manifest, NULL, NULL, err);
	if (r == 0)
		r = sd_event_add_defer(images->keeper.event, &verification->turn, on_turn,
				       verification) < 0
			    ? full(err)
			    : 0;
	if (r < 0) {
		free(verification);
		return r;
	}
	(void)sd_event_source_set_priority(verification->turn, SD_EVENT_PRIORITY_IDLE);
	(void)sd_event_source_set_enabled(verification->turn, SD_EVENT_ON);
	reply->intact = true;
	question->reply = &reply->base;
	verification->images = images;
	verification->question = question;
	verification->fd = -1;
	verification->pieces[verification->n_pieces++] = manifest->config;
	for (size_t i = 0; i < manifest->n_layers; i++)
		verification->pieces[verification->n_pieces++] = manifest->layers[i];
	LIST_INSERT_HEAD(&images->keeper.verifications, verification, link);
	return 0;
}

void keeper_questions_end(struct images *images)
{
	struct verification *verification;

	while ((verification = LIST_FIRST(&images->keeper.verifications))) {
		(void)err_set(&verification->question->err, ERR_UNAVAILABLE, ECANCELED,
			      "berthd is ending");
		verification_end(verification);
	}
}

/* ---- All ---- */

static int answer(struct images *images, struct question *question)
{
	struct keeper *keeper = &images->keeper;
	struct err *err = &question->err;

	switch (question->verb) {
	case IMAGES_LIST:
		return list(keeper, question, err);
	case IMAGES_GET:
		return get(keeper, question, err);
	case IMAGES_REMOVE:
		return remove_image(keeper, question, err);
	case IMAGES_USAGE:
		return usage(keeper, question, err);
	case IMAGES_COLLECT:
		return collect_all(keeper, question, err);
	case IMAGES_VERIFY:
		return verify(images, question, err);
	}
	return err_set(err, ERR_INTERNAL, EINVAL, "no question about images has this number");
}

void keeper_question(struct images *images, struct job *job)
{
	struct question *question = (struct question *)job; /* its first member */
	int r = 0;

	question->err = images->keeper.why;
	if (question->err.kind == ERR_NONE)
		r = answer(images, question);
	if (r == 0 && question->err.kind == ERR_NONE && question->verb == IMAGES_VERIFY)
		return; /* when all is read */
	images_answer(images, job);
}
