/*
 * Messages as JSON and back, by the mapping of proto3, over protobuf-c's descriptors.
 *
 * Field names are lowerCamelCase (read: also as in the .proto), 64-bit integers are strings (read: also
 * numbers), bytes are base64 (read: also the URL alphabet), enums are names (read: also numbers), maps
 * are objects; google.protobuf.Timestamp and Duration are "2024-01-31T12:00:00.5Z" and "1.5s"; NaN and
 * the infinities are strings; null is "unset". A google.protobuf.Any holds {"@type": ..., fields} when its
 * type is one of google.rpc's details, Timestamp or Duration; any other is written with its bytes under
 * "value" and is refused when read. Wrappers, Struct and FieldMask have no special form here.
 *
 * Source: https://protobuf.dev/programming-guides/json/
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "proto/arena.h"
#include "proto/err.h"

#define PROTOJSON_TEXT_MAX (4U << 20) /* bytes that protojson_parse() reads at most */

struct protojson_options {
	bool emit_defaults; /* also scalars that are 0 or "", empty lists and maps; as all others do,
			     * not members of a oneof, `optional` fields or messages that are unset */
	bool pretty;        /* one member a line, two spaces a level */
};

/*
 * Write @message to @file, without a newline at its end. @options may be NULL: compact, set fields only.
 * Returns 0, or a negative errno with @err:
 *   ERR_INVALID   a Timestamp or Duration out of range; text that is not UTF-8
 *   ERR_INTERNAL  writing failed
 */
int protojson_write(FILE *file, const ProtobufCMessage *message,
		    const struct protojson_options *options, struct err *err);

/* The same into *ret_text, to free(). */
int protojson_print(const ProtobufCMessage *message, const struct protojson_options *options,
		    char **ret_text, struct err *err);

/*
 * The message of type @descriptor that the @length bytes at @text hold, in @arena.
 *
 * Returns it, or NULL with @err. ERR_INVALID: the text is no JSON object or not of this shape; the
 * sentence names line and column or the path of the field ("workload.containers[2].imagee: unknown field;
 * did you mean image?"). Unknown fields, names given twice, two members of a oneof, numbers out of range and
 * nesting beyond WIRE_DEPTH_MAX are errors. ERR_EXHAUSTED: longer than PROTOJSON_TEXT_MAX or more than the
 * arena has.
 */
void *protojson_parse(const ProtobufCMessageDescriptor *descriptor, const char *text, size_t length,
		      struct arena *arena, struct err *err);
