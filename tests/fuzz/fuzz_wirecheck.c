/*
 * What wire_check() takes, protobuf-c must unpack; and what is packed again must be right again. The first
 * byte chooses the type.
 */
#include <stdint.h>
#include <stdlib.h>

#include "every_type.pb-c.h"
#include "proto/wirecheck.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const ProtobufCMessageDescriptor *descriptor;
	cleanup_free uint8_t *packed = NULL;
	cleanup_arena struct arena arena;
	ProtobufCMessage *message;
	struct err err = { 0 };
	size_t length;

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	if (size == 0)
		return 0;
	descriptor = data[0] & 1 ? &berth__test__tree__descriptor
				 : &berth__test__everything__descriptor;
	message = wire_unpack(descriptor, data + 1, size - 1, &arena, &err);
	if (!message) {
		/* Inputs here are small: memory is never the reason. */
		if (err.kind != ERR_INVALID || !err.text[0])
			abort();
		return 0;
	}
	length = protobuf_c_message_get_packed_size(message);
	packed = malloc(length + 1);
	if (!packed || protobuf_c_message_pack(message, packed) != length)
		abort();
	if (wire_check(descriptor, packed, length, &err) < 0)
		abort();
	return 0;
}
