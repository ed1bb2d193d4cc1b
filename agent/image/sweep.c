/*
 * Layers that no image of this host has any more, and that nothing runs from, go out of berth-sandboxd's
 * store:
 *
 *	which ones images have [the thread] ─▶ which ones are there [a page] ─▶ remove the others ─▶ next page
 *
 * What somebody comes to want meanwhile is looked at when a layer is about to be removed: whoever wants it
 * after that has it unpacked anew.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/image/provider_private.h"
#include "proto/log.h"

struct sweep {
	struct real_provider *provider; /* NULL: that is gone */
	uint64_t serial;
	struct text_set needed; /* of images */
	unsigned int n_removed;
	bool asked; /* the thread, which has not answered yet */
};

static void ask_page(struct sweep *sweep, const char *after);

static void sweep_end(struct sweep *sweep, const struct err *failure)
{
	struct real_provider *provider = sweep->provider;

	if (failure && failure->kind != ERR_NONE && failure->kind != ERR_UNAVAILABLE)
		log_failure(LOG_WARNING, NULL, failure);
	if (sweep->n_removed)
		log_event(LOG_INFO, NULL, "%u layers that no image has any more are removed",
			  sweep->n_removed);
	provider->sweep = NULL;
	text_set_clear(&sweep->needed);
	free(sweep);
	if (provider->sweep_again)
		sweep_begin(provider);
}

static void remove_layer(struct sweep *sweep, const char *diff_id)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__RemoveLayer message = BERTH__SANDBOX__V1__REMOVE_LAYER__INIT;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_REMOVE_LAYER;
	request.remove_layer = &message;
	message.diff_id = (char *)diff_id;
	text_set_remove(&sweep->provider->unpacked, diff_id);
	/* One that a container has come to use is refused, and looked at by the next sweep. */
	if (sandboxlink_send(sweep->provider->link, &request, NULL, NULL) == 0)
		sweep->n_removed++;
}

static void add_used(const char *diff_id, void *set)
{
	text_set_add(set, diff_id);
}

static void take_page(struct sweep *sweep, const Berth__Sandbox__V1__ListLayersResult *page)
{
	struct real_provider *provider = sweep->provider;
	struct text_set used = { 0 };

	if (provider->base.each_used)
		provider->base.each_used(provider->base.user, add_used, &used);
	provider_add_wanted(provider, &used);
	for (size_t i = 0; !used.incomplete && i < page->n_layers; i++) {
		const char *diff_id = page->layers[i]->diff_id;

		if (!page->layers[i]->in_use && !text_set_has(&sweep->needed, diff_id) &&
		    !text_set_has(&used, diff_id))
			remove_layer(sweep, diff_id);
	}
	text_set_clear(&used);
}

static void on_page(void *userdata, const struct sandboxlink_call *call,
		    struct sandboxlink_reply *reply)
{
	struct real_provider *provider = userdata;
	struct sweep *sweep = provider->sweep;
	const Berth__Sandbox__V1__ListLayersResult *page;

	if (!sweep || sweep->serial != call->key[0])
		return;
	if (!reply->message || reply->err->kind != ERR_NONE ||
	    reply->message->result_case != BERTH__SANDBOX__V1__REPLY__RESULT_LIST_LAYERS) {
		sweep_end(sweep, reply->err);
		return;
	}
	page = reply->message->list_layers;
	take_page(sweep, page);
	if (page->more && page->n_layers)
		ask_page(sweep, page->layers[page->n_layers - 1]->diff_id);
	else
		sweep_end(sweep, NULL);
}

static void ask_page(struct sweep *sweep, const char *after)
{
	const struct sandboxlink_call call = { .done = on_page,
					       .userdata = sweep->provider,
					       .key = { sweep->serial } };
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__ListLayers message = BERTH__SANDBOX__V1__LIST_LAYERS__INIT;
	struct err err = { 0 };

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_LIST_LAYERS;
	request.list_layers = &message;
	message.after = (char *)after;
	if (sandboxlink_send(sweep->provider->link, &request, &call, &err) < 0)
		sweep_end(sweep, &err);
}

static void on_needed(struct text_set *needed, const struct err *err, void *user)
{
	struct sweep *sweep = user;

	sweep->asked = false;
	if (!sweep->provider) {
		free(sweep);
		return;
	}
	if (!needed) {
		sweep_end(sweep, err);
		return;
	}
	sweep->needed = *needed;
	*needed = (struct text_set){ 0 };
	ask_page(sweep, "");
}

void sweep_begin(struct real_provider *provider)
{
	struct sweep *sweep;
	struct err err = { 0 };

	provider->sweep_again = provider->sweep != NULL;
	if (provider->sweep)
		return;
	sweep = calloc(1, sizeof(*sweep));
	if (!sweep)
		return; /* the next occasion does it */
	sweep->provider = provider;
	sweep->serial = ++provider->last_serial;
	provider->sweep = sweep;
	if (images_needed_layers(provider->images, on_needed, sweep, &err) < 0)
		sweep_end(sweep, &err);
	else
		sweep->asked = true;
}

void sweep_free(struct real_provider *provider)
{
	struct sweep *sweep = provider->sweep;

	provider->sweep = NULL;
	if (!sweep)
		return;
	text_set_clear(&sweep->needed);
	if (sweep->asked) /* the thread's answer is still to come */
		sweep->provider = NULL;
	else
		free(sweep);
}
