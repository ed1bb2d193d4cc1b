#include "proto/wirecheck.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "proto/utf8.h"

/*
 * One walk, as deep as WIRE_DEPTH_MAX. Nothing is kept for messages that are right; when one is wrong, the
 * levels that are still on the stack tell where, and the index in a repeated field is counted then.
 *
 * What passes here must not fail in protobuf_c_message_unpack() but for memory: where that is stricter
 * than the wire format (lengths of at most five bytes, below 2 GiB) so is this.
 */

struct level {
	const struct level *above;
	const ProtobufCMessageDescriptor *descriptor; /* NULL inside an unknown field */
	const uint8_t *start;
	const uint8_t *end;
	const uint8_t *at;
	unsigned depth;

	/* the field being looked at */
	uint32_t number;
	unsigned wire_type;
	const ProtobufCFieldDescriptor *field; /* NULL: unknown */
	const uint8_t *field_start;
};

struct walk {
	const ProtobufCMessageDescriptor *descriptor;
	size_t fields_left;
	struct err *err;
};

/* The varint at *@at, which then is behind it; false where it is cut off or does not fit @bits. */
static bool read_varint(const uint8_t **at, const uint8_t *end, unsigned bits, uint64_t *ret_value)
{
	const uint8_t *p = *at;
	uint64_t value = 0;

	for (unsigned shift = 0; shift < bits; shift += 7) {
		uint8_t byte;

		if (p == end)
			return false;
		byte = *p++;
		if (shift + 7 > bits && (byte & 0x7f) >> (bits - shift))
			return false;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*at = p;
			*ret_value = value;
			return true;
		}
	}
	return false;
}

static bool read_tag(const uint8_t **at, const uint8_t *end, uint32_t *ret_number,
		     unsigned *ret_wire_type)
{
	uint64_t tag;

	if (!read_varint(at, end, 32, &tag) || tag >> 3 == 0)
		return false;
	*ret_number = (uint32_t)(tag >> 3);
	*ret_wire_type = tag & 7;
	return true;
}

/* Step over a value of @wire_type that was found right before. */
static void skip_value(const uint8_t **at, const uint8_t *end, unsigned wire_type)
{
	uint64_t value = 0;

	switch (wire_type) {
	case PROTOBUF_C_WIRE_TYPE_VARINT:
		(void)read_varint(at, end, 64, &value);
		break;
	case PROTOBUF_C_WIRE_TYPE_64BIT:
		*at += 8;
		break;
	case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
		(void)read_varint(at, end, 32, &value);
		*at += value;
		break;
	case PROTOBUF_C_WIRE_TYPE_32BIT:
		*at += 4;
		break;
	}
}

/* How often the field at hand came before in its message. */
static unsigned field_index(const struct level *level)
{
	const uint8_t *at = level->start;
	unsigned index = 0;

	while (at < level->field_start) {
		unsigned wire_type;
		uint32_t number;

		if (!read_tag(&at, level->end, &number, &wire_type))
			break;
		if (number == level->number)
			index++;
		skip_value(&at, level->end, wire_type);
	}
	return index;
}

/* Append "workload.containers[2].name" to @text; what has no room is left out. */
static void write_path(const struct level *level, char *text, size_t size)
{
	size_t used;

	if (level->above)
		write_path(level->above, text, size);
	used = strlen(text);
	if (!level->field_start)
		return;
	if (!level->field)
		(void)snprintf(text + used, size - used, "%s%u", used ? "." : "", level->number);
	else if (level->field->label == PROTOBUF_C_LABEL_REPEATED)
		(void)snprintf(text + used, size - used, "%s%s[%u]", used ? "." : "",
			       level->field->name, field_index(level));
	else
		(void)snprintf(text + used, size - used, "%s%s", used ? "." : "",
			       level->field->name);
}

static int wrong(const struct walk *walk, const struct level *level, const char *what)
{
	char path[256] = "";

	if (!walk->err)
		return -EINVAL;
	write_path(level, path, sizeof(path));
	return err_set(walk->err, ERR_INVALID, EINVAL, "%s: %s%s%s", walk->descriptor->name, path,
		       path[0] ? ": " : "", what);
}

static int wrong_tag(const struct walk *walk, struct level *level)
{
	level->field_start = NULL; /* what the path could name is not known */
	return wrong(walk, level, "not a message: cut off, or no field starts where one should");
}

static unsigned wire_type_of(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return PROTOBUF_C_WIRE_TYPE_32BIT;
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return PROTOBUF_C_WIRE_TYPE_64BIT;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
	default:
		return PROTOBUF_C_WIRE_TYPE_VARINT;
	}
}

static int check_level(struct walk *walk, struct level *level);

static int check_string(struct walk *walk, struct level *level, size_t length)
{
	if (memchr(level->at, '\0', length))
		return wrong(walk, level, "a NUL character in the text");
	if (!utf8_valid(level->at, length))
		return wrong(walk, level, "not valid UTF-8");
	return 0;
}

static int check_message(struct walk *walk, struct level *level, size_t length)
{
	struct level below = {
		.above = level,
		.descriptor = level->field->descriptor,
		.start = level->at,
		.at = level->at,
		.end = level->at + length,
		.depth = level->depth + 1,
	};

	if (below.depth > WIRE_DEPTH_MAX)
		return wrong(walk, level, "messages are nested too deeply");
	return check_level(walk, &below);
}

/* Repeated numbers in one length-prefixed field. */
static int check_packed(struct walk *walk, struct level *level, size_t length)
{
	unsigned wire_type = wire_type_of(level->field->type);
	const uint8_t *at = level->at;
	const uint8_t *end = at + length;
	uint64_t value;

	if (wire_type == PROTOBUF_C_WIRE_TYPE_32BIT || wire_type == PROTOBUF_C_WIRE_TYPE_64BIT) {
		size_t item = wire_type == PROTOBUF_C_WIRE_TYPE_32BIT ? 4 : 8;

		if (length % item != 0)
			return wrong(walk, level, "packed numbers end in the middle of one");
		return 0;
	}
	while (at < end) {
		if (!read_varint(&at, end, 64, &value))
			return wrong(walk, level, "a packed number is cut off or too long");
	}
	return 0;
}

static int check_length_prefixed(struct walk *walk, struct level *level)
{
	const ProtobufCFieldDescriptor *field = level->field;
	uint64_t length;
	int r = 0;

	if (!read_varint(&level->at, level->end, 31, &length))
		return wrong(walk, level, "the length is cut off or too large");
	if (length > (size_t)(level->end - level->at))
		return wrong(walk, level, "cut off: longer than what is there");
	if (!field || field->type == PROTOBUF_C_TYPE_BYTES)
		r = 0;
	else if (field->type == PROTOBUF_C_TYPE_STRING)
		r = check_string(walk, level, length);
	else if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		r = check_message(walk, level, length);
	else
		r = check_packed(walk, level, length);
	level->at += length;
	return r;
}

static bool wire_type_fits(const struct level *level)
{
	const ProtobufCFieldDescriptor *field = level->field;

	if (!field || level->wire_type == wire_type_of(field->type))
		return true;
	return field->label == PROTOBUF_C_LABEL_REPEATED &&
	       level->wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED; /* packed */
}

static int check_value(struct walk *walk, struct level *level)
{
	size_t fixed = level->wire_type == PROTOBUF_C_WIRE_TYPE_32BIT ? 4 : 8;
	uint64_t value;

	if (level->wire_type == 3 || level->wire_type == 4)
		return wrong(walk, level, "groups are not supported");
	if (level->wire_type > PROTOBUF_C_WIRE_TYPE_32BIT)
		return wrong(walk, level, "no such wire type");
	if (!wire_type_fits(level))
		return wrong(walk, level, "encoded as another type than the field's");
	switch (level->wire_type) {
	case PROTOBUF_C_WIRE_TYPE_VARINT:
		if (!read_varint(&level->at, level->end, 64, &value))
			return wrong(walk, level, "the number is cut off or too long");
		return 0;
	case PROTOBUF_C_WIRE_TYPE_32BIT:
	case PROTOBUF_C_WIRE_TYPE_64BIT:
		if (fixed > (size_t)(level->end - level->at))
			return wrong(walk, level, "the number is cut off");
		level->at += fixed;
		return 0;
	default:
		return check_length_prefixed(walk, level);
	}
}

static int check_level(struct walk *walk, struct level *level)
{
	int r;

	while (level->at < level->end) {
		level->field_start = level->at;
		if (!read_tag(&level->at, level->end, &level->number, &level->wire_type))
			return wrong_tag(walk, level);
		level->field = protobuf_c_message_descriptor_get_field(level->descriptor,
								       level->number);
		if (walk->fields_left-- == 0) {
			walk->fields_left = 0;
			return wrong(walk, level, "the message has too many fields");
		}
		r = check_value(walk, level);
		if (r < 0)
			return r;
	}
	return 0;
}

int wire_check(const ProtobufCMessageDescriptor *descriptor, const void *bytes, size_t length,
	       struct err *err)
{
	struct walk walk = {
		.descriptor = descriptor,
		.fields_left = WIRE_FIELDS_MAX,
		.err = err,
	};
	struct level top = {
		.descriptor = descriptor,
		.start = bytes,
		.at = bytes,
		.depth = 1,
	};

	if (length == 0) /* @bytes may be NULL */
		return 0;
	top.end = top.start + length;
	return check_level(&walk, &top);
}

void *wire_unpack(const ProtobufCMessageDescriptor *descriptor, const void *bytes, size_t length,
		  struct arena *arena, struct err *err)
{
	ProtobufCMessage *message;

	if (wire_check(descriptor, bytes, length, err) < 0)
		return NULL;
	message = protobuf_c_message_unpack(descriptor, &arena->allocator, length, bytes);
	if (!message)
		err_set(err, ERR_EXHAUSTED, ENOMEM,
			"%s: the message takes more memory than one may (%zu bytes)",
			descriptor->name, arena->limit_bytes);
	return message;
}
