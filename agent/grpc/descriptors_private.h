/* What reflection.c reads of the index. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/grpc/descriptors.h"

struct slice {
	const uint8_t *at;
	size_t n;
};

struct descriptor_file {
	struct slice bytes; /* its FileDescriptorProto */
	struct slice name;
	struct slice *imports; /* names */
	size_t n_imports;
};

/* NULL if there is none. */
const struct descriptor_file *descriptors_find_file(const struct grpc_descriptors *descriptors,
						    const char *name);
/* The file that declares the message, enum, service or method @symbol ("package.Service.Method"). */
const struct descriptor_file *descriptors_find_symbol_file(
	const struct grpc_descriptors *descriptors, const char *symbol);
bool descriptors_has_service(const struct grpc_descriptors *descriptors, const char *name,
			     size_t n);

/* @file and all that it imports, on whatever way, each once, into *ret_files for the caller to free.
 * Returns 0 or -ENOMEM. */
int descriptors_closure(const struct grpc_descriptors *descriptors,
			const struct descriptor_file *file,
			const struct descriptor_file ***ret_files, size_t *ret_n);
