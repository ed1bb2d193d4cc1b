/*
 * When images make room: from time to time, after a pull, and again at once while there is too little.
 */
#include <stdlib.h>

#include "agent/image/provider_private.h"

#define USEC_PER_S   UINT64_C(1000000)
#define FIRST_USEC   (60 * USEC_PER_S)
#define REST_USEC    (300 * USEC_PER_S)
#define AGAIN_USEC   (1 * USEC_PER_S) /* layers go meanwhile */
#define EXACTLY_USEC 1000

struct collector {
	struct real_provider *provider; /* NULL: that is gone */
	sd_event_source *timer;
	bool asked; /* and not answered yet */
	bool wanted_again;
};

static void arm(struct collector *collector, uint64_t usec)
{
	(void)sd_event_source_set_time_relative(collector->timer, usec);
	(void)sd_event_source_set_enabled(collector->timer, SD_EVENT_ONESHOT);
}

static void add_used(const char *name, void *set)
{
	text_set_add(set, name);
}

static void on_trimmed(bool removed, bool again, void *user)
{
	struct collector *collector = user;

	collector->asked = false;
	if (!collector->provider) {
		free(collector);
		return;
	}
	if (removed)
		sweep_begin(collector->provider);
	arm(collector, again || collector->wanted_again ? AGAIN_USEC : REST_USEC);
	collector->wanted_again = false;
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct collector *collector = userdata;
	struct real_provider *provider = collector->provider;
	struct text_set used = { 0 };

	if (provider->base.each_image)
		provider->base.each_image(provider->base.user, add_used, &used);
	provider_add_names(provider, &used);
	collector->asked = images_trim(provider->images, &used, on_trimmed, collector) == 0;
	text_set_clear(&used);
	if (!collector->asked)
		arm(collector, REST_USEC);
	return 0;
}

int collector_begin(struct real_provider *provider, sd_event *event, struct err *err)
{
	struct collector *collector = calloc(1, sizeof(*collector));
	int r;

	if (!collector)
		return err_oom(err);
	r = sd_event_add_time_relative(event, &collector->timer, CLOCK_BOOTTIME, FIRST_USEC,
				       EXACTLY_USEC, on_time, collector);
	if (r < 0) {
		free(collector);
		return err_set(err, ERR_INTERNAL, -r, "cannot set a timer for images: %m");
	}
	collector->provider = provider;
	provider->collector = collector;
	return 0;
}

void collector_soon(struct real_provider *provider)
{
	if (provider->collector->asked)
		provider->collector->wanted_again = true;
	else
		arm(provider->collector, 0);
}

void collector_free(struct collector *collector)
{
	if (!collector)
		return;
	collector->timer = sd_event_source_disable_unref(collector->timer);
	collector->provider = NULL;
	if (!collector->asked)
		free(collector);
}
