/*
 * echo_client [--ca F [--cert F --key F]] TARGET VERB [ARGS]
 *   echo TEXT | fail TEXT | payload BYTES | hold TIMEOUT_MS | nothing
 *   count N BYTES | sum N BYTES | chat N BYTES
 * Makes one call of echo.proto with the library's client and prints "CODE MESSAGES TEXT".
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "agent/grpc/client.h"
#include "echo.pb-c.h"
#include "proto/cleanup.h"

#define SEC        1000000ULL
#define PATH(name) "/berth.test.v1.Echo/" name

struct program {
	sd_event *event;
	struct grpc_client *client;
	unsigned long to_send;
	size_t payload_bytes;
	uint8_t *payload;
	unsigned n_messages;
	enum grpc_code code;
	char text[512];
};

static void on_message(struct grpc_client_call *call, const ProtobufCMessage *message, void *user)
{
	struct program *program = user;

	program->n_messages++;
	if (message->descriptor == &berth__test__v1__sum_response__descriptor)
		(void)snprintf(program->text, sizeof(program->text), "%llu",
			       (unsigned long long)((const Berth__Test__V1__SumResponse *)message)
				       ->messages);
}

static void on_writable(struct grpc_client_call *call, void *user)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	struct program *program = user;

	if (!program->to_send) {
		grpc_client_half_close(call);
		return;
	}
	program->to_send--;
	request.payload.data = program->payload;
	request.payload.len = program->payload_bytes;
	(void)grpc_client_send(call, &request.base);
}

static void on_end(struct grpc_client_call *call, const struct grpc_outcome *outcome, void *user)
{
	struct program *program = user;

	program->code = outcome->code;
	if (outcome->code != GRPC_OK)
		(void)snprintf(program->text, sizeof(program->text), "%s", outcome->message);
	(void)sd_event_exit(program->event, 0);
}

static const struct grpc_client_events events = { .on_message = on_message,
						  .on_writable = on_writable,
						  .on_end = on_end };

static int unary(struct program *program, const char *path,
		 const Berth__Test__V1__EchoRequest *request, uint64_t timeout_usec,
		 struct err *err)
{
	struct grpc_reply reply;
	int r = grpc_client_unary(program->client, path, &request->base,
				  &berth__test__v1__echo_response__descriptor, timeout_usec, &reply,
				  err);

	if (r < 0)
		return r;
	program->code = reply.outcome.code;
	program->n_messages = reply.message != NULL;
	(void)snprintf(program->text, sizeof(program->text), "%s",
		       reply.message ? ((const Berth__Test__V1__EchoResponse *)reply.message)->text
				     : reply.outcome.message);
	grpc_reply_done(&reply);
	return 0;
}

static int call_unary(struct program *program, const char *verb, char *argument, struct err *err)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	const char *path = PATH("Echo");
	uint64_t timeout_usec = 20 * SEC;

	if (strcmp(verb, "echo") == 0) {
		request.text = argument;
	} else if (strcmp(verb, "fail") == 0) {
		request.text = argument;
		request.fail_code = GRPC_ABORTED;
	} else if (strcmp(verb, "payload") == 0) {
		request.payload.len = strtoul(argument, NULL, 10);
		request.payload.data = program->payload = calloc(1, request.payload.len + 1);
	} else if (strcmp(verb, "hold") == 0) {
		path = PATH("Hold");
		timeout_usec = strtoull(argument, NULL, 10) * 1000;
	} else {
		path = PATH("Nothing");
	}
	return unary(program, path, &request, timeout_usec, err);
}

static int call_stream(struct program *program, const char *verb, unsigned long n,
		       size_t payload_bytes, struct err *err)
{
	Berth__Test__V1__CountRequest request = BERTH__TEST__V1__COUNT_REQUEST__INIT;
	bool is_sum = strcmp(verb, "sum") == 0;
	struct grpc_client_call *call;

	program->to_send = n;
	program->payload_bytes = payload_bytes;
	program->payload = calloc(1, payload_bytes + 1);
	request.count = n;
	request.payload_bytes = (uint32_t)payload_bytes;
	if (strcmp(verb, "count") == 0)
		return grpc_client_start(program->client, PATH("Count"), &request.base,
					 &berth__test__v1__count_response__descriptor, 20 * SEC,
					 &events, program, NULL, err);
	return grpc_client_open(program->client, is_sum ? PATH("Sum") : PATH("Chat"),
				is_sum ? &berth__test__v1__sum_response__descriptor
				       : &berth__test__v1__echo_response__descriptor,
				20 * SEC, &events, program, &call, err);
}

static int run(struct program *program, int argc, char **argv, struct err *err)
{
	int r;

	if (argc == 3) {
		r = call_stream(program, argv[0], strtoul(argv[1], NULL, 10),
				strtoul(argv[2], NULL, 10), err);
		return r < 0 ? r : sd_event_loop(program->event);
	}
	return call_unary(program, argv[0], argc > 1 ? argv[1] : NULL, err);
}

static const struct option long_options[] = { { "ca", required_argument, NULL, 'a' },
					      { "cert", required_argument, NULL, 'c' },
					      { "key", required_argument, NULL, 'k' },
					      { 0 } };

static bool parse_arguments(int argc, char **argv, struct grpc_tls_files *files)
{
	int option;

	while ((option = getopt_long(argc, argv, "+", long_options, NULL)) >= 0) {
		if (option == 'a')
			files->ca_path = optarg;
		else if (option == 'c')
			files->cert_path = optarg;
		else if (option == 'k')
			files->key_path = optarg;
		else
			return false;
	}
	return argc - optind >= 2;
}

int main(int argc, char **argv)
{
	struct grpc_client_options options = { 0 };
	struct grpc_tls_files files = { 0 };
	struct program program = { 0 };
	struct err err = { 0 };
	int r = 0;

	if (!parse_arguments(argc, argv, &files))
		return 2;
	options.target = argv[optind];
	if (files.ca_path)
		r = grpc_tls_new_client(&files, &options.tls, &err);
	if (r == 0)
		r = sd_event_default(&program.event);
	if (r >= 0)
		r = grpc_client_new(program.event, &options, &program.client, &err);
	if (r >= 0)
		r = run(&program, argc - optind - 1, argv + optind + 1, &err);
	if (r >= 0)
		(void)printf("%s %u %s\n", grpc_code_name(program.code), program.n_messages,
			     program.text);
	else
		(void)fprintf(stderr, "echo_client: %s\n", err.text);
	grpc_client_free(program.client);
	grpc_tls_unref(options.tls);
	sd_event_unref(program.event);
	free(program.payload);
	return r < 0;
}
