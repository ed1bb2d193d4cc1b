#include "agent/image/catalogue.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/log.h"

#define FILE_BYTES_MAX  4096
#define SUFFIX          ".json"
#define FILE_NAME_BYTES (DIGEST_HEX + sizeof(SUFFIX))
#define LATE_MS         3600000U
#define TEMPORARY       "new" /* of one thread: there is one at a time */

struct catalogue {
	struct content *content; /* the caller's */
	char *directory;
	int names_fd;
	struct image_list images;
	size_t n_images;
};

static int disk_failed(const struct catalogue *catalogue, struct err *err, const char *what)
{
	bool full = errno == ENOSPC || errno == EDQUOT;

	return err_set(err, full ? ERR_EXHAUSTED : ERR_INTERNAL, errno,
		       "cannot %s in %s/names: %m%s", what, catalogue->directory,
		       full ? "; remove images (berthctl image rm, gc)" : "");
}

/* The file of the image called @name: its length and characters are no concern of a directory then. */
static int file_name(const char *name, char buffer[static FILE_NAME_BYTES])
{
	struct digest digest;
	int r = digest_of(name, strlen(name), &digest);

	(void)snprintf(buffer, FILE_NAME_BYTES, "%s" SUFFIX, digest.hex);
	return r;
}

static struct image *find(const struct catalogue *catalogue, const char *name)
{
	struct image *image;

	TAILQ_FOREACH(image, &catalogue->images, link)
	if (strcmp(image->name, name) == 0)
		return image;
	return NULL;
}

const struct image *catalogue_find(const struct catalogue *catalogue, const char *name)
{
	return find(catalogue, name);
}

const struct image_list *catalogue_images(const struct catalogue *catalogue)
{
	return &catalogue->images;
}

/* ---- Reading ---- */

static int read_number(const json_t *root, const char *key, uint64_t *ret)
{
	const json_t *value = json_object_get(root, key);

	*ret = (uint64_t)json_integer_value(value);
	return json_is_integer(value) && json_integer_value(value) >= 0 ? 0 : -EINVAL;
}

static int read_image(const char *bytes, size_t length, struct image *image, struct err *err)
{
	cleanup_document json_t *root = NULL;
	const char *name = "", *digest = "", *manifest = "";
	struct reference reference;
	char whole[REFERENCE_TEXT_MAX];
	int r = document_load(bytes, length, &root, err);

	if (r == 0)
		r = document_string(root, "name", &name, err);
	if (r == 0)
		r = reference_parse(name, &reference, err);
	if (r == 0)
		r = document_string(root, "digest", &digest, err);
	if (r == 0)
		r = digest_parse(digest, &image->digest, err);
	if (r == 0)
		r = document_string(root, "manifest", &manifest, err);
	if (r == 0)
		r = digest_parse(manifest, &image->manifest, err);
	if (r < 0)
		return r;
	if (strcmp(reference_text(&reference, whole), name) != 0 ||
	    read_number(root, "pulled_unix_ms", &image->pulled_unix_ms) < 0 ||
	    read_number(root, "used_unix_ms", &image->used_unix_ms) < 0)
		return err_set(err, ERR_INVALID, EINVAL, "it is no file of an image");
	(void)strcpy(image->name, whole);
	image->used_kept_ms = image->used_unix_ms;
	image->pinned = json_is_true(json_object_get(root, "pinned"));
	return 0;
}

static int check_piece(const struct catalogue *catalogue, const struct descriptor *piece,
		       struct err *err)
{
	uint64_t size;

	if (!content_has(catalogue->content, &piece->digest, &size))
		return err_set(err, ERR_NOT_FOUND, ENOENT, "the piece sha256:%s is missing",
			       piece->digest.hex);
	if (size != piece->size_bytes)
		return err_set(err, ERR_INVALID, EINVAL, "the piece sha256:%s has a wrong size",
			       piece->digest.hex);
	return 0;
}

int catalogue_read(const struct catalogue *catalogue, const struct image *image,
		   struct manifest *ret_manifest, struct arena *arena,
		   struct image_config *ret_config, struct err *err)
{
	cleanup_free struct manifest *manifest = malloc(sizeof(*manifest));
	cleanup_free void *bytes = NULL;
	size_t length;
	int r;

	if (!manifest)
		return err_oom(err);
	r = content_read(catalogue->content, &image->manifest, &bytes, &length, err);
	if (r == 0)
		r = manifest_read(bytes, length, manifest, err);
	if (r == 0 && ret_config) {
		free(take_ptr(&bytes));
		r = content_read(catalogue->content, &manifest->config.digest, &bytes, &length,
				 err);
		if (r == 0)
			r = image_config_read(bytes, length, arena, ret_config, err);
	}
	if (r < 0)
		return err_prefix(err, r, "image %s", image->name);
	if (ret_manifest)
		*ret_manifest = *manifest;
	return 0;
}

/* All pieces are there, of their sizes; their bytes are `verify`'s concern. */
static int check_image(const struct catalogue *catalogue, struct image *image, struct err *err)
{
	cleanup_free struct manifest *manifest = malloc(sizeof(*manifest));
	uint64_t manifest_bytes = 0;
	int r;

	if (!manifest)
		return err_oom(err);
	r = catalogue_read(catalogue, image, manifest, NULL, NULL, err);
	if (r == 0)
		r = check_piece(catalogue, &manifest->config, err);
	for (size_t i = 0; r == 0 && i < manifest->n_layers; i++)
		r = check_piece(catalogue, &manifest->layers[i], err);
	if (r < 0)
		return r;
	(void)content_has(catalogue->content, &image->manifest, &manifest_bytes);
	image->n_layers = (uint32_t)manifest->n_layers;
	image->size_bytes = manifest->layer_bytes + manifest->config.size_bytes + manifest_bytes;
	return 0;
}

static int load_file(struct catalogue *catalogue, const char *file, struct image *image,
		     struct err *err)
{
	cleanup_fd int fd = openat(catalogue->names_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char bytes[FILE_BYTES_MAX];
	ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));
	int r;

	if (n < 0)
		return disk_failed(catalogue, err, "read");
	r = read_image(bytes, (size_t)n, image, err);
	return r < 0 ? r : check_image(catalogue, image, err);
}

static int load_one(struct catalogue *catalogue, const char *file)
{
	struct image *image = calloc(1, sizeof(*image));
	struct err err = { 0 };
	int r;

	if (!image)
		return -ENOMEM;
	r = load_file(catalogue, file, image, &err);
	if (r < 0) {
		free(image);
		(void)err_prefix(&err, r, "an image is left out (%s)", file);
		log_failure(LOG_WARNING, NULL, &err);
		if (err.kind == ERR_INVALID || err.kind == ERR_NOT_FOUND)
			(void)unlinkat(catalogue->names_fd, file, 0);
		return 0;
	}
	TAILQ_INSERT_TAIL(&catalogue->images, image, link);
	catalogue->n_images++;
	return 0;
}

static void close_directory(DIR **directory)
{
	if (*directory)
		(void)closedir(*directory);
}

static int load_all(struct catalogue *catalogue, struct err *err)
{
	cleanup_fd int fd = openat(catalogue->names_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup(close_directory) DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!directory)
		return disk_failed(catalogue, err, "list");
	(void)take_fd(&fd);
	while ((entry = readdir(directory))) {
		size_t length = strlen(entry->d_name);

		if (length != FILE_NAME_BYTES - 1 ||
		    strcmp(entry->d_name + DIGEST_HEX, SUFFIX) != 0)
			continue;
		if (catalogue->n_images < CATALOGUE_IMAGES_MAX &&
		    load_one(catalogue, entry->d_name) < 0)
			return err_oom(err);
	}
	return 0;
}

int catalogue_open(const char *directory, struct content *content, struct catalogue **ret_catalogue,
		   struct err *err)
{
	cleanup(catalogue_free_p) struct catalogue *catalogue = calloc(1, sizeof(*catalogue));
	cleanup_free char *names = NULL;
	int r;

	if (!catalogue)
		return err_oom(err);
	catalogue->names_fd = -1;
	catalogue->content = content;
	TAILQ_INIT(&catalogue->images);
	catalogue->directory = strdup(directory);
	if (!catalogue->directory || asprintf(&names, "%s/names", directory) < 0)
		return err_oom(err);
	if (mkdir(names, 0700) < 0 && errno != EEXIST)
		return disk_failed(catalogue, err, "make the directory");
	catalogue->names_fd = open(names, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (catalogue->names_fd < 0)
		return disk_failed(catalogue, err, "open the directory");
	r = load_all(catalogue, err);
	if (r < 0)
		return r;
	*ret_catalogue = take_ptr(&catalogue);
	return 0;
}

void catalogue_free(struct catalogue *catalogue)
{
	struct image *image;

	if (!catalogue)
		return;
	while ((image = TAILQ_FIRST(&catalogue->images))) {
		TAILQ_REMOVE(&catalogue->images, image, link);
		free(image);
	}
	fd_close(&catalogue->names_fd);
	free(catalogue->directory);
	free(catalogue);
}

/* ---- Writing ---- */

static void free_text(char **text)
{
	free(*text);
}

static int write_file(const struct catalogue *catalogue, const struct image *image,
		      const char *file, struct err *err)
{
	char digest[DIGEST_TEXT_MAX], manifest[DIGEST_TEXT_MAX];
	cleanup_document json_t *root =
		json_pack("{s:s, s:s, s:s, s:I, s:I, s:b}", "name", image->name, "digest",
			  digest_text(&image->digest, digest), "manifest",
			  digest_text(&image->manifest, manifest), "pulled_unix_ms",
			  (json_int_t)image->pulled_unix_ms, "used_unix_ms",
			  (json_int_t)image->used_unix_ms, "pinned", image->pinned);
	cleanup(free_text) char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
	cleanup_fd int fd = -1;
	size_t length = text ? strlen(text) : 0;

	if (!text)
		return err_oom(err);
	fd = openat(catalogue->names_fd, TEMPORARY,
		    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || write(fd, text, length) != (ssize_t)length || fsync(fd) < 0)
		return disk_failed(catalogue, err, "write");
	if (renameat(catalogue->names_fd, TEMPORARY, catalogue->names_fd, file) < 0 ||
	    fsync(catalogue->names_fd) < 0)
		return disk_failed(catalogue, err, "put a file");
	return 0;
}

int catalogue_put(struct catalogue *catalogue, const struct image *image, struct err *err)
{
	struct image *known = find(catalogue, image->name);
	cleanup_free struct image *copy = malloc(sizeof(*copy));
	char file[FILE_NAME_BYTES];
	int r;

	if (!copy || file_name(image->name, file) < 0)
		return err_oom(err);
	if (!known && catalogue->n_images >= CATALOGUE_IMAGES_MAX)
		return err_set(err, ERR_EXHAUSTED, ENOSPC,
			       "there are %u images on this host already; remove some",
			       CATALOGUE_IMAGES_MAX);
	*copy = *image;
	copy->used_kept_ms = image->used_unix_ms;
	r = check_image(catalogue, copy, err);
	if (r == 0)
		r = write_file(catalogue, copy, file, err);
	if (r < 0) {
		(void)unlinkat(catalogue->names_fd, TEMPORARY, 0);
		return r;
	}
	if (known) {
		TAILQ_REMOVE(&catalogue->images, known, link);
		free(known);
		catalogue->n_images--;
	}
	TAILQ_INSERT_TAIL(&catalogue->images, copy, link);
	catalogue->n_images++;
	(void)take_ptr(&copy);
	return 0;
}

int catalogue_mark_used(struct catalogue *catalogue, const char *name, uint64_t unix_ms,
			struct err *err)
{
	struct image *image = find(catalogue, name);
	char file[FILE_NAME_BYTES];
	int r;

	if (!image || unix_ms <= image->used_unix_ms)
		return 0;
	image->used_unix_ms = unix_ms;
	if (unix_ms < image->used_kept_ms + LATE_MS)
		return 0;
	if (file_name(name, file) < 0)
		return err_oom(err);
	r = write_file(catalogue, image, file, err);
	if (r < 0)
		(void)unlinkat(catalogue->names_fd, TEMPORARY, 0);
	else
		image->used_kept_ms = unix_ms;
	return r;
}

int catalogue_remove(struct catalogue *catalogue, const char *name, struct err *err)
{
	struct image *image = find(catalogue, name);
	char file[FILE_NAME_BYTES];

	if (!image)
		return err_set(err, ERR_NOT_FOUND, ENOENT, "there is no image %s on this host",
			       name);
	if (file_name(name, file) < 0)
		return err_oom(err);
	if ((unlinkat(catalogue->names_fd, file, 0) < 0 && errno != ENOENT) ||
	    fsync(catalogue->names_fd) < 0)
		return disk_failed(catalogue, err, "remove a file");
	TAILQ_REMOVE(&catalogue->images, image, link);
	free(image);
	catalogue->n_images--;
	return 0;
}

/* ---- Collecting ---- */

struct collection {
	struct catalogue *catalogue;
	bool (*kept)(const struct digest *digest, void *user);
	void *user;
	struct digest *needed; /* sorted */
	size_t n_needed, room;
	uint64_t bytes;
	bool remove;
	int r;
	struct err *err;
};

static int need(struct collection *collection, const struct digest *digest)
{
	if (collection->n_needed == collection->room) {
		size_t room = collection->room ? collection->room * 2 : 256;
		struct digest *grown = reallocarray(collection->needed, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		collection->needed = grown;
		collection->room = room;
	}
	collection->needed[collection->n_needed++] = *digest;
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct digest *)a)->hex, ((const struct digest *)b)->hex);
}

static int need_image(struct collection *collection, const struct image *image,
		      struct manifest *manifest)
{
	int r = catalogue_read(collection->catalogue, image, manifest, NULL, NULL, collection->err);

	if (r < 0)
		return r;
	if (need(collection, &image->digest) < 0 || need(collection, &image->manifest) < 0 ||
	    need(collection, &manifest->config.digest) < 0)
		return err_oom(collection->err);
	for (size_t i = 0; i < manifest->n_layers; i++)
		if (need(collection, &manifest->layers[i].digest) < 0)
			return err_oom(collection->err);
	return 0;
}

static bool is_needed(const struct collection *collection, const struct digest *digest)
{
	/* Not even of nothing may there be no array. */
	return collection->n_needed &&
	       bsearch(digest, collection->needed, collection->n_needed, sizeof(*digest), compare);
}

static bool collect_piece(const struct digest *digest, uint64_t size_bytes, bool whole, void *user)
{
	struct collection *collection = user;

	if (is_needed(collection, digest) ||
	    (collection->kept && collection->kept(digest, collection->user)))
		return true;
	if (collection->remove)
		collection->r = content_remove(collection->catalogue->content, digest,
					       collection->err);
	if (collection->r == 0)
		collection->bytes += size_bytes;
	return collection->r == 0;
}

int catalogue_collect(struct catalogue *catalogue, bool remove,
		      bool (*kept)(const struct digest *digest, void *user), void *user,
		      uint64_t *ret_bytes, struct err *err)
{
	struct collection collection = {
		.catalogue = catalogue, .kept = kept, .user = user, .remove = remove, .err = err
	};
	cleanup_free struct manifest *manifest = malloc(sizeof(*manifest));
	const struct image *image;
	int r = manifest ? 0 : err_oom(err);

	TAILQ_FOREACH(image, &catalogue->images, link)
	if (r == 0)
		r = need_image(&collection, image, manifest);
	if (r == 0 && collection.n_needed)
		qsort(collection.needed, collection.n_needed, sizeof(*collection.needed), compare);
	if (r == 0)
		r = content_each(catalogue->content, collect_piece, &collection, err);
	free(collection.needed);
	if (r == 0)
		r = collection.r;
	if (r == 0)
		*ret_bytes = collection.bytes;
	return r;
}
