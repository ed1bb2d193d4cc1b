/*
 * WatchEvents: a place in the engine's history, pulled from as fast as the reader takes it.
 */
#include "agent/service/handlers.h"
#include "agent/service/status.h"

#define EVENTS_AT_ONCE 64
#define REPLY_BYTES    (4U << 20)

struct event_stream {
	struct engine_watch watch;
	struct grpc_call *call;
	struct engine *engine;
	bool no_follow;
};

static void stream_free(struct event_stream *stream)
{
	engine_watch_end(&stream->watch);
	free(stream);
}

static void on_available(struct engine_watch *watch)
{
	struct event_stream *stream = watch->userdata;

	grpc_call_wake(stream->call);
}

static void on_writable(struct grpc_call *call, void *user)
{
	struct event_stream *stream = user;
	cleanup_arena struct arena arena;
	Berth__V1__WatchEventsResponse reply = BERTH__V1__WATCH_EVENTS_RESPONSE__INIT;
	int n;

	arena_init(&arena, REPLY_BYTES);
	n = engine_events_read(stream->engine, &stream->watch, EVENTS_AT_ONCE, &arena, &reply);
	if (n < 0) {
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "read events: out of memory", NULL);
		stream_free(stream);
	} else if (n > 0 || reply.missed > 0) {
		(void)grpc_call_send(call,
				     &reply.base); /* a reader that went is told by on_cancel */
	} else if (stream->no_follow) {
		grpc_call_finish(call);
		stream_free(stream);
	}
}

static void on_cancel(struct grpc_call *call, enum grpc_cancel why, void *user)
{
	grpc_call_finish(call);
	stream_free(user);
}

static const struct grpc_call_events stream_events = { .on_writable = on_writable,
						       .on_cancel = on_cancel };

HANDLER(watch_events)
{
	const Berth__V1__WatchEventsRequest *watch = (const void *)request;
	struct service *service = user;
	struct event_stream *stream = calloc(1, sizeof(*stream));
	cleanup_fault struct engine_fault fault;
	struct err err = { 0 };

	engine_fault_init(&fault);
	if (!stream) {
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "watch events: out of memory", NULL);
		return;
	}
	stream->call = call;
	stream->engine = service->engine;
	stream->no_follow = watch->no_follow;
	stream->watch.available = on_available;
	stream->watch.userdata = stream;
	if (engine_watch_begin(service->engine, watch, &stream->watch, &err, &fault) < 0) {
		status_fail(call, &err, &fault);
		free(stream);
		return;
	}
	grpc_call_set_events(call, &stream_events, stream);
}
