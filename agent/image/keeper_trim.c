/*
 * Images that nobody needs make room: those that were not used for long, and, once the disk is fuller than one
 * mark, the least recently used one after the other until it is below the other mark. What is in use, pinned,
 * or being pulled stays.
 *
 * One step at a time, for layers that were unpacked go by themselves meanwhile, and they may be on that disk.
 */
#include <string.h>
#include <time.h>

#include "agent/image/images_private.h"
#include "proto/log.h"
#include "proto/quantity.h"

struct trim {
	struct images *images;
	struct keeper *keeper;
	struct trimming *trimming;
	uint64_t now_ms;
};

static uint64_t now_unix_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void mark_used(struct trim *trim)
{
	const struct text_set *in_use = &trim->trimming->in_use;
	struct err err = { 0 };

	for (size_t i = 0; i < in_use->n; i++)
		if (catalogue_mark_used(trim->keeper->catalogue, in_use->texts[i], trim->now_ms,
					&err) < 0)
			log_failure(LOG_WARNING, NULL, &err);
}

static bool is_pinned(const struct trim *trim, const struct image *image)
{
	const struct config_list *pinned = &trim->images->pinned;
	struct reference reference;
	char name[REFERENCE_TEXT_MAX];

	for (size_t i = 0; i < pinned->n; i++)
		if (reference_parse(pinned->items[i], &reference, NULL) == 0 &&
		    strcmp(reference_text(&reference, name), image->name) == 0)
			return true;
	return image->pinned;
}

static uint64_t unused_ms(const struct trim *trim, const struct image *image)
{
	return trim->now_ms > image->used_unix_ms ? trim->now_ms - image->used_unix_ms : 0;
}

/* The least recently used one that may go, if it was not used for @at_least_ms. */
static const struct image *oldest(const struct trim *trim, uint64_t at_least_ms)
{
	const struct image *image, *found = NULL;

	TAILQ_FOREACH(image, catalogue_images(trim->keeper->catalogue), link)
	if (unused_ms(trim, image) >= at_least_ms &&
	    (!found || image->used_unix_ms < found->used_unix_ms) &&
	    !text_set_has(&trim->trimming->in_use, image->name) && !is_pinned(trim, image) &&
	    !keeper_pulls(trim->keeper, image->name))
		found = image;
	return found;
}

static int remove_one(struct trim *trim, const struct image *image, const char *why,
		      struct err *err)
{
	char name[REFERENCE_TEXT_MAX], unused[QUANTITY_TEXT_MAX];
	uint64_t freed;
	int r;

	(void)strcpy(name, image->name);
	(void)quantity_format_duration_ms(unused_ms(trim, image), unused);
	r = catalogue_remove(trim->keeper->catalogue, name, err);
	if (r == 0)
		r = keeper_collect(trim->keeper, true, &freed, err);
	if (r < 0)
		return err_prefix(err, r, "image %.200s cannot be collected", name);
	log_event(LOG_NOTICE, NULL, "image %s is removed, not used for %s: %s", name, unused, why);
	trim->trimming->removed = true;
	return 0;
}

static int remove_old(struct trim *trim, struct err *err)
{
	uint64_t max_ms = trim->images->unused_ms;
	const struct image *image;
	int r = 0;

	while (r == 0 && max_ms && (image = oldest(trim, max_ms)))
		r = remove_one(trim, image, "longer than UnusedFor in [Images]", err);
	return r;
}

static int make_room(struct trim *trim, struct err *err)
{
	struct keeper *keeper = trim->keeper;
	const struct image *image;
	unsigned int percent = 0;
	char why[96];
	int r = content_fill(keeper->content, &percent, err);

	if (r < 0)
		return r;
	if (percent >= trim->images->collect_above)
		keeper->makes_room = trim->images->collect_above < 100;
	else if (percent < trim->images->collect_below)
		keeper->makes_room = false;
	if (!keeper->makes_room)
		return 0;
	image = oldest(trim, 0);
	if (!image) {
		keeper->makes_room = false;
		log_event(
			LOG_WARNING, NULL,
			"the disk of images is %u %% full, and there is no image to remove: all are in use or pinned",
			percent);
		return 0;
	}
	(void)snprintf(why, sizeof(why), "the disk is %u %% full (CollectAbove in [Images])",
		       percent);
	return remove_one(trim, image, why, err);
}

void keeper_trim(struct images *images, struct job *job)
{
	struct trimming *trimming = (struct trimming *)job; /* its first member */
	struct trim trim = { .images = images,
			     .keeper = &images->keeper,
			     .trimming = trimming,
			     .now_ms = now_unix_ms() };
	struct err err = { 0 };
	int r = 0;

	if (images->keeper.why.kind == ERR_NONE) {
		mark_used(&trim);
		r = remove_old(&trim, &err);
		if (r == 0)
			r = make_room(&trim, &err);
	}
	if (r < 0)
		log_failure(LOG_WARNING, NULL, &err);
	trimming->again = r == 0 && images->keeper.makes_room;
	images_answer(images, job);
}
