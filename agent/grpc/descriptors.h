/*
 * A serialised google.protobuf.FileDescriptorSet, indexed by walking its wire form: what reflection
 * answers with, and what method tables are compared with. The set is a build product, not a peer's bytes,
 * yet a broken one is an error and not a crash.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/grpc/method.h"
#include "proto/err.h"

struct grpc_descriptors;

/* The public contract with all that it imports, embedded at build time. */
extern const uint8_t grpc_public_descriptors[];
extern const size_t grpc_public_descriptors_size;

/* @bytes outlive the result. ERR_INVALID if they are no descriptor set or lack a file they import. */
int grpc_descriptors_new(const uint8_t *bytes, size_t n, struct grpc_descriptors **ret_descriptors,
			 struct err *err);
void grpc_descriptors_free(struct grpc_descriptors *descriptors);

/* Does @table say the same as the .proto files? Every row is a method of the set with these message types
 * and stream directions, and every method of a service that the table names is a row. The sentence in @err
 * names the first that is not so. */
int grpc_descriptors_check_methods(const struct grpc_descriptors *descriptors,
				   const struct grpc_method *table, size_t n, struct err *err);
/* No message type of the set contains itself, on whatever way: so the depth of a decode is bounded by
 * the contract. google.protobuf.Struct and friends, which recurse by design, are not imported. */
int grpc_descriptors_check_recursion(const struct grpc_descriptors *descriptors, struct err *err);
