#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "image_desk.h"

static void open_both(struct image_desk *desk)
{
	struct err err = { 0 };

	if (content_open(desk->directory, 0, &desk->content, &err) < 0 ||
	    catalogue_open(desk->directory, desk->content, &desk->catalogue, &err) < 0)
		fail_msg("%s", err.text);
}

static void close_both(struct image_desk *desk)
{
	catalogue_free(desk->catalogue);
	content_free(desk->content);
}

int image_desk_open(void **state)
{
	struct image_desk *desk = calloc(1, sizeof(*desk));

	assert_non_null(desk);
	(void)snprintf(desk->directory, sizeof(desk->directory), "/tmp/berth-image.XXXXXX");
	assert_non_null(mkdtemp(desk->directory));
	open_both(desk);
	*state = desk;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int image_desk_close(void **state)
{
	struct image_desk *desk = *state;

	close_both(desk);
	(void)nftw(desk->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(desk);
	return 0;
}

void image_desk_reopen(struct image_desk *desk)
{
	close_both(desk);
	open_both(desk);
}

struct descriptor image_desk_put(struct image_desk *desk, const char *bytes)
{
	struct descriptor piece = { .size_bytes = strlen(bytes) };
	struct content_writer *writer;
	struct err err = { 0 };

	assert_int_equal(digest_of(bytes, strlen(bytes), &piece.digest), 0);
	if (content_write(desk->content, &piece, &writer, &err) < 0 ||
	    content_writer_add(writer, bytes, strlen(bytes), &err) < 0 ||
	    content_writer_end(writer, &err) < 0)
		fail_msg("%s", err.text);
	return piece;
}

struct image image_desk_image(struct image_desk *desk, const char *name, const char *layer)
{
	struct descriptor layer_piece = image_desk_put(desk, layer), config;
	struct image image = { .pulled_unix_ms = 5, .used_unix_ms = 6 };
	struct descriptor manifest;
	struct digest diff_id;
	char text[2048];

	assert_int_equal(digest_of(layer, strlen(layer), &diff_id), 0);
	(void)snprintf(
		text, sizeof(text),
		"{\"os\":\"linux\",\"architecture\":\"%s\",\"rootfs\":{\"diff_ids\":[\"sha256:%s\"]}}",
		platform_of_host().architecture, diff_id.hex);
	config = image_desk_put(desk, text);
	(void)snprintf(
		text, sizeof(text),
		"{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
		"\"digest\":\"sha256:%s\",\"size\":%zu},\"layers\":[{\"mediaType\":"
		"\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:%s\",\"size\":%zu}]}",
		config.digest.hex, (size_t)config.size_bytes, layer_piece.digest.hex,
		(size_t)layer_piece.size_bytes);
	manifest = image_desk_put(desk, text);
	image.digest = image.manifest = manifest.digest;
	(void)strcpy(image.name, name);
	return image;
}
