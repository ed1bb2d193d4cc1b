/*
 * Images: questions that the thread for images answers, and pulls with their progress.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "agent/image/image_message.h"
#include "agent/image/images.h"
#include "agent/service/handlers.h"
#include "agent/service/status.h"

#define REPLY_BYTES   (64U << 10)
#define RATE_USEC_MIN UINT64_C(500000) /* over which bytes per second are counted */

/* What is wrong with a field begins with its name. */
static void refuse(struct grpc_call *call, const struct err *err)
{
	static const char *const fields[] = { "reference", "credentials" };
	cleanup_fault struct engine_fault fault;

	engine_fault_init(&fault);
	for (size_t i = 0; err->kind == ERR_INVALID && i < ARRAY_SIZE(fields); i++) {
		size_t length = strlen(fields[i]);

		if (strncmp(err->text, fields[i], length) == 0 && err->text[length] == ':')
			engine_fault_add_field(&fault, fields[i], err->text + length + 2);
	}
	status_fail(call, err, &fault);
}

static bool has_images(struct grpc_call *call, const struct service *service)
{
	struct err err = { 0 };

	if (service->images)
		return true;
	(void)err_set(&err, ERR_UNSUPPORTED, EOPNOTSUPP,
		      "this host keeps no images: Durable in [Store] of berthd.conf is no");
	status_fail(call, &err, NULL);
	return false;
}

/* ---- Questions ---- */

static void on_answered(const ProtobufCMessage *reply, const struct err *err, void *user)
{
	struct grpc_call *call = user;

	if (reply)
		(void)grpc_call_reply(call, reply); /* the server logs it */
	else
		refuse(call, err);
	grpc_call_unref(call);
}

static void ask(struct grpc_call *call, enum images_verb verb, const ProtobufCMessage *request,
		const struct service *service)
{
	struct err err = { 0 };

	if (!has_images(call, service))
		return;
	/* The reference keeps the request, too. */
	if (images_ask(service->images, verb, request, on_answered, grpc_call_ref(call), &err) == 0)
		return;
	refuse(call, &err);
	grpc_call_unref(call);
}

HANDLER(list_images)
{
	ask(call, IMAGES_LIST, request, user);
}

HANDLER(get_image)
{
	ask(call, IMAGES_GET, request, user);
}

/* Whether a workload needs it; then the call is refused. What is no reference is the thread's to refuse. */
static bool is_in_use(struct grpc_call *call, const char *text, const struct service *service)
{
	cleanup_fault struct engine_fault fault;
	struct reference reference;
	char name[REFERENCE_TEXT_MAX];
	struct err err = { 0 };
	const char *workload;

	engine_fault_init(&fault);
	if (reference_parse(text, &reference, NULL) < 0 ||
	    !engine_uses_image(service->engine, reference_text(&reference, name), &workload))
		return false;
	fault.reason = FAULT_IN_USE;
	(void)err_set(&err, ERR_PRECONDITION, EBUSY,
		      "image %.200s is in use by workload %s: stop that first", name, workload);
	status_fail(call, &err, &fault);
	return true;
}

HANDLER(remove_image)
{
	const struct service *service = user;

	if (!is_in_use(call, ((const Berth__V1__RemoveImageRequest *)request)->reference, service))
		ask(call, IMAGES_REMOVE, request, service);
}

HANDLER(image_usage)
{
	ask(call, IMAGES_USAGE, request, user);
}

HANDLER(verify_image)
{
	ask(call, IMAGES_VERIFY, request, user);
}

HANDLER(collect_images)
{
	ask(call, IMAGES_COLLECT, request, user);
}

/* ---- Pulls ---- */

struct pull_stream {
	struct grpc_call *call;
	struct images_pull *pull;
	bool changed;
	uint64_t rate_usec, rate_bytes; /* where the count of bytes per second began */
	uint64_t bytes_per_second;
};

static void stream_free(struct pull_stream *stream)
{
	images_pull_end(stream->pull);
	free(stream);
}

static void on_changed(void *user)
{
	struct pull_stream *stream = user;

	stream->changed = true;
	grpc_call_wake(stream->call);
}

static uint64_t now_usec(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void count_rate(struct pull_stream *stream, uint64_t bytes)
{
	uint64_t now = now_usec(), usec = now - stream->rate_usec;

	if (usec < RATE_USEC_MIN)
		return;
	stream->bytes_per_second = (bytes - stream->rate_bytes) * 1000000 / usec;
	stream->rate_usec = now;
	stream->rate_bytes = bytes;
}

static enum _Berth__V1__PullPhase phase_of(const struct images_pull_state *state)
{
	if (state->ended)
		return BERTH__V1__PULL_PHASE__PULL_PHASE_DONE;
	switch (state->progress.phase) {
	case PULL_RESOLVING:
		return BERTH__V1__PULL_PHASE__PULL_PHASE_RESOLVING;
	case PULL_LAYERS:
		return BERTH__V1__PULL_PHASE__PULL_PHASE_LAYERS;
	case PULL_STORING:
		return BERTH__V1__PULL_PHASE__PULL_PHASE_STORING;
	}
	return BERTH__V1__PULL_PHASE__PULL_PHASE_UNSPECIFIED;
}

static void send_progress(struct pull_stream *stream, const struct images_pull_state *state)
{
	Berth__V1__PullImageResponse message = BERTH__V1__PULL_IMAGE_RESPONSE__INIT;
	cleanup_arena struct arena arena;

	arena_init(&arena, REPLY_BYTES);
	count_rate(stream, state->progress.bytes_fetched);
	message.phase = phase_of(state);
	message.layers = state->progress.layers;
	message.layers_done = state->progress.layers_done;
	message.bytes = state->progress.bytes;
	message.bytes_done = state->progress.bytes_done;
	message.bytes_fetched = state->progress.bytes_fetched;
	message.bytes_per_second = stream->bytes_per_second;
	if (state->ended)
		message.image = image_message(&arena, &state->image);
	(void)grpc_call_send(stream->call,
			     &message.base); /* a reader that went is told by on_cancel */
}

static void on_writable(struct grpc_call *call, void *user)
{
	struct pull_stream *stream = user;
	struct images_pull_state state;

	if (!stream->changed)
		return;
	stream->changed = false;
	images_pull_read(stream->pull, &state);
	if (state.ended && state.r < 0) {
		refuse(call, &state.err);
		stream_free(stream);
		return;
	}
	send_progress(stream, &state);
	if (!state.ended)
		return;
	grpc_call_finish(call);
	stream_free(stream);
}

static void on_cancel(struct grpc_call *call, enum grpc_cancel why, void *user)
{
	grpc_call_finish(call);
	stream_free(user);
}

static const struct grpc_call_events stream_events = { .on_writable = on_writable,
						       .on_cancel = on_cancel };

HANDLER(pull_image)
{
	const struct service *service = user;
	struct pull_stream *stream;
	struct err err = { 0 };

	if (!has_images(call, service))
		return;
	stream = calloc(1, sizeof(*stream));
	if (!stream) {
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "pull: out of memory", NULL);
		return;
	}
	stream->call = call;
	stream->rate_usec = now_usec();
	if (images_pull_begin(service->images, (const Berth__V1__PullImageRequest *)request, true,
			      on_changed, stream, &stream->pull, &err) < 0) {
		refuse(call, &err);
		free(stream);
		return;
	}
	grpc_call_set_events(call, &stream_events, stream);
}
