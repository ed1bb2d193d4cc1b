/*
 * What compare_json.py talks to. Both ways each item is its length as 4 bytes, little-endian, and its
 * bytes; a request has one byte before that: 'p' print compactly, 'P' prettily, 'd' with defaults, 'r'
 * read. An answer has '=' before it, or '!' when it is the sentence of a failure.
 */
#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/json/protojson.h"
#include "every_type.pb-c.h"
#include "proto/wirecheck.h"

static void answer(char kind, const void *bytes, size_t length)
{
	uint32_t head = htole32((uint32_t)length);

	putchar(kind);
	fwrite(&head, 1, sizeof(head), stdout);
	fwrite(bytes, 1, length, stdout);
	fflush(stdout);
}

static void print(char how, const void *bytes, size_t length, struct arena *arena)
{
	const struct protojson_options options = { .emit_defaults = how == 'd',
						   .pretty = how == 'P' };
	struct err err = { 0 };
	cleanup_free char *text = NULL;
	ProtobufCMessage *message = wire_unpack(&berth__test__everything__descriptor, bytes, length,
						arena, &err);

	if (message && protojson_print(message, &options, &text, &err) == 0)
		answer('=', text, strlen(text));
	else
		answer('!', err.text, strlen(err.text));
}

static void read_json(const char *text, size_t length, struct arena *arena)
{
	struct err err = { 0 };
	ProtobufCMessage *message = protojson_parse(&berth__test__everything__descriptor, text,
						    length, arena, &err);
	cleanup_free uint8_t *bytes = NULL;
	size_t size;

	if (!message) {
		answer('!', err.text, strlen(err.text));
		return;
	}
	bytes = malloc(protobuf_c_message_get_packed_size(message) + 1);
	if (!bytes)
		abort();
	size = protobuf_c_message_pack(message, bytes);
	answer('=', bytes, size);
}

int main(void)
{
	int how;

	while ((how = getchar()) != EOF) {
		cleanup_arena struct arena arena;
		cleanup_free char *bytes = NULL;
		uint32_t length;

		arena_init(&arena, ARENA_MESSAGE_BYTES);
		if (fread(&length, 1, sizeof(length), stdin) != sizeof(length))
			return 1;
		length = le32toh(length);
		bytes = malloc(length + 1);
		if (!bytes || fread(bytes, 1, length, stdin) != length)
			return 1;
		if (how == 'r')
			read_json(bytes, length, &arena);
		else
			print((char)how, bytes, length, &arena);
	}
	return 0;
}
