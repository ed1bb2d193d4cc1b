/*
 * What both directions of the JSON mapping must agree on: names, types with a form of their own, and
 * what protobuf-c's descriptors do not say outright.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAPPING_NAME_MAX 128

#define MAPPING_TIMESTAMP_MIN INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */
#define MAPPING_TIMESTAMP_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */
#define MAPPING_DURATION_MAX  INT64_C(315576000000) /* seconds: 10,000 years */

/* Messages that are not written as objects of their fields. */
enum mapping_form { MAPPING_PLAIN, MAPPING_TIMESTAMP, MAPPING_DURATION, MAPPING_ANY };

enum mapping_form mapping_well_known(const ProtobufCMessageDescriptor *descriptor);

/* "max_bytes" → "maxBytes", as protoc derives json_name; cut at MAPPING_NAME_MAX - 1. Returns @buffer. */
const char *mapping_json_name(const char *name, char buffer[static MAPPING_NAME_MAX]);

/* Whether the repeated @field of @parent is a map. protobuf-c drops map_entry, so it is told by shape: a
 * message nested in @parent, named after the field and "Entry", of exactly key = 1 and value = 2. */
bool mapping_is_map(const ProtobufCMessageDescriptor *parent,
		    const ProtobufCFieldDescriptor *field);

/* Whether @field has a value: by its oneof, by has_, by not being the default. */
bool mapping_is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

bool mapping_is_64_bits(ProtobufCType type);

/* The size of one value in a message's struct or in a repeated field's array. */
size_t mapping_value_size(ProtobufCType type);

/* The type that "<anything>/<name>" names, of those that are understood within an Any; or NULL. */
const ProtobufCMessageDescriptor *mapping_any_type(const char *type_url);
