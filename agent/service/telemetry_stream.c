/*
 * StreamTelemetry: reports pulled from the telemetry's stream when they are due and the reader takes them.
 */
#include <stdio.h>
#include <string.h>

#include "agent/service/handlers.h"
#include "agent/service/status.h"
#include "agent/telemetry/telemetry.h"

#define REPLY_BYTES (16U << 20)

struct report_stream {
	struct grpc_call *call;
	struct telemetry_stream *stream;
};

static void stream_free(struct report_stream *reports)
{
	telemetry_stream_close(reports->stream);
	free(reports);
}

static void on_ready(void *userdata)
{
	struct report_stream *reports = userdata;

	grpc_call_wake(reports->call);
}

static void on_writable(struct grpc_call *call, void *user)
{
	struct report_stream *reports = user;
	cleanup_arena struct arena arena;
	Berth__V1__StreamTelemetryResponse reply = BERTH__V1__STREAM_TELEMETRY_RESPONSE__INIT;
	int r;

	arena_init(&arena, REPLY_BYTES);
	r = telemetry_stream_next(reports->stream, &arena, &reply);
	if (r > 0) {
		(void)grpc_call_send(call,
				     &reply.base); /* a reader that went is told by on_cancel */
	} else if (r < 0) {
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED,
			       "report telemetry: out of memory; filter, or leave containers out",
			       NULL);
		stream_free(reports);
	}
}

static void on_cancel(struct grpc_call *call, enum grpc_cancel why, void *user)
{
	grpc_call_finish(call);
	stream_free(user);
}

static const struct grpc_call_events stream_events = { .on_writable = on_writable,
						       .on_cancel = on_cancel };

/* What is wrong begins with the field's name. */
static void refuse(struct grpc_call *call, const struct err *err)
{
	cleanup_fault struct engine_fault fault;
	const char *text = strstr(err->text, ": ");
	char field[32];

	engine_fault_init(&fault);
	if (err->kind == ERR_INVALID && text) {
		(void)snprintf(field, sizeof(field), "%.*s", (int)(text - err->text), err->text);
		engine_fault_add_field(&fault, field, text + 2);
	}
	status_fail(call, err, &fault);
}

HANDLER(stream_telemetry)
{
	struct service *service = user;
	struct report_stream *reports = calloc(1, sizeof(*reports));
	struct err err = { 0 };

	if (!reports) {
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "stream telemetry: out of memory",
			       NULL);
		return;
	}
	reports->call = call;
	if (telemetry_stream_open(service->telemetry,
				  (const Berth__V1__StreamTelemetryRequest *)request, on_ready,
				  reports, &reports->stream, &err) < 0) {
		refuse(call, &err);
		free(reports);
		return;
	}
	grpc_call_set_events(call, &stream_events, reports);
}
