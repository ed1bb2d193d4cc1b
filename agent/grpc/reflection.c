/*
 * v1 and v1alpha have the same messages under two names. The answers are built with v1's types for both;
 * the requests are read so too, as protoc-c makes the same structures of them.
 */
#include "agent/grpc/reflection.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "agent/grpc/descriptors_private.h"
#include "agent/grpc/server_private.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "grpc/reflection/v1alpha/reflection.pb-c.h"
#include "proto/arena.h"

#define ANSWER_BYTES (8U << 20)

#define CASE(name)   GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##name
#define ANSWER(name) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##name
#define SAME_IN_BOTH(member)                                                                  \
	_Static_assert(                                                                       \
		offsetof(Grpc__Reflection__V1__ServerReflectionRequest, member) ==            \
			offsetof(Grpc__Reflection__V1alpha__ServerReflectionRequest, member), \
		"v1 and v1alpha differ")

SAME_IN_BOTH(host);
SAME_IN_BOTH(message_request_case);
SAME_IN_BOTH(file_by_filename);

struct reflection {
	struct grpc_server *server;
	const struct grpc_descriptors *descriptors;
};

/* One answer in the making. */
struct answer {
	const struct reflection *reflection;
	struct arena arena;
	Grpc__Reflection__V1__ServerReflectionResponse response;
	Grpc__Reflection__V1__ErrorResponse error;
	Grpc__Reflection__V1__FileDescriptorResponse files;
	Grpc__Reflection__V1__ListServiceResponse services;
};

static int answer_error(struct answer *answer, enum grpc_code code, const char *text)
{
	grpc__reflection__v1__error_response__init(&answer->error);
	answer->error.error_code = (int32_t)code;
	answer->error.error_message = (char *)(uintptr_t)text;
	answer->response.message_response_case = ANSWER(ERROR_RESPONSE);
	answer->response.error_response = &answer->error;
	return 0;
}

/* @file with all that it imports, so that the asker needs no second question. */
static int answer_file(struct answer *answer, const struct descriptor_file *file)
{
	cleanup_free const struct descriptor_file **files = NULL;
	ProtobufCBinaryData *slices;
	size_t n;

	if (!file)
		return answer_error(answer, GRPC_NOT_FOUND, "no such file or symbol");
	if (descriptors_closure(answer->reflection->descriptors, file, &files, &n) < 0)
		return -ENOMEM;
	slices = arena_calloc(&answer->arena, n, sizeof(*slices));
	if (!slices)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		slices[i] = (ProtobufCBinaryData){ .data = (uint8_t *)(uintptr_t)files[i]->bytes.at,
						   .len = files[i]->bytes.n };
	grpc__reflection__v1__file_descriptor_response__init(&answer->files);
	answer->files.file_descriptor_proto = slices;
	answer->files.n_file_descriptor_proto = n;
	answer->response.message_response_case = ANSWER(FILE_DESCRIPTOR_RESPONSE);
	answer->response.file_descriptor_response = &answer->files;
	return 0;
}

static int add_service(struct answer *answer, const char *name, size_t n)
{
	Grpc__Reflection__V1__ServiceResponse *service =
		arena_message(&answer->arena, &grpc__reflection__v1__service_response__descriptor);

	if (!service)
		return -ENOMEM;
	service->name = arena_strndup(&answer->arena, name, n);
	if (!service->name)
		return -ENOMEM;
	return arena_append(&answer->arena, &answer->services.service, &answer->services.n_service,
			    service);
}

/* The services of the table; it is sorted, so the methods of one stand together. */
static int answer_services(struct answer *answer)
{
	const struct grpc_server *server = answer->reflection->server;
	const char *last = "";
	size_t n_last = 0;

	grpc__reflection__v1__list_service_response__init(&answer->services);
	for (size_t i = 0; i < server->n_methods; i++) {
		const char *name = server->methods[i].method->path + 1;
		size_t n = strcspn(name, "/");

		if (n == n_last && strncmp(name, last, n) == 0)
			continue;
		last = name;
		n_last = n;
		if (descriptors_has_service(answer->reflection->descriptors, name, n) &&
		    add_service(answer, name, n) < 0)
			return -ENOMEM;
	}
	answer->response.message_response_case = ANSWER(LIST_SERVICES_RESPONSE);
	answer->response.list_services_response = &answer->services;
	return 0;
}

static int fill(struct answer *answer, Grpc__Reflection__V1__ServerReflectionRequest *request)
{
	const struct grpc_descriptors *descriptors = answer->reflection->descriptors;

	switch (request->message_request_case) {
	case CASE(FILE_BY_FILENAME):
		return answer_file(answer,
				   descriptors_find_file(descriptors, request->file_by_filename));
	case CASE(FILE_CONTAINING_SYMBOL):
		return answer_file(answer, descriptors_find_symbol_file(
						   descriptors, request->file_containing_symbol));
	case CASE(LIST_SERVICES):
		return answer_services(answer);
	case CASE(FILE_CONTAINING_EXTENSION):
	case CASE(ALL_EXTENSION_NUMBERS_OF_TYPE):
		return answer_error(answer, GRPC_UNIMPLEMENTED, "extensions are not used here");
	default:
		return answer_error(answer, GRPC_INVALID_ARGUMENT, "no question asked");
	}
}

static void on_message(struct grpc_call *call, const ProtobufCMessage *message, void *user)
{
	Grpc__Reflection__V1__ServerReflectionRequest *request = (void *)(uintptr_t)message;
	const ProtobufCMessageDescriptor *received = request->base.descriptor;
	struct answer answer = { .reflection = user };
	int r;

	arena_init(&answer.arena, ANSWER_BYTES);
	grpc__reflection__v1__server_reflection_response__init(&answer.response);
	/* The request is echoed: v1's name for it, whichever it came under, as packing goes by it. */
	request->base.descriptor = &grpc__reflection__v1__server_reflection_request__descriptor;
	answer.response.original_request = request;
	answer.response.valid_host = request->host;
	r = fill(&answer, request);
	if (r == 0)
		r = grpc_call_send(call, &answer.response.base);
	request->base.descriptor = received;
	arena_done(&answer.arena);
	if (r < 0)
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "out of memory", NULL);
	else
		grpc_call_pause(call); /* one answer at a time */
}

static void on_writable(struct grpc_call *call, void *user)
{
	grpc_call_resume(call);
}

static void on_half_close(struct grpc_call *call, void *user)
{
	grpc_call_finish(call);
}

static void on_cancel(struct grpc_call *call, enum grpc_cancel why, void *user)
{
	grpc_call_fail(call, GRPC_CANCELLED, "cancelled", NULL);
}

static const struct grpc_call_events events = { .on_message = on_message,
						.on_half_close = on_half_close,
						.on_writable = on_writable,
						.on_cancel = on_cancel };

static void handle(struct grpc_call *call, const ProtobufCMessage *request, void *user)
{
	grpc_call_set_events(call, &events, user);
}

/* ENDLESS: tools keep the stream open as long as they live. */
static const struct grpc_method methods[] = {
	{ .path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	  .kind = GRPC_BIDI,
	  .request = &grpc__reflection__v1__server_reflection_request__descriptor,
	  .response = &grpc__reflection__v1__server_reflection_response__descriptor,
	  .handler = handle,
	  .flags = GRPC_METHOD_ENDLESS },
	{ .path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
	  .kind = GRPC_BIDI,
	  .request = &grpc__reflection__v1alpha__server_reflection_request__descriptor,
	  .response = &grpc__reflection__v1alpha__server_reflection_response__descriptor,
	  .handler = handle,
	  .flags = GRPC_METHOD_ENDLESS },
};

int grpc_reflection_add(struct grpc_server *server, const struct grpc_descriptors *descriptors,
			struct err *err)
{
	struct reflection *reflection = malloc(sizeof(*reflection));
	int r;

	if (!reflection)
		return err_oom(err);
	*reflection = (struct reflection){ .server = server, .descriptors = descriptors };
	r = grpc_server_add_methods(server, methods, ARRAY_SIZE(methods), reflection, err);
	if (r < 0) {
		free(reflection);
		return r;
	}
	server->reflection = reflection;
	return 0;
}
