#include "echo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "agent/grpc/details.h"
#include "echo.pb-c.h"
#include "proto/cleanup.h"

#define SUM_METADATA "x-test"

/* A call that waits: for a clock, or for Release. */
struct held {
	LIST_ENTRY(held) entry;
	struct echo *echo;
	struct grpc_call *call; /* the handler's: it is ended from here */
	sd_event_source *timer;
};

struct echo {
	sd_event *event;
	struct grpc_server *server;
	LIST_HEAD(, held) held;
	unsigned n_held;
	uint64_t cancelled;
};

/* A stream in progress. */
struct counting {
	struct echo *echo;
	uint64_t next;
	uint64_t payload_bytes;
	uint8_t *payload;
};

/* --- unary --- */

static void reply_echo(struct grpc_call *call)
{
	const Berth__Test__V1__EchoRequest *request = (const void *)grpc_call_request(call);
	Berth__Test__V1__EchoResponse response = BERTH__TEST__V1__ECHO_RESPONSE__INIT;
	const char *metadata = grpc_call_metadata(call, SUM_METADATA);
	uint64_t deadline_usec = grpc_call_deadline_usec(call);
	char peer[256];

	response.text = request->text;
	response.payload = request->payload;
	response.peer = (char *)(uintptr_t)grpc_peer_text(grpc_call_peer(call), peer, sizeof(peer));
	response.metadata = (char *)(uintptr_t)(metadata ? metadata : "");
	if (deadline_usec != UINT64_MAX) {
		struct timespec now;

		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		response.timeout_ms = (deadline_usec - (uint64_t)now.tv_sec * 1000000 -
				       (uint64_t)now.tv_nsec / 1000) /
				      1000;
	}
	(void)grpc_call_reply(call, &response.base);
}

static void fail_echo(struct grpc_call *call, const Berth__Test__V1__EchoRequest *request)
{
	struct grpc_details *details = request->details ? grpc_details_new() : NULL;

	grpc_details_add_field(details, "workload.id", "must start with a letter or a digit");
	grpc_details_add_quota(details, "memory", "asked 5 GiB, left 1 GiB");
	grpc_details_set_reason(details, "TEST_REASON", "berth.test");
	grpc_details_add_metadata(details, "node", "n-1");
	grpc_details_set_retry(details, 1500000);
	grpc_call_fail(call, (enum grpc_code)request->fail_code, request->text, details);
	grpc_details_free(details);
}

static void let_go(struct held *held)
{
	LIST_REMOVE(held, entry);
	held->echo->n_held--;
	sd_event_source_disable_unref(held->timer);
	free(held);
}

static int on_delay_over(sd_event_source *source, uint64_t usec, void *user)
{
	struct held *held = user;
	struct grpc_call *call = held->call;

	let_go(held);
	reply_echo(call);
	return 0;
}

static void on_held_cancel(struct grpc_call *call, enum grpc_cancel why, void *user)
{
	struct held *held = user;

	held->echo->cancelled++;
	let_go(held);
	grpc_call_fail(call, GRPC_CANCELLED, "cancelled", NULL);
}

static const struct grpc_call_events held_events = { .on_cancel = on_held_cancel };

static void hold(struct echo *echo, struct grpc_call *call, uint64_t delay_usec)
{
	struct held *held = calloc(1, sizeof(*held));

	if (!held ||
	    (delay_usec && sd_event_add_time_relative(echo->event, &held->timer, CLOCK_MONOTONIC,
						      delay_usec, 1000, on_delay_over, held) < 0)) {
		free(held);
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "out of memory", NULL);
		return;
	}
	held->echo = echo;
	held->call = call;
	LIST_INSERT_HEAD(&echo->held, held, entry);
	echo->n_held++;
	grpc_call_set_events(call, &held_events, held);
}

static void handle_echo(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Berth__Test__V1__EchoRequest *request = (const void *)message;

	if (request->delay_ms)
		hold(user, call, request->delay_ms * 1000ULL);
	else if (request->fail_code)
		fail_echo(call, request);
	else
		reply_echo(call);
}

static void handle_hold(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	hold(user, call, 0);
}

static void handle_release(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Berth__Test__V1__ReleaseRequest *request = (const void *)message;
	Berth__Test__V1__ReleaseResponse response = BERTH__TEST__V1__RELEASE_RESPONSE__INIT;
	struct echo *echo = user;

	while (!LIST_EMPTY(&echo->held) &&
	       (!request->count || response.released < request->count)) {
		struct held *held = LIST_FIRST(&echo->held);
		struct grpc_call *released = held->call;

		let_go(held);
		reply_echo(released);
		response.released++;
	}
	(void)grpc_call_reply(call, &response.base);
}

static uint64_t rss_kib(void)
{
	cleanup_file FILE *file = fopen("/proc/self/statm", "re");
	unsigned long pages = 0;

	if (!file || fscanf(file, "%*u %lu", &pages) != 1)
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void handle_stats(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	struct echo *echo = user;
	const struct grpc_server_stats *stats = grpc_server_stats(echo->server);
	Berth__Test__V1__StatsResponse response = BERTH__TEST__V1__STATS_RESPONSE__INIT;

	response.connections = stats->connections;
	response.calls = stats->calls;
	response.calls_started = stats->calls_started;
	response.cancelled = echo->cancelled;
	response.receive_buffered_bytes = stats->receive_buffered_bytes;
	response.rss_kib = rss_kib();
	response.connections_abusive = stats->connections_abusive;
	response.held = echo->n_held;
	(void)grpc_call_reply(call, &response.base);
}

/* --- streams --- */

static void counting_free(struct counting *counting)
{
	free(counting->payload);
	free(counting);
}

static void on_count_cancel(struct grpc_call *call, enum grpc_cancel why, void *user)
{
	struct counting *counting = user;

	counting->echo->cancelled++;
	counting_free(counting);
	grpc_call_fail(call, GRPC_CANCELLED, "cancelled", NULL);
}

static void on_count_writable(struct grpc_call *call, void *user)
{
	const Berth__Test__V1__CountRequest *request = (const void *)grpc_call_request(call);
	Berth__Test__V1__CountResponse response = BERTH__TEST__V1__COUNT_RESPONSE__INIT;
	struct counting *counting = user;

	if (request->fail_after && counting->next == request->fail_after) {
		counting_free(counting);
		grpc_call_failf(call, GRPC_ABORTED, "failed after %u", request->fail_after);
		return;
	}
	if (counting->next == request->count) {
		counting_free(counting);
		grpc_call_finish(call);
		return;
	}
	response.index = counting->next++;
	response.payload.data = counting->payload;
	response.payload.len = counting->payload_bytes;
	(void)grpc_call_send(call, &response.base);
}

static const struct grpc_call_events count_events = { .on_writable = on_count_writable,
						      .on_cancel = on_count_cancel };

static struct counting *counting_new(struct echo *echo, uint64_t payload_bytes)
{
	struct counting *counting = calloc(1, sizeof(*counting));

	if (!counting)
		return NULL;
	counting->echo = echo;
	counting->payload_bytes = payload_bytes;
	counting->payload = calloc(1, payload_bytes + 1);
	if (!counting->payload) {
		free(counting);
		return NULL;
	}
	return counting;
}

static void handle_count(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Berth__Test__V1__CountRequest *request = (const void *)message;
	struct counting *counting = counting_new(user, request->payload_bytes);

	if (!counting)
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "out of memory", NULL);
	else
		grpc_call_set_events(call, &count_events, counting);
}

/* One message, then nothing: a watch without news. */
static void on_follow_writable(struct grpc_call *call, void *user)
{
	Berth__Test__V1__CountResponse response = BERTH__TEST__V1__COUNT_RESPONSE__INIT;
	struct counting *counting = user;

	if (counting->next++ == 0)
		(void)grpc_call_send(call, &response.base);
}

static const struct grpc_call_events follow_events = { .on_writable = on_follow_writable,
						       .on_cancel = on_count_cancel };

static void handle_follow(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	struct counting *counting = counting_new(user, 0);

	if (!counting)
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "out of memory", NULL);
	else
		grpc_call_set_events(call, &follow_events, counting);
}

static void on_sum_message(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Berth__Test__V1__EchoRequest *request = (const void *)message;
	struct counting *counting = user;

	counting->next++;
	counting->payload_bytes += request->payload.len;
	if (!request->fail_code)
		return;
	counting_free(counting);
	fail_echo(call, request);
}

static void on_sum_half_close(struct grpc_call *call, void *user)
{
	Berth__Test__V1__SumResponse response = BERTH__TEST__V1__SUM_RESPONSE__INIT;
	struct counting *counting = user;

	response.messages = counting->next;
	response.payload_bytes = counting->payload_bytes;
	counting_free(counting);
	(void)grpc_call_reply(call, &response.base);
}

static const struct grpc_call_events sum_events = { .on_message = on_sum_message,
						    .on_half_close = on_sum_half_close,
						    .on_cancel = on_count_cancel };

static void handle_sum(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	struct counting *counting = counting_new(user, 0);

	if (!counting)
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "out of memory", NULL);
	else
		grpc_call_set_events(call, &sum_events, counting);
}

/* Echo each message; where the peer does not read, stop reading from it. */
static void on_chat_message(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	const Berth__Test__V1__EchoRequest *request = (const void *)message;
	Berth__Test__V1__EchoResponse response = BERTH__TEST__V1__ECHO_RESPONSE__INIT;
	struct counting *counting = user;

	if (request->fail_code) {
		counting_free(counting);
		fail_echo(call, request);
		return;
	}
	response.text = request->text;
	response.payload = request->payload;
	(void)grpc_call_send(call, &response.base);
	/* One answer at a time: the next request is read when this one is on its way. */
	grpc_call_pause(call);
}

static void on_chat_writable(struct grpc_call *call, void *user)
{
	grpc_call_resume(call);
}

static void on_chat_half_close(struct grpc_call *call, void *user)
{
	counting_free(user);
	grpc_call_finish(call);
}

static const struct grpc_call_events chat_events = { .on_message = on_chat_message,
						     .on_half_close = on_chat_half_close,
						     .on_writable = on_chat_writable,
						     .on_cancel = on_count_cancel };

static void handle_chat(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	struct counting *counting = counting_new(user, 0);

	if (!counting)
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "out of memory", NULL);
	else
		grpc_call_set_events(call, &chat_events, counting);
}

#define ECHO_METHOD(name, method_kind, in, out, handle, method_flags)                 \
	{                                                                             \
		.path = "/berth.test.v1.Echo/" name, .kind = method_kind,             \
		.request = &berth__test__v1__##in##__descriptor,                      \
		.response = &berth__test__v1__##out##__descriptor, .handler = handle, \
		.flags = method_flags                                                 \
	}

const struct grpc_method echo_methods[] = {
	ECHO_METHOD("Echo", GRPC_UNARY, echo_request, echo_response, handle_echo, 0),
	ECHO_METHOD("Hold", GRPC_UNARY, echo_request, echo_response, handle_hold, 0),
	ECHO_METHOD("Release", GRPC_UNARY, release_request, release_response, handle_release, 0),
	ECHO_METHOD("Count", GRPC_SERVER_STREAM, count_request, count_response, handle_count, 0),
	ECHO_METHOD("Sum", GRPC_CLIENT_STREAM, echo_request, sum_response, handle_sum, 0),
	ECHO_METHOD("Chat", GRPC_BIDI, echo_request, echo_response, handle_chat, 0),
	ECHO_METHOD("Follow", GRPC_SERVER_STREAM, count_request, count_response, handle_follow,
		    GRPC_METHOD_ENDLESS),
	ECHO_METHOD("GetStats", GRPC_UNARY, stats_request, stats_response, handle_stats, 0),
};
const size_t n_echo_methods = ARRAY_SIZE(echo_methods);

int echo_new(sd_event *event, struct grpc_server *server, struct echo **ret_echo, struct err *err)
{
	struct echo *echo = calloc(1, sizeof(*echo));
	int r;

	if (!echo)
		return err_oom(err);
	echo->event = event;
	echo->server = server;
	r = grpc_server_add_methods(server, echo_methods, n_echo_methods, echo, err);
	if (r < 0) {
		free(echo);
		return r;
	}
	*ret_echo = echo;
	return 0;
}

void echo_free(struct echo *echo)
{
	free(echo);
}
