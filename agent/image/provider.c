/*
 * An image for containers to run from, step by step:
 *
 *	looking ─▶ pulling ─▶ reading ─▶ unpacking ─▶ done
 *	   └─ it is here ──────────────────▲
 *
 * All who want the same image in the same way share one provision, and all provisions share the unpacking of
 * a layer. What was asked and is not answered is an errand: it outlives a provision that is given up.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/image/provider_private.h"

#define UNPACKING_MAX 4U          /* at a time, of all images */
#define DETAILS_BYTES (16U << 20) /* as the answer may have */

enum step { LOOKING, PULLING, READING, UNPACKING };

struct provision {
	LIST_ENTRY(provision) link;
	struct real_provider *provider;
	struct reference reference;
	char name[REFERENCE_TEXT_MAX];
	Berth__V1__PullPolicy policy;
	enum step step;
	uint64_t serial;
	LIST_HEAD(, provider_want) wants;
	struct errand *errand; /* LOOKING, READING */
	struct images_pull *pull;
	struct arena arena; /* of @details */
	const Berth__V1__GetImageResponse *details;
};

/* A question about an image. */
struct errand {
	struct provision *provision; /* NULL: it was given up */
	char name[REFERENCE_TEXT_MAX];
	Berth__V1__GetImageRequest request;
};

/* A layer on its way, for the provision that came first; others that need it wait. */
struct unpacking {
	LIST_ENTRY(unpacking) link;
	struct real_provider *provider; /* NULL: that is gone */
	uint64_t serial, provision;
	size_t number; /* among the layers, from 1 */
	bool sent;     /* berth-sandboxd was asked */
	char diff_id[DIGEST_TEXT_MAX];
};

static struct real_provider *of(struct provider *base)
{
	return (struct real_provider *)base;
}

/* ---- Ends ---- */

static void provision_free(struct provision *provision)
{
	if (provision->errand)
		provision->errand->provision = NULL;
	images_pull_end(provision->pull);
	LIST_REMOVE(provision, link);
	arena_done(&provision->arena);
	free(provision);
}

/* Tell all who want it. They may want something else at once: that is another provision. */
static void provision_end(struct provision *provision, const struct err *err)
{
	const Berth__V1__GetImageResponse *image = err->kind == ERR_NONE ? provision->details
									 : NULL;
	struct provider_want *want;

	provision->serial = 0; /* joined by nobody any more */
	while ((want = LIST_FIRST(&provision->wants))) {
		LIST_REMOVE(want, link);
		want->provision = NULL;
		want->ended(want, image, err);
	}
	provision_free(provision);
}

static void provision_fail(struct provision *provision, const struct err *why)
{
	struct err err = *why;

	(void)err_prefix(&err, -1, "image %.200s", provision->name);
	provision_end(provision, &err);
}

/* ---- Unpacking ---- */

static void advance(struct provision *provision);

/* The first of them that can go on does: it may end, and others with it. */
static void advance_all(struct real_provider *provider)
{
	uint64_t before = provider->last_serial + 1;
	struct provision *provision;

	/* By serial, from the newest: the list may change with each. */
	for (;;) {
		struct provision *next = NULL;

		LIST_FOREACH (provision, &provider->provisions, link)
			if (provision->step == UNPACKING && provision->serial &&
			    provision->serial < before &&
			    (!next || provision->serial > next->serial))
				next = provision;
		if (!next)
			return;
		before = next->serial;
		advance(next);
	}
}

static struct provision *find_serial(struct real_provider *provider, uint64_t serial)
{
	struct provision *provision;

	LIST_FOREACH (provision, &provider->provisions, link)
		if (serial && provision->serial == serial)
			return provision;
	return NULL;
}

static struct unpacking *find_unpacking(const struct real_provider *provider, const char *diff_id)
{
	struct unpacking *unpacking;

	LIST_FOREACH (unpacking, &provider->unpackings, link)
		if (strcmp(unpacking->diff_id, diff_id) == 0)
			return unpacking;
	return NULL;
}

static void unpacking_free(struct unpacking *unpacking)
{
	if (unpacking->provider) {
		LIST_REMOVE(unpacking, link);
		unpacking->provider->n_unpackings--;
	}
	free(unpacking);
}

/* It is over: with @err, for whoever began it; others try for themselves. */
static void unpacking_end(struct unpacking *unpacking, const struct err *why)
{
	struct real_provider *provider = unpacking->provider;
	struct provision *provision = find_serial(provider, unpacking->provision);
	struct err err = *why;

	if (err.kind == ERR_NONE)
		text_set_add(&provider->unpacked, unpacking->diff_id);
	else
		(void)err_prefix(&err, -1, "unpack layer %zu, %.19s", unpacking->number,
				 unpacking->diff_id);
	unpacking_free(unpacking);
	if (provision && err.kind != ERR_NONE)
		provision_fail(provision, &err);
	advance_all(provider);
}

static struct unpacking *find_call(struct real_provider *provider, uint64_t serial)
{
	struct unpacking *unpacking;

	LIST_FOREACH (unpacking, &provider->unpackings, link)
		if (unpacking->serial == serial)
			return unpacking;
	return NULL;
}

static void on_unpacked(void *userdata, const struct sandboxlink_call *call,
			struct sandboxlink_reply *reply)
{
	struct real_provider *provider = userdata;
	struct unpacking *unpacking = find_call(provider, call->key[0]);
	struct err err = *reply->err;

	if (!unpacking)
		return;
	/* It went away, or is about to: another one may come with another store. */
	if (!reply->message || err.kind == ERR_UNAVAILABLE) {
		text_set_clear(&provider->unpacked);
		err.kind = ERR_CANCELLED;
	}
	unpacking_end(unpacking, &err);
}

static int send_unpack(struct unpacking *unpacking, const struct images_piece *piece,
		       struct err *err)
{
	const struct sandboxlink_call call = { .done = on_unpacked,
					       .userdata = unpacking->provider,
					       .key = { unpacking->serial } };
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__UnpackLayer unpack = BERTH__SANDBOX__V1__UNPACK_LAYER__INIT;
	int r;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_UNPACK_LAYER;
	request.unpack_layer = &unpack;
	unpack.diff_id = unpacking->diff_id;
	unpack.compression = piece->compression;
	unpack.blob_bytes = piece->bytes;
	r = sandboxlink_send_fd(unpacking->provider->link, &request, piece->fd, &call, err);
	unpacking->sent = r == 0;
	if (r < 0 && err->kind == ERR_UNAVAILABLE)
		err->kind = ERR_CANCELLED;
	return r;
}

static void on_opened(struct images_piece *piece, const struct err *why, void *user)
{
	struct unpacking *unpacking = user;
	struct err err = *why;

	if (!unpacking->provider) {
		free(unpacking);
		return;
	}
	if (piece && send_unpack(unpacking, piece, &err) == 0)
		return;
	unpacking_end(unpacking, &err);
}

static int begin_unpacking(struct provision *provision, size_t number, struct err *err)
{
	struct real_provider *provider = provision->provider;
	const Berth__V1__ImageLayer *layer = provision->details->layers[number];
	struct unpacking *unpacking = calloc(1, sizeof(*unpacking));
	int r;

	if (!unpacking)
		return err_oom(err);
	unpacking->serial = ++provider->last_serial;
	unpacking->provision = provision->serial;
	unpacking->number = number + 1;
	(void)snprintf(unpacking->diff_id, sizeof(unpacking->diff_id), "%s", layer->diff_id);
	r = images_open(provider->images, layer->digest, on_opened, unpacking, err);
	if (r < 0) {
		free(unpacking);
		return r;
	}
	unpacking->provider = provider;
	LIST_INSERT_HEAD(&provider->unpackings, unpacking, link);
	provider->n_unpackings++;
	return 0;
}

/* Begin what may begin of it. It ends here when nothing is missing. */
static void advance(struct provision *provision)
{
	const Berth__V1__GetImageResponse *details = provision->details;
	struct real_provider *provider = provision->provider;
	struct err err = { 0 };
	bool all = true;

	for (size_t i = 0; i < details->n_layers; i++) {
		if (text_set_has(&provider->unpacked, details->layers[i]->diff_id))
			continue;
		all = false;
		if (find_unpacking(provider, details->layers[i]->diff_id))
			continue;
		if (provider->n_unpackings >= UNPACKING_MAX)
			return;
		if (begin_unpacking(provision, i, &err) < 0) {
			provision_fail(provision, &err);
			return;
		}
	}
	if (all)
		provision_end(provision, &err);
}

/* ---- The image itself ---- */

static void ask(struct provision *provision, enum step step);
static void begin_pull(struct provision *provision);

static const Berth__V1__GetImageResponse *copy_details(struct provision *provision,
						       const ProtobufCMessage *details)
{
	size_t n = protobuf_c_message_get_packed_size(details);
	uint8_t *bytes = arena_alloc(&provision->arena, n);

	if (!bytes)
		return NULL;
	(void)protobuf_c_message_pack(details, bytes);
	return berth__v1__get_image_response__unpack(&provision->arena.allocator, n, bytes);
}

static void take_details(struct provision *provision, const ProtobufCMessage *details)
{
	struct err err = { 0 };

	provision->details = copy_details(provision, details);
	if (!provision->details) {
		(void)err_oom(&err);
		provision_fail(provision, &err);
		return;
	}
	provision->step = UNPACKING;
	advance(provision);
}

static void take_absence(struct provision *provision, const struct err *why)
{
	struct err err = *why;

	if (provision->step == READING || err.kind != ERR_NOT_FOUND) {
		provision_fail(provision, &err);
	} else if (provision->policy == BERTH__V1__PULL_POLICY__PULL_NEVER) {
		(void)err_set(
			&err, ERR_NOT_FOUND, ENOENT,
			"it is not on this host, and pull_policy is PULL_NEVER: pull it first (berthctl image pull)");
		provision_fail(provision, &err);
	} else {
		begin_pull(provision);
	}
}

static void on_answered(const ProtobufCMessage *reply, const struct err *err, void *user)
{
	struct errand *errand = user;
	struct provision *provision = errand->provision;

	free(errand);
	if (!provision)
		return;
	provision->errand = NULL;
	if (reply)
		take_details(provision, reply);
	else
		take_absence(provision, err);
}

static int send_errand(struct provision *provision, struct err *err)
{
	struct errand *errand = calloc(1, sizeof(*errand));
	int r;

	if (!errand)
		return err_oom(err);
	berth__v1__get_image_request__init(&errand->request);
	(void)strcpy(errand->name, provision->name);
	errand->request.reference = errand->name;
	r = images_ask(provision->provider->images, IMAGES_GET, &errand->request.base, on_answered,
		       errand, err);
	if (r < 0) {
		free(errand);
		return r;
	}
	errand->provision = provision;
	provision->errand = errand;
	return 0;
}

static void ask(struct provision *provision, enum step step)
{
	struct err err = { 0 };

	provision->step = step;
	if (send_errand(provision, &err) < 0)
		provision_fail(provision, &err);
}

static void on_pull_changed(void *user)
{
	struct provision *provision = user;
	struct images_pull_state state;

	images_pull_read(provision->pull, &state);
	if (!state.ended)
		return;
	images_pull_end(provision->pull);
	provision->pull = NULL;
	collector_soon(provision->provider);
	if (state.r < 0)
		provision_fail(provision, &state.err);
	else
		ask(provision, READING);
}

static int try_pull(struct provision *provision, struct err *err)
{
	Berth__V1__PullImageRequest request = BERTH__V1__PULL_IMAGE_REQUEST__INIT;

	request.reference = provision->name;
	provision->step = PULLING;
	return images_pull_begin(provision->provider->images, &request, false, on_pull_changed,
				 provision, &provision->pull, err);
}

static void begin_pull(struct provision *provision)
{
	struct err err = { 0 };

	if (try_pull(provision, &err) < 0)
		provision_fail(provision, &err);
}

/* ---- What is asked of it ---- */

static int provider_check(struct provider *base, const char *reference, struct err *err)
{
	struct reference parsed;

	return images_check(of(base)->images, reference, &parsed, err);
}

static struct provision *find(struct real_provider *provider, const char *name,
			      Berth__V1__PullPolicy policy)
{
	struct provision *provision;

	LIST_FOREACH (provision, &provider->provisions, link)
		if (provision->serial && provision->policy == policy &&
		    strcmp(provision->name, name) == 0)
			return provision;
	return NULL;
}

static struct provision *provision_new(struct real_provider *provider,
				       const struct reference *reference,
				       Berth__V1__PullPolicy policy)
{
	struct provision *provision = calloc(1, sizeof(*provision));

	if (!provision)
		return NULL;
	provision->provider = provider;
	provision->reference = *reference;
	(void)reference_text(reference, provision->name);
	provision->policy = policy;
	provision->serial = ++provider->last_serial;
	arena_init(&provision->arena, DETAILS_BYTES);
	LIST_INSERT_HEAD(&provider->provisions, provision, link);
	return provision;
}

static int start(struct real_provider *provider, const struct reference *reference,
		 Berth__V1__PullPolicy policy, struct provision **ret_provision, struct err *err)
{
	struct provision *provision = provision_new(provider, reference, policy);
	int r;

	if (!provision)
		return err_oom(err);
	if (policy == BERTH__V1__PULL_POLICY__PULL_ALWAYS)
		r = try_pull(provision, err);
	else
		r = send_errand(provision, err);
	if (r < 0) {
		provision_free(provision);
		return r;
	}
	*ret_provision = provision;
	return 0;
}

static int provider_begin(struct provider *base, const char *reference,
			  Berth__V1__PullPolicy policy, struct provider_want *want, struct err *err)
{
	struct real_provider *provider = of(base);
	struct reference parsed;
	char name[REFERENCE_TEXT_MAX];
	struct provision *provision;
	int r = images_check(provider->images, reference, &parsed, err);

	if (r < 0)
		return err_prefix(err, r, "image %.200s", reference);
	provision = find(provider, reference_text(&parsed, name), policy);
	if (!provision)
		r = start(provider, &parsed, policy, &provision, err);
	if (r < 0)
		return err_prefix(err, r, "image %.200s", name);
	want->provision = provision;
	LIST_INSERT_HEAD(&provision->wants, want, link);
	return 0;
}

static void fill_pull(const struct provision *provision, Berth__V1__ContainerImage *ret)
{
	struct images_pull_state state;

	images_pull_read(provision->pull, &state);
	ret->layers = state.progress.layers;
	ret->layers_done = state.progress.layers_done;
	ret->bytes = state.progress.bytes;
	ret->bytes_done = state.progress.bytes_done;
	ret->bytes_fetched = state.progress.bytes_fetched;
	if (state.progress.phase == PULL_LAYERS)
		ret->phase = BERTH__V1__PULL_PHASE__PULL_PHASE_LAYERS;
	else if (state.progress.phase == PULL_STORING)
		ret->phase = BERTH__V1__PULL_PHASE__PULL_PHASE_STORING;
}

static void provider_progress(const struct provider_want *want, Berth__V1__ContainerImage *ret)
{
	const struct provision *provision = want->provision;

	if (!provision)
		return;
	ret->phase = BERTH__V1__PULL_PHASE__PULL_PHASE_RESOLVING;
	if (provision->pull)
		fill_pull(provision, ret);
	if (provision->step != UNPACKING)
		return;
	ret->phase = BERTH__V1__PULL_PHASE__PULL_PHASE_UNPACKING;
	ret->layers = (uint32_t)provision->details->n_layers;
	for (size_t i = 0; i < provision->details->n_layers; i++)
		ret->layers_done += text_set_has(&provision->provider->unpacked,
						 provision->details->layers[i]->diff_id);
}

static void provider_end(struct provider_want *want)
{
	struct provision *provision = want->provision;

	if (!provision)
		return;
	LIST_REMOVE(want, link);
	want->provision = NULL;
	/* One without a serial is ending, and frees itself. */
	if (LIST_EMPTY(&provision->wants) && provision->serial)
		provision_free(provision);
}

static void provider_doubt(struct provider *base)
{
	text_set_clear(&of(base)->unpacked);
}

void provider_add_names(const struct real_provider *provider, struct text_set *set)
{
	const struct provision *provision;

	LIST_FOREACH (provision, &provider->provisions, link)
		text_set_add(set, provision->name);
}

static void provider_sweep(struct provider *base)
{
	sweep_begin(of(base));
}

void provider_add_wanted(const struct real_provider *provider, struct text_set *set)
{
	const struct provision *provision;
	const struct unpacking *unpacking;

	LIST_FOREACH (provision, &provider->provisions, link)
		for (size_t i = 0; provision->details && i < provision->details->n_layers; i++)
			text_set_add(set, provision->details->layers[i]->diff_id);
	LIST_FOREACH (unpacking, &provider->unpackings, link)
		text_set_add(set, unpacking->diff_id);
}

static const struct provider_ops real_ops = { .check = provider_check,
					      .begin = provider_begin,
					      .progress = provider_progress,
					      .end = provider_end,
					      .doubt = provider_doubt,
					      .sweep = provider_sweep };

static void on_removed(void *user)
{
	sweep_begin(user);
}

int provider_new(sd_event *event, struct images *images, struct sandboxlink *link,
		 struct provider **ret_provider, struct err *err)
{
	struct real_provider *provider = calloc(1, sizeof(*provider));
	int r;

	if (!provider)
		return err_oom(err);
	r = collector_begin(provider, event, err);
	if (r < 0) {
		free(provider);
		return r;
	}
	provider->base.ops = &real_ops;
	provider->images = images;
	provider->link = link;
	images_set_removed(images, on_removed, provider);
	*ret_provider = &provider->base;
	return 0;
}

void provider_free(struct provider *base)
{
	struct real_provider *provider = base ? of(base) : NULL;
	struct unpacking *unpacking;

	if (!provider)
		return;
	while (!LIST_EMPTY(&provider->provisions))
		provision_free(LIST_FIRST(&provider->provisions));
	while ((unpacking = LIST_FIRST(&provider->unpackings))) {
		LIST_REMOVE(unpacking, link);
		unpacking->provider = NULL;
		if (unpacking->sent) /* there is no loop any more that would bring the answer */
			free(unpacking);
	}
	images_set_removed(provider->images, NULL, NULL);
	sweep_free(provider);
	collector_free(provider->collector);
	text_set_clear(&provider->unpacked);
	free(provider);
}
