/*
 * Pieces that somebody is to read who is not of this process; and what of those read is still needed.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/image/images_private.h"

/* What the bytes are, whatever their media type says: that of docker's manifests is gzip for all. */
static uint32_t compression_of(int fd)
{
	static const unsigned char gzip[] = { 0x1f, 0x8b }, zstd[] = { 0x28, 0xb5, 0x2f, 0xfd };
	unsigned char head[sizeof(zstd)] = { 0 };

	if (pread(fd, head, sizeof(head), 0) < (ssize_t)sizeof(gzip))
		return IMAGES_PLAIN;
	if (memcmp(head, gzip, sizeof(gzip)) == 0)
		return IMAGES_GZIP;
	return memcmp(head, zstd, sizeof(zstd)) == 0 ? IMAGES_ZSTD : IMAGES_PLAIN;
}

static int open_piece(struct images *images, struct opening *opening, struct err *err)
{
	struct images_piece *piece = &opening->piece;
	struct digest digest;
	struct stat st;
	int r = digest_parse(opening->digest, &digest, err);

	if (r == 0)
		r = content_open_piece(images->keeper.content, &digest, &piece->fd, err);
	if (r < 0)
		return r;
	if (fstat(piece->fd, &st) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot look at the piece %s: %m",
			       opening->digest);
	piece->bytes = (uint64_t)st.st_size;
	piece->compression = compression_of(piece->fd);
	return 0;
}

void keeper_open(struct images *images, struct job *job)
{
	struct opening *opening = (struct opening *)job; /* its first member */

	opening->err = images->keeper.why;
	if (opening->err.kind == ERR_NONE)
		(void)open_piece(images, opening, &opening->err);
	images_answer(images, job);
}

/* ---- Layers that are needed ---- */

#define CONFIG_BYTES (16U << 20)

static int add_layers(const struct catalogue *catalogue, const struct image *image,
		      struct text_set *set, struct err *err)
{
	cleanup_arena struct arena arena;
	struct image_config config;
	char text[DIGEST_TEXT_MAX];
	int r;

	arena_init(&arena, CONFIG_BYTES);
	r = catalogue_read(catalogue, image, NULL, &arena, &config, err);
	for (size_t i = 0; r == 0 && i < config.n_diff_ids; i++) {
		(void)digest_text(&config.diff_ids[i], text);
		text_set_add(set, text);
	}
	return r == 0 && set->incomplete ? err_oom(err) : r;
}

/* One that cannot be read, and all layers are kept. */
void keeper_census(struct images *images, struct job *job)
{
	struct census *census = (struct census *)job; /* its first member */
	const struct image *image;
	int r = 0;

	census->err = images->keeper.why;
	if (census->err.kind == ERR_NONE) {
		TAILQ_FOREACH(image, catalogue_images(images->keeper.catalogue), link)
		if (r == 0)
			r = add_layers(images->keeper.catalogue, image, &census->needed,
				       &census->err);
	}
	images_answer(images, job);
}
