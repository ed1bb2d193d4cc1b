#include "agent/json/mapping.h"

#include <google/protobuf/any.pb-c.h>
#include <google/protobuf/duration.pb-c.h>
#include <google/protobuf/timestamp.pb-c.h>
#include <google/rpc/error_details.pb-c.h>
#include <google/rpc/status.pb-c.h>
#include <string.h>

#include "proto/cleanup.h"

enum mapping_form mapping_well_known(const ProtobufCMessageDescriptor *descriptor)
{
	if (descriptor == &google__protobuf__timestamp__descriptor)
		return MAPPING_TIMESTAMP;
	if (descriptor == &google__protobuf__duration__descriptor)
		return MAPPING_DURATION;
	if (descriptor == &google__protobuf__any__descriptor)
		return MAPPING_ANY;
	return MAPPING_PLAIN;
}

static char upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

/* @name without its underscores, the letter after each in upper case, the first as @first_upper says. */
static void camel(const char *name, bool first_upper, char *buffer, size_t size)
{
	bool is_upper = first_upper;
	size_t used = 0;

	for (; *name && used + 1 < size; name++) {
		if (*name == '_') {
			is_upper = true;
			continue;
		}
		buffer[used++] = is_upper ? upper(*name) : *name;
		is_upper = false;
	}
	buffer[used] = '\0';
}

const char *mapping_json_name(const char *name, char buffer[static MAPPING_NAME_MAX])
{
	camel(name, false, buffer, MAPPING_NAME_MAX);
	return buffer;
}

bool mapping_is_map(const ProtobufCMessageDescriptor *parent, const ProtobufCFieldDescriptor *field)
{
	const ProtobufCMessageDescriptor *entry = field->descriptor;
	char name[MAPPING_NAME_MAX];
	size_t parent_length;

	if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE)
		return false;
	if (entry->n_fields != 2 || strcmp(entry->fields[0].name, "key") != 0 ||
	    entry->fields[0].id != 1 || strcmp(entry->fields[1].name, "value") != 0 ||
	    entry->fields[1].id != 2)
		return false;
	camel(field->name, true, name, sizeof(name) - strlen("Entry"));
	strcat(name, "Entry");
	parent_length = strlen(parent->name);
	return strncmp(entry->name, parent->name, parent_length) == 0 &&
	       entry->name[parent_length] == '.' &&
	       strcmp(entry->name + parent_length + 1, name) == 0;
}

size_t mapping_value_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return 4;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_ENUM:
		return sizeof(int);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	default:
		return 8;
	}
}

bool mapping_is_64_bits(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return true;
	default:
		return false;
	}
}

static bool is_default(const ProtobufCFieldDescriptor *field, const void *at)
{
	static const uint8_t zero[8];

	switch (field->type) {
	case PROTOBUF_C_TYPE_STRING:
		return !*(char *const *)at || !**(char *const *)at;
	case PROTOBUF_C_TYPE_BYTES:
		return ((const ProtobufCBinaryData *)at)->len == 0;
	case PROTOBUF_C_TYPE_MESSAGE:
		return !*(ProtobufCMessage *const *)at;
	default: /* bit by bit: -0.0 is not the default */
		return memcmp(at, zero, mapping_value_size(field->type)) == 0;
	}
}

bool mapping_is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const uint8_t *base = (const uint8_t *)message;
	const void *quantifier = base + field->quantifier_offset;

	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return *(const size_t *)quantifier > 0;
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)quantifier == field->id;
	if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->type != PROTOBUF_C_TYPE_MESSAGE &&
	    field->type != PROTOBUF_C_TYPE_STRING)
		return *(const protobuf_c_boolean *)quantifier;
	return field->label == PROTOBUF_C_LABEL_REQUIRED ||
	       !is_default(field, base + field->offset);
}

const ProtobufCMessageDescriptor *mapping_any_type(const char *type_url)
{
	static const ProtobufCMessageDescriptor *const known[] = {
		&google__rpc__error_info__descriptor,
		&google__rpc__retry_info__descriptor,
		&google__rpc__quota_failure__descriptor,
		&google__rpc__precondition_failure__descriptor,
		&google__rpc__bad_request__descriptor,
		&google__rpc__resource_info__descriptor,
		&google__rpc__status__descriptor,
		&google__protobuf__timestamp__descriptor,
		&google__protobuf__duration__descriptor,
	};
	const char *slash = type_url ? strrchr(type_url, '/') : NULL;

	for (size_t i = 0; slash && i < ARRAY_SIZE(known); i++) {
		if (strcmp(slash + 1, known[i]->name) == 0)
			return known[i];
	}
	return NULL;
}
