/*
 * JSON in: what is read must print, and the print must read as a message that prints the same. The first
 * byte chooses: JSON, or a message on the wire (for the printer alone).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/json/protojson.h"
#include "every_type.pb-c.h"
#include "proto/wirecheck.h"

#define EVERYTHING &berth__test__everything__descriptor

static void read_and_print(const char *text, size_t length)
{
	cleanup_free char *first = NULL, *second = NULL;
	cleanup_arena struct arena arena;
	ProtobufCMessage *message;
	struct err err = { 0 };

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	message = protojson_parse(EVERYTHING, text, length, &arena, &err);
	if (!message) {
		if (err.kind != ERR_INVALID || !err.text[0])
			abort();
		return;
	}
	if (protojson_print(message, NULL, &first, &err) < 0)
		abort();
	message = protojson_parse(EVERYTHING, first, strlen(first), &arena, &err);
	if (!message || protojson_print(message, NULL, &second, &err) < 0)
		abort();
	if (strcmp(first, second) != 0)
		abort();
}

static void print(const uint8_t *bytes, size_t length)
{
	const struct protojson_options options = { .emit_defaults = true, .pretty = true };
	cleanup_free char *text = NULL;
	cleanup_arena struct arena arena;
	ProtobufCMessage *message;

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	message = wire_unpack(EVERYTHING, bytes, length, &arena, NULL);
	if (message)
		(void)protojson_print(message, &options, &text, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] == 'w')
		print(data + 1, size - 1);
	else
		read_and_print((const char *)data, size);
	return 0;
}
