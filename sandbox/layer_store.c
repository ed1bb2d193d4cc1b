#include "sandbox/layer_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "proto/failpoint.h"
#include "proto/log.h"
#include "sandbox/writable_layer.h"

#define RECORD       "layer"
#define RECORD_FRESH "layer.new"
#define RECORD_MAX   512
#define LOCK         "lock"

void layer_store_init(struct layer_store *store)
{
	*store = (struct layer_store){ .fd = -1, .lock_fd = -1 };
}

void layer_store_done(struct layer_store *store)
{
	fd_close(&store->fd);
	fd_close(&store->lock_fd);
	free(store->list);
	for (size_t i = 0; i < store->n_strangers; i++)
		free(store->strangers[i]);
	free(store->strangers);
	layer_store_init(store);
}

static int open_dir_at(int fd, const char *name)
{
	return openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* ---- the index ---- */

/* Where it is, or belongs. */
static size_t place_of(const struct layer_store *store, const char *hex, bool *ret_found)
{
	size_t low = 0, high = store->n;

	*ret_found = false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = strcmp(store->list[middle].hex, hex);

		if (order == 0) {
			*ret_found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct layer *layer_store_find(const struct layer_store *store, const char *hex)
{
	bool found;
	size_t at = place_of(store, hex, &found);

	return found ? &store->list[at] : NULL;
}

int layer_store_add(struct layer_store *store, const struct layer *layer, struct err *err)
{
	bool found;
	size_t at = place_of(store, layer->hex, &found);

	if (found) {
		store->list[at] = *layer;
		return 0;
	}
	if (store->n == store->room) {
		size_t room = store->room ? 2 * store->room : 64;
		struct layer *list = reallocarray(store->list, room, sizeof(*list));

		if (!list)
			return err_oom(err);
		store->list = list;
		store->room = room;
	}
	memmove(store->list + at + 1, store->list + at, (store->n - at) * sizeof(*store->list));
	store->list[at] = *layer;
	store->n++;
	return 0;
}

void layer_store_forget(struct layer_store *store, const char *hex)
{
	bool found;
	size_t at = place_of(store, hex, &found);

	if (!found)
		return;
	store->n--;
	memmove(store->list + at, store->list + at + 1, (store->n - at) * sizeof(*store->list));
}

static int uses(struct workload *workload, void *userdata)
{
	const char *hex = userdata;
	const struct container *container;

	LIST_FOREACH (container, &workload->containers, link) {
		const char *list = container->settings.layers;

		/* Words of hexadecimal digits, of one length. */
		if (list && !container_has_ended(container) && strstr(list, hex))
			return 1;
	}
	return 0;
}

bool layer_store_is_used(const struct registry *registry, const char *hex)
{
	return registry_walk(registry, uses, (void *)hex) != 0;
}

/* ---- the disk ---- */

void layer_store_fresh_name(const char *prefix, const char *hex, char name[static LAYER_NAME_MAX])
{
	static unsigned int count;
	struct timespec now = { 0 };

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)snprintf(name, LAYER_NAME_MAX, "%s-%.64s-%llx-%u", prefix, hex,
		       (unsigned long long)now.tv_sec, ++count);
}

static bool is_layer_name(const char *name)
{
	return strlen(name) == UNPACK_HEX_MAX - 1 &&
	       strspn(name, "0123456789abcdef") == UNPACK_HEX_MAX - 1;
}

static int write_failed(const char *what, struct err *err)
{
	return err_set(err, errno == ENOSPC || errno == EDQUOT ? ERR_EXHAUSTED : ERR_INTERNAL,
		       errno, "cannot %s: %m", what);
}

static int write_record(int dir_fd, const struct layer *layer, struct err *err)
{
	char text[RECORD_MAX];
	int size = snprintf(text, sizeof(text), "1 %" PRIu64 " %" PRIu64 " %d %s\n", layer->bytes,
			    layer->entries, layer->cut, layer->manifest);
	cleanup_fd int fd = openat(dir_fd, RECORD_FRESH,
				   O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, text, (size_t)size) != size || fsync(fd) < 0 ||
	    renameat(dir_fd, RECORD_FRESH, dir_fd, RECORD) < 0 || fsync(dir_fd) < 0)
		return write_failed("write the layer's record", err);
	return 0;
}

static bool read_record(int store_fd, const char *name, struct layer *ret)
{
	cleanup_fd int dir_fd = open_dir_at(store_fd, name);
	cleanup_fd int fd = dir_fd < 0 ? -1
				       : openat(dir_fd, RECORD, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char text[RECORD_MAX + 1] = "";
	int cut = 0;

	*ret = (struct layer){ 0 };
	(void)snprintf(ret->hex, sizeof(ret->hex), "%s", name);
	if (fd < 0 || read(fd, text, RECORD_MAX) <= 0 ||
	    sscanf(text, "1 %" SCNu64 " %" SCNu64 " %d %64[0-9a-f]", &ret->bytes, &ret->entries,
		   &cut, ret->manifest) != 4 ||
	    strlen(ret->manifest) != UNPACK_HEX_MAX - 1)
		return false;
	ret->cut = cut != 0;
	return true;
}

int layer_store_keep(int store_fd, const char *name, struct layer *layer, struct err *err)
{
	cleanup_fd int dir_fd = open_dir_at(store_fd, name);
	int r;

	if (dir_fd < 0)
		return write_failed("open the layer", err);
	r = write_record(dir_fd, layer, err);
	if (r < 0)
		return r;
	FAILPOINT_RETURN("sandboxd.layer.rename", err);
	if (renameat(store_fd, name, store_fd, layer->hex) < 0) {
		char hex[UNPACK_HEX_MAX];

		if (errno != ENOTEMPTY && errno != EEXIST)
			return write_failed("give the layer its name", err);
		memcpy(hex, layer->hex, sizeof(hex));
		if (!read_record(store_fd, hex, layer))
			return err_set(
				err, ERR_INTERNAL, EBADMSG,
				"the layer is there without a record: remove %s from LayerDirectory",
				hex);
	}
	FAILPOINT("sandboxd.layer.renamed");
	return fsync(store_fd) < 0 ? write_failed("bring the layer to the disk", err) : 0;
}

static int remove_content(int fd)
{
	DIR *dir = fdopendir(fd);
	const struct dirent *entry;
	int r = 0;

	if (!dir) {
		(void)close(fd);
		return -errno;
	}
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(dir), entry->d_name, 0) == 0)
			continue;
		if (errno == EISDIR) {
			int below = layer_store_remove_tree(dirfd(dir), entry->d_name);

			r = r < 0 ? r : below;
		} else if (r == 0) {
			r = -errno;
		}
	}
	(void)closedir(dir);
	return r;
}

/* As deep as the unpacker makes them. */
int layer_store_remove_tree(int store_fd, const char *name)
{
	int fd = open_dir_at(store_fd, name);
	int r = fd < 0 ? -errno : remove_content(fd);

	if (unlinkat(store_fd, name, AT_REMOVEDIR) < 0 && r == 0)
		r = -errno;
	return r == -ENOENT ? 0 : r;
}

static int keep_stranger(struct layer_store *store, const char *name, struct err *err)
{
	char **list = reallocarray(store->strangers, store->n_strangers + 1, sizeof(*list));

	if (!list)
		return err_oom(err);
	store->strangers = list;
	list[store->n_strangers] = strdup(name);
	if (!list[store->n_strangers])
		return err_oom(err);
	store->n_strangers++;
	return 0;
}

/* What belongs there beside layers. */
static bool is_ours(const char *name)
{
	static const char *const names[] = { ".",        "..",        LOCK,
					     LAYER_BASE, LAYER_EMPTY, WRITABLE_LAYER_TEMPLATES };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static int read_all(struct layer_store *store, struct err *err)
{
	DIR *dir = fdopendir(open_dir_at(store->fd, "."));
	const struct dirent *entry;
	int r = 0;

	if (!dir)
		return err_set(err, ERR_INTERNAL, errno, "cannot read it: %m");
	while (r == 0 && (entry = readdir(dir))) {
		struct layer layer;

		if (is_ours(entry->d_name))
			continue;
		if (is_layer_name(entry->d_name) && read_record(store->fd, entry->d_name, &layer))
			r = layer_store_add(store, &layer, err);
		else
			r = keep_stranger(store, entry->d_name, err);
	}
	(void)closedir(dir);
	return r;
}

/* What the kernel's file systems are mounted on, also in an image that has no such directories. */
static int make_base(int store_fd, struct err *err)
{
	static const char *const names[] = { LAYER_BASE, LAYER_BASE "/dev", LAYER_BASE "/proc",
					     LAYER_BASE "/sys", LAYER_EMPTY };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if ((mkdirat(store_fd, names[i], 0755) < 0 && errno != EEXIST) ||
		    fchmodat(store_fd, names[i], 0755, 0) < 0)
			return write_failed("make what lies below images", err);
	return 0;
}

/* A POSIX lock: forks of ours do not have it. */
static int lock(struct layer_store *store, struct err *err)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	store->lock_fd = openat(store->fd, LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (store->lock_fd < 0)
		return write_failed("lock it", err);
	if (fcntl(store->lock_fd, F_SETLK, &whole) < 0)
		return err_set(err, ERR_PRECONDITION, errno, "another berth-sandboxd has it");
	return 0;
}

static int open_store(struct layer_store *store, const char *path, bool make, struct err *err)
{
	struct stat st;
	int r;

	if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
		return write_failed("make it", err);
	store->fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (store->fd < 0)
		return errno == ENOENT && !make ? 0 : write_failed("open it", err);
	if (fstat(store->fd, &st) < 0 || st.st_uid != 0 || (st.st_mode & 077))
		return err_set(err, ERR_DENIED, EPERM, "it must be root's, and closed to others");
	r = lock(store, err);
	if (r == 0)
		r = make_base(store->fd, err);
	return r < 0 ? r : read_all(store, err);
}

int layer_store_open(struct layer_store *store, const char *path, bool make, struct err *err)
{
	int r;

	if (store->fd >= 0)
		return 0;
	r = open_store(store, path, make, err);
	if (r < 0) {
		layer_store_done(store);
		return err_prefix(err, r, "LayerDirectory %s", path);
	}
	return 0;
}
