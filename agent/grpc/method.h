/*
 * The table of what a server serves. protobuf-c's service descriptors know nothing of streams, so the
 * table is ours; descriptors.h compares it with the .proto files.
 */
#pragma once

#include <stddef.h>
#include <protobuf-c/protobuf-c.h>

struct grpc_call;

enum grpc_method_kind {
	GRPC_UNARY = 1,
	GRPC_SERVER_STREAM = 2,
	GRPC_CLIENT_STREAM = 3,
	GRPC_BIDI = 4,
};

/* The stream has no end of its own (a watch, a followed log): a drain ends it at once with
 * UNAVAILABLE instead of waiting for it. */
#define GRPC_METHOD_ENDLESS 0x1u
/* The lowest of the bits that mean nothing here and are the caller's own, for its authorise hook. */
#define GRPC_METHOD_CALLERS 0x100u

struct grpc_method {
	const char *path; /* "/berth.v1.NodeAgent/Launch" */
	enum grpc_method_kind kind;
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *response;
	/*
	 * Called once per call, from the event loop. @request is the decoded message for GRPC_UNARY and
	 * GRPC_SERVER_STREAM; it lives as long as the call. For the other kinds it is NULL: messages come
	 * through struct grpc_call_events, which the handler sets before it returns. @user is that of
	 * grpc_server_add_methods().
	 *
	 * The handler may answer at once or later; every call it is given it must end exactly once, by
	 * grpc_call_reply(), grpc_call_fail() or grpc_call_finish(). See call.h.
	 */
	void (*handler)(struct grpc_call *call, const ProtobufCMessage *request, void *user);
	unsigned flags;           /* GRPC_METHOD_* */
	size_t max_request_bytes; /* of one message; 0: the server's default */
};
