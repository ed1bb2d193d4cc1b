/*
 * One pull an image, however many wait for it. The credentials are those of who came first.
 */
#include <string.h>

#include "agent/image/images_private.h"
#include "proto/log.h"

#define TELL_USEC 100000 /* progress is told ten times a second, and each step */

struct shared_pull {
	LIST_ENTRY(shared_pull) link;
	struct images *images;
	char name[REFERENCE_TEXT_MAX];
	struct pull *pull;
	LIST_HEAD(, images_pull) watchers;
	uint64_t told_usec;
	struct pull_progress told;
};

static void shared_free(struct shared_pull *shared)
{
	struct images_pull *watcher;

	while ((watcher = LIST_FIRST(&shared->watchers))) {
		LIST_REMOVE(watcher, sibling);
		watcher->joined = false;
	}
	LIST_REMOVE(shared, link);
	free(shared);
}

static void on_progress(struct pull *pull, void *user)
{
	struct shared_pull *shared = user;
	const struct pull_progress *progress = pull_progress(pull);
	struct images_pull *watcher;
	uint64_t now = 0;

	(void)sd_event_now(shared->images->keeper.event, CLOCK_BOOTTIME, &now);
	if (progress->phase == shared->told.phase &&
	    progress->layers_done == shared->told.layers_done &&
	    now < shared->told_usec + TELL_USEC)
		return;
	shared->told = *progress;
	shared->told_usec = now;
	(void)pthread_mutex_lock(&shared->images->lock);
	LIST_FOREACH (watcher, &shared->watchers, sibling) {
		watcher->state.progress = *progress;
		watcher->has_changed = true;
	}
	images_tell(shared->images);
	(void)pthread_mutex_unlock(&shared->images->lock);
}

/* The lock is held. */
static void end_watcher(struct images_pull *watcher, int r, const struct image *image,
			const struct err *err)
{
	watcher->state.ended = true;
	watcher->state.r = r;
	watcher->state.err = *err;
	if (image)
		watcher->state.image = *image;
	watcher->has_changed = true;
}

static void on_end(struct pull *pull, int r, const struct image *image, const struct err *err,
		   void *user)
{
	struct shared_pull *shared = user;
	struct images_pull *watcher;

	if (r < 0)
		log_failure(LOG_WARNING, NULL, err);
	else
		log_event(LOG_INFO, NULL, "pulled %s: sha256:%s", image->name, image->digest.hex);
	(void)pthread_mutex_lock(&shared->images->lock);
	LIST_FOREACH (watcher, &shared->watchers, sibling) {
		watcher->state.progress = *pull_progress(pull);
		end_watcher(watcher, r, image, err);
	}
	images_tell(shared->images);
	(void)pthread_mutex_unlock(&shared->images->lock);
	shared_free(shared);
}

static struct shared_pull *find(struct keeper *keeper, const char *name)
{
	struct shared_pull *shared;

	LIST_FOREACH (shared, &keeper->shared, link)
		if (strcmp(shared->name, name) == 0)
			return shared;
	return NULL;
}

bool keeper_pulls(struct keeper *keeper, const char *name)
{
	return find(keeper, name) != NULL;
}

static int begin(struct images *images, struct images_pull *watcher, struct shared_pull *shared,
		 struct err *err)
{
	const struct pull_events events = { .progress = on_progress,
					    .end = on_end,
					    .user = shared };
	struct credentials found = { 0 };
	int r = 0;

	if (!watcher->credentials.user)
		r = credentials_load(images->credentials_path, watcher->reference.host, &found,
				     err);
	if (r == 0)
		r = pull_begin(&images->keeper.yard, &watcher->reference,
			       found.user ? &found : &watcher->credentials, &events, &shared->pull,
			       err);
	credentials_done(&found);
	return r;
}

static int join(struct images *images, struct images_pull *watcher, struct err *err)
{
	struct keeper *keeper = &images->keeper;
	char name[REFERENCE_TEXT_MAX];
	struct shared_pull *shared = find(keeper, reference_text(&watcher->reference, name));
	int r;

	if (!shared) {
		shared = calloc(1, sizeof(*shared));
		if (!shared)
			return err_oom(err);
		shared->images = images;
		(void)strcpy(shared->name, name);
		LIST_INSERT_HEAD(&keeper->shared, shared, link);
		r = begin(images, watcher, shared, err);
		if (r < 0) {
			shared_free(shared);
			return r;
		}
	}
	watcher->shared = shared;
	watcher->joined = true;
	LIST_INSERT_HEAD(&shared->watchers, watcher, sibling);
	return 0;
}

void keeper_join(struct images *images, struct job *job)
{
	struct images_pull *watcher = (struct images_pull *)job; /* its first member */
	struct err err = images->keeper.why;
	int r = err.kind == ERR_NONE ? join(images, watcher, &err) : -EIO;

	if (r < 0) {
		(void)pthread_mutex_lock(&images->lock);
		end_watcher(watcher, r, NULL, &err);
		(void)pthread_mutex_unlock(&images->lock);
	}
	images_answer(images, job);
}

void keeper_leave(struct images *images, struct job *job)
{
	struct images_pull *watcher =
		(struct images_pull *)((char *)job - offsetof(struct images_pull, leave));
	struct shared_pull *shared = watcher->shared;

	if (watcher->joined) {
		LIST_REMOVE(watcher, sibling);
		watcher->joined = false;
		if (LIST_EMPTY(&shared->watchers)) {
			pull_cancel(shared->pull);
			shared_free(shared);
		}
	}
	images_answer(images, job);
}
