/*
 * A short list, newest use first. A host runs a handful of distinct profiles; comparing a few keys
 * by bytes costs less than a hash of 64 KiB would, and cannot be made to collide.
 */
#include <errno.h>
#include <string.h>

#include "proto/err.h"
#include "sandbox/filter.h"

struct cached_filter {
	struct cached_filter *next;
	struct filter_request key; /* key.json is key_json */
	char *key_json;
	struct filter *filter;
	int image_fd;
};

struct filter_cache {
	size_t max;
	size_t count;
	struct cached_filter *newest;
};

static void cached_filter_free(struct cached_filter *cached)
{
	if (!cached)
		return;
	filter_free(cached->filter);
	fd_close(&cached->image_fd);
	free(cached->key_json);
	free(cached);
}
DEFINE_CLEANUP(struct cached_filter *, cached_filter_free)

struct filter_cache *filter_cache_new(size_t max)
{
	struct filter_cache *cache = calloc(1, sizeof(*cache));

	if (cache)
		cache->max = max ? max : 1;
	return cache;
}

void filter_cache_free(struct filter_cache *cache)
{
	if (!cache)
		return;
	while (cache->newest) {
		struct cached_filter *next = cache->newest->next;

		cached_filter_free(cache->newest);
		cache->newest = next;
	}
	free(cache);
}

static bool same_request(const struct filter_request *a, const struct filter_request *b)
{
	if (a->source != b->source || a->capabilities != b->capabilities ||
	    a->listener != b->listener)
		return false;
	if (a->source != FILTER_OCI)
		return true;
	return a->json_length == b->json_length && memcmp(a->json, b->json, a->json_length) == 0;
}

/* The link that holds the entry for @request, or the one that ends the list. */
static struct cached_filter **find_link(struct filter_cache *cache,
					const struct filter_request *request)
{
	struct cached_filter **link = &cache->newest;

	while (*link && !same_request(&(*link)->key, request))
		link = &(*link)->next;
	return link;
}

const struct filter *filter_cache_get(struct filter_cache *cache,
				      const struct filter_request *request, int *ret_image_fd)
{
	struct cached_filter **link = find_link(cache, request);
	struct cached_filter *found = *link;

	if (!found)
		return NULL;
	*link = found->next;
	found->next = cache->newest;
	cache->newest = found;
	if (ret_image_fd)
		*ret_image_fd = found->image_fd;
	return found->filter;
}

static void drop(struct filter_cache *cache, struct cached_filter **link)
{
	struct cached_filter *gone = *link;

	*link = gone->next;
	cached_filter_free(gone);
	cache->count--;
}

static void drop_oldest(struct filter_cache *cache)
{
	struct cached_filter **link = &cache->newest;

	while ((*link)->next)
		link = &(*link)->next;
	drop(cache, link);
}

static int copy_key(struct cached_filter *cached, const struct filter_request *request,
		    struct err *err)
{
	cached->key = *request;
	cached->key.json = NULL;
	cached->key.json_length = 0;
	if (request->source != FILTER_OCI)
		return 0;
	cached->key_json = malloc(request->json_length + 1);
	if (!cached->key_json)
		return err_oom(err);
	memcpy(cached->key_json, request->json, request->json_length);
	cached->key.json = cached->key_json;
	cached->key.json_length = request->json_length;
	return 0;
}

int filter_cache_put(struct filter_cache *cache, const struct filter_request *request, int image_fd,
		     struct err *err)
{
	cleanup(cached_filter_free_p) struct cached_filter *cached = NULL;
	cleanup_fd int owned_fd = image_fd;
	struct cached_filter **link;
	int r;

	cached = calloc(1, sizeof(*cached));
	if (!cached)
		return err_oom(err);
	cached->image_fd = take_fd(&owned_fd);
	r = copy_key(cached, request, err);
	if (r < 0)
		return r;
	r = filter_deserialize(cached->image_fd, &cached->filter, err);
	if (r < 0)
		return r;
	link = find_link(cache, request);
	if (*link)
		drop(cache, link);
	else if (cache->count == cache->max)
		drop_oldest(cache);
	cached->next = cache->newest;
	cache->newest = take_ptr(&cached);
	cache->count++;
	return 0;
}
