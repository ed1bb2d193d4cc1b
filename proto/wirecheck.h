/*
 * What peers send is checked on the wire, before protobuf-c allocates anything for it.
 *
 * protobuf-c has no limit on nesting, does not look at UTF-8, cuts strings at an embedded NUL (so that
 * a check would see "a" and a log "a\0b"), and gives no reason when it fails. This walk over the bytes
 * has all four; it allocates nothing and takes a few nanoseconds a field.
 *
 * Source: https://protobuf.dev/programming-guides/encoding/
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#include "proto/arena.h"
#include "proto/err.h"

#define WIRE_DEPTH_MAX 32 /* messages within messages, the outermost included */
#define WIRE_FIELDS_MAX \
	200000 /* in one message with all that it holds; packed numbers are not counted */

/*
 * Whether the @length bytes at @bytes are a message of type @descriptor that protobuf_c_message_unpack()
 * takes apart as its sender meant it. Unknown fields are allowed, groups are not. Strings must be
 * UTF-8 without NUL. A known field with another wire type than its own is an error.
 *
 * Returns 0, or -EINVAL with @err: ERR_INVALID, and a text that names the type, the field's path and
 * what is wrong: "berth.v1.LaunchRequest: workload.containers[2].name: not valid UTF-8".
 */
int wire_check(const ProtobufCMessageDescriptor *descriptor, const void *bytes, size_t length,
	       struct err *err);

/*
 * wire_check(), then unpack into @arena. The message lives as long as the arena's contents do and must
 * not be given to protobuf_c_message_free_unpacked().
 *
 * Returns the message (a pointer to the type that @descriptor describes), or NULL with @err:
 *   ERR_INVALID    the bytes are not such a message
 *   ERR_EXHAUSTED  it is one, but takes more memory than the arena has
 */
void *wire_unpack(const ProtobufCMessageDescriptor *descriptor, const void *bytes, size_t length,
		  struct arena *arena, struct err *err);
