/*
 * Our client against our server, on one event loop and a unix socket in a temporary directory. Other
 * clients, TLS and abuse are in tests/interop/grpc.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/grpc/client.h"
#include "agent/grpc/details.h"
#include "agent/grpc/health.h"
#include "echo.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"
#include "proto/cleanup.h"
#include "tests/interop/grpc/echo.h"

#define SEC         1000000ULL
#define PATH(name)  "/berth.test.v1.Echo/" name
#define TIMEOUT_SEC 20

struct fixture {
	char directory[64];
	char socket[96];
	char target[128];
	sd_event *event;
	struct grpc_server *server;
	struct grpc_health *health;
	struct echo *echo;
	struct grpc_client *client;
	bool refuse; /* what the authorise hook says */
	bool drained;
	unsigned ended; /* on_call_end */
};

static int authorise(struct grpc_call *call, void *user, struct err *err)
{
	struct fixture *f = user;

	assert_int_equal(grpc_call_peer(call)->kind, GRPC_PEER_UNIX);
	assert_int_equal(grpc_call_peer(call)->uid, getuid());
	assert_int_equal(grpc_call_peer(call)->pid, getpid());
	return f->refuse ? err_set(err, ERR_DENIED, EPERM, "not %s for you",
				   grpc_call_method(call)->path)
			 : 0;
}

static void on_call_end(struct grpc_call *call, const struct grpc_call_end *end, void *user)
{
	((struct fixture *)user)->ended++;
}

static void quiet(int priority, const char *text, void *user)
{
}

static int start(void **state, struct grpc_server_options options)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct grpc_client_options client_options = { 0 };
	struct err err = { 0 };

	(void)stpcpy(f->directory, "/tmp/berth-grpc-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	(void)snprintf(f->socket, sizeof(f->socket), "%s/s", f->directory);
	(void)snprintf(f->target, sizeof(f->target), "unix://%s", f->socket);
	options.authorise = authorise;
	options.on_call_end = on_call_end;
	options.log = quiet;
	options.user = f;
	assert_true(sd_event_new(&f->event) >= 0);
	assert_int_equal(grpc_server_new(f->event, &options, &f->server, &err), 0);
	assert_int_equal(echo_new(f->event, f->server, &f->echo, &err), 0);
	assert_int_equal(grpc_health_new(f->server, &f->health, &err), 0);
	assert_int_equal(grpc_server_listen_unix(f->server, f->socket, 0600, (gid_t)-1, &err), 0);
	client_options.target = f->target;
	assert_int_equal(grpc_client_new(f->event, &client_options, &f->client, &err), 0);
	*state = f;
	return 0;
}

static int set_up(void **state)
{
	return start(state, (struct grpc_server_options){ 0 });
}

static int set_up_small(void **state)
{
	return start(state, (struct grpc_server_options){ .max_receive_bytes = 1000,
							  .max_connections_per_uid = 1,
							  .max_calls = 2 });
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	grpc_client_free(f->client);
	grpc_server_free(f->server);
	grpc_health_free(f->health);
	echo_free(f->echo);
	sd_event_unref(f->event);
	assert_int_equal(access(f->socket, F_OK), -1);
	assert_int_equal(rmdir(f->directory), 0);
	free(f);
	return 0;
}

/* --- one call at a time --- */

static struct grpc_reply unary(struct fixture *f, const char *path, const ProtobufCMessage *request,
			       const ProtobufCMessageDescriptor *response, uint64_t timeout_usec)
{
	struct grpc_reply reply = { 0 };
	struct err err = { 0 };

	assert_int_equal(
		grpc_client_unary(f->client, path, request, response, timeout_usec, &reply, &err),
		0);
	return reply;
}

static struct grpc_reply call_echo(struct fixture *f, const Berth__Test__V1__EchoRequest *request,
				   uint64_t timeout_usec)
{
	return unary(f, PATH("Echo"), &request->base, &berth__test__v1__echo_response__descriptor,
		     timeout_usec);
}

static void a_call_is_answered(void **state)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	struct fixture *f = *state;

	request.text = (char[]){ "hello" };
	for (int i = 0; i < 3; i++) {
		struct grpc_reply reply = call_echo(f, &request, 5 * SEC);
		const Berth__Test__V1__EchoResponse *response = (const void *)reply.message;

		assert_int_equal(reply.outcome.code, GRPC_OK);
		assert_string_equal(response->text, "hello");
		assert_in_range(response->timeout_ms, 1000, 5000);
		grpc_reply_done(&reply);
	}
	assert_int_equal(grpc_server_stats(f->server)->connections_accepted, 1);
	assert_int_equal(grpc_server_stats(f->server)->calls, 0);
	assert_int_equal(grpc_server_stats(f->server)->calls_ended[GRPC_OK], 3);
	assert_int_equal(f->ended, 3);
}

static void a_failure_brings_its_sentence_and_its_details(void **state)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	struct grpc_details *details;
	struct grpc_reply reply;

	request.text = (char[]){ "100% größer\nals erlaubt" };
	request.fail_code = GRPC_FAILED_PRECONDITION;
	request.details = 1;
	reply = call_echo(*state, &request, 5 * SEC);
	assert_int_equal(reply.outcome.code, GRPC_FAILED_PRECONDITION);
	assert_true(reply.outcome.from_server);
	assert_null(reply.message);
	assert_string_equal(reply.outcome.message, request.text);
	assert_int_equal(
		grpc_details_decode(reply.outcome.details, reply.outcome.n_details, &details), 0);
	assert_int_equal(grpc_details_count(details), 5);
	grpc_details_free(details);
	grpc_reply_done(&reply);
}

static void four_mebibytes_there_and_back(void **state)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	size_t n = (4 << 20) - 100;
	struct grpc_reply reply;

	request.payload.data = malloc(n);
	request.payload.len = n;
	for (size_t i = 0; i < n; i++)
		request.payload.data[i] = (uint8_t)(i * i);
	reply = call_echo(*state, &request, 20 * SEC);
	assert_int_equal(reply.outcome.code, GRPC_OK);
	assert_memory_equal(((const Berth__Test__V1__EchoResponse *)reply.message)->payload.data,
			    request.payload.data, n);
	grpc_reply_done(&reply);
	free(request.payload.data);
}

static void a_message_over_the_limit_is_refused_and_the_next_one_is_not(void **state)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	struct grpc_reply reply;
	uint8_t bytes[1000] = { 0 };

	request.payload.data = bytes;
	request.payload.len = sizeof(bytes);
	reply = call_echo(*state, &request, 5 * SEC);
	assert_int_equal(reply.outcome.code, GRPC_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(reply.outcome.message, "1000 bytes"));
	grpc_reply_done(&reply);
	request.payload.len = 900;
	reply = call_echo(*state, &request, 5 * SEC);
	assert_int_equal(reply.outcome.code, GRPC_OK);
	grpc_reply_done(&reply);
}

static void an_unknown_method_is_unimplemented(void **state)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	struct grpc_reply reply = unary(*state, PATH("Nothing"), &request.base,
					&berth__test__v1__echo_response__descriptor, 5 * SEC);

	assert_int_equal(reply.outcome.code, GRPC_UNIMPLEMENTED);
	assert_non_null(strstr(reply.outcome.message, "/berth.test.v1.Echo/Nothing"));
	grpc_reply_done(&reply);
}

static void who_may_not_is_told_so(void **state)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	struct fixture *f = *state;
	struct grpc_reply reply;

	f->refuse = true;
	reply = call_echo(f, &request, 5 * SEC);
	assert_int_equal(reply.outcome.code, GRPC_PERMISSION_DENIED);
	assert_string_equal(reply.outcome.message, "not /berth.test.v1.Echo/Echo for you");
	grpc_reply_done(&reply);
	assert_int_equal(grpc_server_stats(f->server)->calls_refused, 1);
}

static void a_deadline_ends_the_call_at_both_ends(void **state)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	struct fixture *f = *state;
	struct grpc_reply reply = unary(f, PATH("Hold"), &request.base,
					&berth__test__v1__echo_response__descriptor, SEC / 10);

	assert_int_equal(reply.outcome.code, GRPC_DEADLINE_EXCEEDED);
	grpc_reply_done(&reply);
	while (grpc_server_stats(f->server)->calls)
		assert_true(sd_event_run(f->event, TIMEOUT_SEC * SEC) > 0);
}

static void nobody_listening_is_unavailable_and_says_where(void **state)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	const struct grpc_client_options options = { .target = "unix:///nonexistent/berth.sock" };
	struct fixture *f = *state;
	struct grpc_client *kept = f->client;
	struct err err = { 0 };
	struct grpc_reply reply;

	assert_int_equal(grpc_client_new(f->event, &options, &f->client, &err), 0);
	reply = call_echo(f, &request, 5 * SEC);
	assert_int_equal(reply.outcome.code, GRPC_UNAVAILABLE);
	assert_false(reply.outcome.from_server);
	assert_non_null(strstr(reply.outcome.message, "/nonexistent/berth.sock"));
	assert_non_null(strstr(reply.outcome.message, "No such file"));
	grpc_reply_done(&reply);
	grpc_client_free(f->client);
	f->client = kept;
}

static void a_user_with_too_many_connections_gets_no_more(void **state)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	struct fixture *f = *state;
	const struct grpc_client_options options = { .target = f->target };
	struct grpc_client *first = f->client;
	struct err err = { 0 };
	struct grpc_reply reply = call_echo(f, &request, 5 * SEC);

	assert_int_equal(reply.outcome.code, GRPC_OK);
	grpc_reply_done(&reply);
	assert_int_equal(grpc_client_new(f->event, &options, &f->client, &err), 0);
	reply = call_echo(f, &request, 5 * SEC);
	assert_int_equal(reply.outcome.code, GRPC_UNAVAILABLE);
	grpc_reply_done(&reply);
	grpc_client_free(f->client);
	f->client = first;
	assert_int_equal(grpc_server_stats(f->server)->connections_refused, 1);
}

/* --- streams --- */

struct stream {
	unsigned n_messages;
	uint64_t n_bytes;
	unsigned to_send;
	unsigned cancel_after;
	bool ended;
	enum grpc_code code;
	char message[256];
	struct grpc_client_call *call;
};

static void on_message(struct grpc_client_call *call, const ProtobufCMessage *message, void *user)
{
	struct stream *stream = user;

	stream->n_messages++;
	if (message->descriptor == &berth__test__v1__count_response__descriptor)
		stream->n_bytes += ((const Berth__Test__V1__CountResponse *)message)->payload.len;
	if (message->descriptor == &berth__test__v1__sum_response__descriptor)
		stream->n_bytes = ((const Berth__Test__V1__SumResponse *)message)->messages;
	if (stream->n_messages == stream->cancel_after)
		grpc_client_cancel(call);
}

static void on_writable(struct grpc_client_call *call, void *user)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	struct stream *stream = user;

	if (!stream->to_send) {
		grpc_client_half_close(call);
		return;
	}
	stream->to_send--;
	request.payload.data = (uint8_t[500]){ 0 };
	request.payload.len = 500;
	assert_int_equal(grpc_client_send(call, &request.base), 0);
}

static void on_end(struct grpc_client_call *call, const struct grpc_outcome *outcome, void *user)
{
	struct stream *stream = user;

	stream->ended = true;
	stream->code = outcome->code;
	(void)snprintf(stream->message, sizeof(stream->message), "%s", outcome->message);
}

static const struct grpc_client_events stream_events = { .on_message = on_message,
							 .on_writable = on_writable,
							 .on_end = on_end };

static void run_until(struct fixture *f, const bool *done)
{
	while (!*done)
		assert_true(sd_event_run(f->event, TIMEOUT_SEC * SEC) > 0);
}

static void start_count(struct fixture *f, const char *path, uint64_t count, uint32_t payload_bytes,
			uint32_t fail_after, struct stream *stream)
{
	Berth__Test__V1__CountRequest request = BERTH__TEST__V1__COUNT_REQUEST__INIT;
	struct err err = { 0 };

	request.count = count;
	request.payload_bytes = payload_bytes;
	request.fail_after = fail_after;
	assert_int_equal(grpc_client_start(f->client, path, &request.base,
					   &berth__test__v1__count_response__descriptor, 0,
					   &stream_events, stream, &stream->call, &err),
			 0);
}

static void a_stream_brings_all_its_messages_and_then_its_status(void **state)
{
	struct stream small = { 0 }, large = { 0 }, failing = { 0 }, empty = { 0 };
	struct fixture *f = *state;

	start_count(f, PATH("Count"), 20000, 100, 0, &small);
	start_count(f, PATH("Count"), 20, 1000000, 0, &large);
	start_count(f, PATH("Count"), 100, 10, 7, &failing);
	start_count(f, PATH("Count"), 0, 10, 0, &empty);
	run_until(f, &small.ended);
	run_until(f, &large.ended);
	run_until(f, &failing.ended);
	run_until(f, &empty.ended);
	assert_int_equal(small.code, GRPC_OK);
	assert_int_equal(small.n_messages, 20000);
	assert_int_equal(large.code, GRPC_OK);
	assert_int_equal(large.n_bytes, 20000000);
	assert_int_equal(failing.code, GRPC_ABORTED);
	assert_string_equal(failing.message, "failed after 7");
	assert_int_equal(empty.code, GRPC_OK);
	assert_int_equal(empty.n_messages, 0);
}

static void a_cancelled_stream_tells_its_handler(void **state)
{
	struct stream stream = { .cancel_after = 10 };
	struct fixture *f = *state;

	start_count(f, PATH("Count"), UINT64_MAX, 1000, 0, &stream);
	run_until(f, &stream.ended);
	assert_int_equal(stream.code, GRPC_CANCELLED);
	while (grpc_server_stats(f->server)->calls)
		assert_true(sd_event_run(f->event, TIMEOUT_SEC * SEC) > 0);
	assert_int_equal(grpc_server_stats(f->server)->calls_ended[GRPC_CANCELLED], 1);
}

static void open_stream(struct fixture *f, const char *path,
			const ProtobufCMessageDescriptor *response, struct stream *stream)
{
	struct err err = { 0 };

	assert_int_equal(grpc_client_open(f->client, path, response, 0, &stream_events, stream,
					  &stream->call, &err),
			 0);
}

static void streams_go_both_ways(void **state)
{
	struct stream chat = { .to_send = 2000 }, sum = { .to_send = 3000 }, nothing = { 0 };
	struct fixture *f = *state;

	open_stream(f, PATH("Chat"), &berth__test__v1__echo_response__descriptor, &chat);
	open_stream(f, PATH("Sum"), &berth__test__v1__sum_response__descriptor, &sum);
	open_stream(f, PATH("Sum"), &berth__test__v1__sum_response__descriptor, &nothing);
	run_until(f, &chat.ended);
	run_until(f, &sum.ended);
	run_until(f, &nothing.ended);
	assert_int_equal(chat.code, GRPC_OK);
	assert_int_equal(chat.n_messages, 2000);
	assert_int_equal(sum.code, GRPC_OK);
	assert_int_equal(sum.n_bytes, 3000);
	assert_int_equal(nothing.code, GRPC_OK);
	assert_int_equal(nothing.n_messages, 1);
}

static void a_paused_reader_gets_nothing_until_it_resumes(void **state)
{
	struct stream stream = { 0 };
	struct fixture *f = *state;

	start_count(f, PATH("Count"), 5000, 1000, 0, &stream);
	grpc_client_pause(stream.call);
	/* The loop is idle once the windows are full. */
	while (sd_event_run(f->event, SEC / 20) > 0)
		;
	assert_int_equal(stream.n_messages, 0);
	assert_false(stream.ended);
	grpc_client_resume(stream.call);
	run_until(f, &stream.ended);
	assert_int_equal(stream.n_messages, 5000);
	assert_int_equal(stream.code, GRPC_OK);
}

/* --- limits, life --- */

static void calls_over_the_limit_are_refused_until_others_end(void **state)
{
	Berth__Test__V1__ReleaseRequest release = BERTH__TEST__V1__RELEASE_REQUEST__INIT;
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	static struct stream held; /* told of its end by tear_down */
	struct fixture *f = *state;
	struct grpc_reply reply;
	struct err err = { 0 };

	for (int i = 0; i < 2; i++)
		assert_int_equal(grpc_client_start(f->client, PATH("Hold"), &request.base,
						   &berth__test__v1__echo_response__descriptor, 0,
						   &stream_events, &held, NULL, &err),
				 0);
	while (grpc_server_stats(f->server)->calls < 2)
		assert_true(sd_event_run(f->event, TIMEOUT_SEC * SEC) > 0);
	reply = unary(f, PATH("Release"), &release.base,
		      &berth__test__v1__release_response__descriptor, 5 * SEC);
	assert_int_equal(reply.outcome.code, GRPC_UNAVAILABLE);
	grpc_reply_done(&reply);
	assert_false(held.ended);
}

static void on_drained(struct grpc_server *server, void *user)
{
	((struct fixture *)user)->drained = true;
}

static void a_drain_lets_calls_finish_and_ends_what_would_not(void **state)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	struct stream slow = { 0 }, follow = { 0 }, count = { .cancel_after = UINT32_MAX };
	struct fixture *f = *state;
	struct grpc_reply reply;
	struct err err = { 0 };

	request.text = (char[]){ "late" };
	request.delay_ms = 200;
	assert_int_equal(grpc_client_start(f->client, PATH("Echo"), &request.base,
					   &berth__test__v1__echo_response__descriptor, 0,
					   &stream_events, &slow, NULL, &err),
			 0);
	start_count(f, PATH("Follow"), 0, 0, 0, &follow);
	start_count(f, PATH("Count"), 100000, 100, 0, &count);
	while (grpc_server_stats(f->server)->calls < 3)
		assert_true(sd_event_run(f->event, TIMEOUT_SEC * SEC) > 0);
	assert_int_equal(grpc_server_drain(f->server, 10 * SEC, on_drained, f), 0);
	assert_int_equal(grpc_server_drain(f->server, 0, on_drained, f), -EALREADY);
	run_until(f, &f->drained);
	assert_true(slow.ended && follow.ended && count.ended);
	assert_int_equal(slow.code, GRPC_OK);
	assert_int_equal(count.code, GRPC_OK);
	assert_int_equal(count.n_messages, 100000);
	assert_int_equal(follow.code, GRPC_UNAVAILABLE);
	request.delay_ms = 0;
	reply = call_echo(f, &request, 5 * SEC);
	assert_int_equal(reply.outcome.code, GRPC_UNAVAILABLE);
	grpc_reply_done(&reply);
}

static void the_grace_of_a_drain_ends(void **state)
{
	struct stream stream = { 0 };
	struct fixture *f = *state;

	start_count(f, PATH("Count"), UINT64_MAX, 100, 0, &stream);
	while (grpc_server_stats(f->server)->calls < 1)
		assert_true(sd_event_run(f->event, TIMEOUT_SEC * SEC) > 0);
	assert_int_equal(grpc_server_drain(f->server, SEC / 10, on_drained, f), 0);
	run_until(f, &f->drained);
	run_until(f, &stream.ended);
	assert_int_equal(stream.code, GRPC_UNAVAILABLE);
}

static void a_server_freed_under_calls_in_progress_harms_nobody(void **state)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	struct stream held = { 0 }, follow = { 0 };
	struct fixture *f = *state;
	struct err err = { 0 };

	assert_int_equal(grpc_client_start(f->client, PATH("Hold"), &request.base,
					   &berth__test__v1__echo_response__descriptor, 0,
					   &stream_events, &held, NULL, &err),
			 0);
	start_count(f, PATH("Follow"), 0, 0, 0, &follow);
	while (grpc_server_stats(f->server)->calls < 2)
		assert_true(sd_event_run(f->event, TIMEOUT_SEC * SEC) > 0);
	grpc_server_free(f->server);
	f->server = NULL;
	run_until(f, &held.ended);
	run_until(f, &follow.ended);
	assert_int_equal(held.code, GRPC_UNAVAILABLE);
	assert_int_equal(follow.code, GRPC_UNAVAILABLE);
}

static void health_is_checked_and_watched(void **state)
{
	Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	static struct stream watch; /* told of its end by tear_down */
	struct fixture *f = *state;
	struct grpc_reply reply;
	struct err err = { 0 };

	request.service = (char[]){ "a" };
	reply = unary(f, "/grpc.health.v1.Health/Check", &request.base,
		      &grpc__health__v1__health_check_response__descriptor, 5 * SEC);
	assert_int_equal(reply.outcome.code, GRPC_NOT_FOUND);
	grpc_reply_done(&reply);
	assert_int_equal(grpc_client_start(f->client, "/grpc.health.v1.Health/Watch", &request.base,
					   &grpc__health__v1__health_check_response__descriptor, 0,
					   &stream_events, &watch, NULL, &err),
			 0);
	for (unsigned i = 1; i <= 5; i++) {
		while (watch.n_messages < i)
			assert_true(sd_event_run(f->event, TIMEOUT_SEC * SEC) > 0);
		assert_int_equal(grpc_health_set(f->health, "a", i % 2), 0);
		assert_int_equal(grpc_health_set(f->health, "b", i % 2), 0);
	}
	reply = unary(f, "/grpc.health.v1.Health/Check", &request.base,
		      &grpc__health__v1__health_check_response__descriptor, 5 * SEC);
	assert_int_equal(((const Grpc__Health__V1__HealthCheckResponse *)reply.message)->status,
			 GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
	grpc_reply_done(&reply);
}

static void a_socket_in_use_or_a_file_is_not_replaced(void **state)
{
	struct fixture *f = *state;
	struct err err = { 0 };
	struct stat st;
	char path[128];
	FILE *file;

	assert_true(grpc_server_listen_unix(f->server, f->socket, 0600, (gid_t)-1, &err) < 0);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(stat(f->socket, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	(void)snprintf(path, sizeof(path), "%s/file", f->directory);
	file = fopen(path, "we");
	assert_non_null(file);
	(void)fclose(file);
	assert_true(grpc_server_listen_unix(f->server, path, 0600, (gid_t)-1, &err) < 0);
	assert_int_equal(err.kind, ERR_EXISTS);
	assert_int_equal(unlink(path), 0);
	assert_true(grpc_server_listen_tcp(f->server, "127.0.0.1:0", NULL, NULL, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_SMALL(name) cmocka_unit_test_setup_teardown(name, set_up_small, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_call_is_answered),
		TEST(a_failure_brings_its_sentence_and_its_details),
		TEST(four_mebibytes_there_and_back),
		TEST_SMALL(a_message_over_the_limit_is_refused_and_the_next_one_is_not),
		TEST(an_unknown_method_is_unimplemented),
		TEST(who_may_not_is_told_so),
		TEST(a_deadline_ends_the_call_at_both_ends),
		TEST(nobody_listening_is_unavailable_and_says_where),
		TEST_SMALL(a_user_with_too_many_connections_gets_no_more),
		TEST(a_stream_brings_all_its_messages_and_then_its_status),
		TEST(a_cancelled_stream_tells_its_handler),
		TEST(streams_go_both_ways),
		TEST(a_paused_reader_gets_nothing_until_it_resumes),
		TEST_SMALL(calls_over_the_limit_are_refused_until_others_end),
		TEST(a_drain_lets_calls_finish_and_ends_what_would_not),
		TEST(the_grace_of_a_drain_ends),
		TEST(a_server_freed_under_calls_in_progress_harms_nobody),
		TEST(health_is_checked_and_watched),
		TEST(a_socket_in_use_or_a_file_is_not_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
