/*
 * gRPC status codes, as on the wire (grpc/doc/statuscodes.md).
 */
#pragma once

#include <stdint.h>

enum grpc_code {
	GRPC_OK = 0,
	GRPC_CANCELLED = 1,
	GRPC_UNKNOWN = 2,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_NOT_FOUND = 5,
	GRPC_ALREADY_EXISTS = 6,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_FAILED_PRECONDITION = 9,
	GRPC_ABORTED = 10,
	GRPC_OUT_OF_RANGE = 11,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_DATA_LOSS = 15,
	GRPC_UNAUTHENTICATED = 16,
};

#define GRPC_CODES 17

/* "OK", "INVALID_ARGUMENT", ...; "UNKNOWN" for a number that is none. Never NULL. */
const char *grpc_code_name(enum grpc_code code);

/* What a client makes of an answer without grpc-status (grpc/doc/http-grpc-status-mapping.md). */
enum grpc_code grpc_code_from_http(unsigned http_status);

/* What a client makes of RST_STREAM (grpc/doc/PROTOCOL-HTTP2.md, "Errors"). */
enum grpc_code grpc_code_from_h2_error(uint32_t h2_error);
