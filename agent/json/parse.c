#include "agent/json/protojson.h"

#include <errno.h>
#include <google/protobuf/any.pb-c.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "agent/json/literal.h"
#include "agent/json/mapping.h"
#include "proto/names.h"
#include "proto/nearest.h"
#include "proto/wirecheck.h"

/*
 * jansson parses the text (it checks UTF-8, refuses NUL and names given twice); this walks its tree beside
 * the descriptors. Places are a list on the stack, which becomes a path when something is wrong.
 */

struct reader {
	struct arena *arena;
	struct err *err;
};

/* Where we are: the name as it was written, or the index in a list, or the key in a map. */
struct place {
	const struct place *above;
	const char *name; /* NULL: a list's element */
	size_t index;
	bool is_key;
	unsigned depth; /* messages above and at this place */
};

static int read_message(struct reader *reader, const struct place *place,
			const ProtobufCMessageDescriptor *descriptor, const json_t *json,
			ProtobufCMessage **ret_message);

/* Append "workload.labels["x"].containers[2]"; what has no room is left out. */
static void write_path(const struct place *place, char *text, size_t size)
{
	char quoted[NAME_QUOTED_MAX];
	size_t used;

	if (!place->above) /* the document itself */
		return;
	write_path(place->above, text, size);
	used = strlen(text);
	if (place->is_key)
		(void)snprintf(text + used, size - used, "[%s]", names_quote(place->name, quoted));
	else if (place->name)
		(void)snprintf(text + used, size - used, "%s%s", used ? "." : "", place->name);
	else
		(void)snprintf(text + used, size - used, "[%zu]", place->index);
}

static int wrong(const struct reader *reader, const struct place *place, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int wrong(const struct reader *reader, const struct place *place, const char *fmt, ...)
{
	char path[256] = "";
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = err_setv(reader->err, ERR_INVALID, EINVAL, fmt, ap);
	va_end(ap);
	write_path(place, path, sizeof(path));
	return path[0] ? err_prefix(reader->err, r, "%s", path) : r;
}

static int no_memory(const struct reader *reader)
{
	return err_set(reader->err, ERR_EXHAUSTED, ENOMEM,
		       "the message takes more memory than one may (%zu bytes)",
		       reader->arena->limit_bytes);
}

static const char *type_name(const json_t *json)
{
	switch (json_typeof(json)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "a list";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_NULL:
		return "null";
	default:
		return "true or false";
	}
}

/* A whole number of at most @bits bits as it stands in memory, from a number or a string. */
static int read_integer(struct reader *reader, const struct place *place, const json_t *json,
			bool is_signed, unsigned bits, void *at)
{
	int64_t low = is_signed ? (bits == 32 ? INT32_MIN : INT64_MIN) : 0;
	uint64_t high = is_signed    ? (bits == 32 ? INT32_MAX : INT64_MAX)
			: bits == 32 ? UINT32_MAX
				     : UINT64_MAX;
	struct literal_integer value;
	bool is_read;

	if (json_is_integer(json))
		is_read = literal_from_int64(json_integer_value(json), &value);
	else if (json_is_real(json))
		is_read = literal_from_double(json_real_value(json), &value);
	else if (json_is_string(json))
		is_read = literal_parse_integer(json_string_value(json), &value);
	else
		is_read = false;
	if (!is_read || !literal_fits(&value, low, high))
		return wrong(reader, place, "must be a whole number from %" PRId64 " to %" PRIu64,
			     low, high);
	/* Little-endian or not, 32 bits are stored as such. */
	if (bits == 32)
		*(uint32_t *)at = (uint32_t)value.bits;
	else
		*(uint64_t *)at = value.bits;
	return 0;
}

static int read_real(struct reader *reader, const struct place *place, const json_t *json,
		     double *ret_value)
{
	if (json_is_number(json)) {
		*ret_value = json_number_value(json);
		return 0;
	}
	if (!json_is_string(json) || !literal_parse_real(json_string_value(json), ret_value))
		return wrong(reader, place,
			     "must be a number, \"NaN\", \"Infinity\" or \"-Infinity\"");
	return 0;
}

static int read_float(struct reader *reader, const struct place *place, const json_t *json,
		      float *at)
{
	double value;
	int r = read_real(reader, place, json, &value);

	if (r < 0)
		return r;
	if (isfinite(value) && isinf((float)value))
		return wrong(reader, place, "is too large for a float");
	*at = (float)value;
	return 0;
}

static int read_bool(struct reader *reader, const struct place *place, const json_t *json,
		     protobuf_c_boolean *at)
{
	if (!json_is_boolean(json))
		return wrong(reader, place, "must be true or false, not %s", type_name(json));
	*at = json_is_true(json);
	return 0;
}

static int read_enum(struct reader *reader, const struct place *place,
		     const ProtobufCEnumDescriptor *descriptor, const json_t *json, int *at)
{
	const ProtobufCEnumValue *known;
	char quoted[NAME_QUOTED_MAX];
	struct nearest nearest;

	if (json_is_integer(json))
		return read_integer(reader, place, json, true, 32, at);
	if (!json_is_string(json))
		return wrong(reader, place, "must be a name of %s, not %s", descriptor->short_name,
			     type_name(json));
	known = protobuf_c_enum_descriptor_get_value_by_name(descriptor, json_string_value(json));
	if (known) {
		*at = known->value;
		return 0;
	}
	nearest = (struct nearest){ .word = json_string_value(json) };
	for (unsigned i = 0; i < descriptor->n_values; i++)
		nearest_offer(&nearest, descriptor->values[i].name);
	if (!nearest.best) /* names of one enum share a prefix that people leave out */
		nearest.best = descriptor->n_values > 1 ? descriptor->values[1].name
							: descriptor->values[0].name;
	return wrong(reader, place, "%s is not one of %s; allowed are names like %s",
		     names_quote(json_string_value(json), quoted), descriptor->short_name,
		     nearest.best);
}

static int read_string(struct reader *reader, const struct place *place, const json_t *json,
		       char **at)
{
	char *copy;

	if (!json_is_string(json))
		return wrong(reader, place, "must be a string, not %s", type_name(json));
	copy = arena_strdup(reader->arena, json_string_value(json));
	if (!copy)
		return no_memory(reader);
	*at = copy;
	return 0;
}

static int read_bytes(struct reader *reader, const struct place *place, const json_t *json,
		      ProtobufCBinaryData *at)
{
	size_t length;
	uint8_t *data;

	if (!json_is_string(json))
		return wrong(reader, place, "must be base64 in a string, not %s", type_name(json));
	data = arena_alloc(reader->arena, json_string_length(json));
	if (!data)
		return no_memory(reader);
	if (!literal_parse_base64(json_string_value(json), data, &length))
		return wrong(reader, place, "must be base64");
	at->data = data;
	at->len = length;
	return 0;
}

static int read_value(struct reader *reader, const struct place *place,
		      const ProtobufCFieldDescriptor *field, const json_t *json, void *at)
{
	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return read_integer(reader, place, json, true, 32, at);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return read_integer(reader, place, json, false, 32, at);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return read_integer(reader, place, json, true, 64, at);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return read_integer(reader, place, json, false, 64, at);
	case PROTOBUF_C_TYPE_FLOAT:
		return read_float(reader, place, json, at);
	case PROTOBUF_C_TYPE_DOUBLE:
		return read_real(reader, place, json, at);
	case PROTOBUF_C_TYPE_BOOL:
		return read_bool(reader, place, json, at);
	case PROTOBUF_C_TYPE_ENUM:
		return read_enum(reader, place, field->descriptor, json, at);
	case PROTOBUF_C_TYPE_STRING:
		return read_string(reader, place, json, at);
	case PROTOBUF_C_TYPE_BYTES:
		return read_bytes(reader, place, json, at);
	case PROTOBUF_C_TYPE_MESSAGE:
		return read_message(reader, place, field->descriptor, json, at);
	}
	return wrong(reader, place, "has a type that is not known here");
}

static void *member(ProtobufCMessage *message, unsigned offset)
{
	return (uint8_t *)message + offset;
}

static int read_list(struct reader *reader, const struct place *place,
		     const ProtobufCFieldDescriptor *field, const json_t *json,
		     ProtobufCMessage *message)
{
	size_t size = mapping_value_size(field->type);
	size_t n = json_array_size(json);
	uint8_t *array;

	if (!json_is_array(json))
		return wrong(reader, place, "must be a list, not %s", type_name(json));
	if (n == 0)
		return 0;
	array = arena_calloc(reader->arena, n, size);
	if (!array)
		return no_memory(reader);
	for (size_t i = 0; i < n; i++) {
		const struct place element = { .above = place, .index = i, .depth = place->depth };
		int r = read_value(reader, &element, field, json_array_get(json, i),
				   array + i * size);

		if (r < 0)
			return r;
	}
	*(void **)member(message, field->offset) = array;
	*(size_t *)member(message, field->quantifier_offset) = n;
	return 0;
}

/* The name of a member as the key of a map: a string, whatever the key's type is. */
static int read_key(struct reader *reader, const struct place *place,
		    const ProtobufCFieldDescriptor *field, const char *name, void *at)
{
	json_t *json;
	int r;

	if (field->type == PROTOBUF_C_TYPE_BOOL) {
		if (strcmp(name, "true") != 0 && strcmp(name, "false") != 0)
			return wrong(reader, place, "must be \"true\" or \"false\"");
		*(protobuf_c_boolean *)at = strcmp(name, "true") == 0;
		return 0;
	}
	json = json_string(name);
	if (!json)
		return no_memory(reader);
	r = read_value(reader, place, field, json, at);
	json_decref(json);
	return r;
}

static int read_map_entry(struct reader *reader, const struct place *place,
			  const ProtobufCMessageDescriptor *descriptor, const char *name,
			  const json_t *json, ProtobufCMessage **ret_entry)
{
	const struct place at = {
		.above = place,
		.name = name,
		.is_key = true,
		.depth = place->depth,
	};
	const ProtobufCFieldDescriptor *key = &descriptor->fields[0];
	const ProtobufCFieldDescriptor *value = &descriptor->fields[1];
	ProtobufCMessage *entry = arena_message(reader->arena, descriptor);
	int r;

	if (!entry)
		return no_memory(reader);
	r = read_key(reader, &at, key, name, member(entry, key->offset));
	if (r == 0)
		r = read_value(reader, &at, value, json, member(entry, value->offset));
	if (r < 0)
		return r;
	*ret_entry = entry;
	return 0;
}

static int read_map(struct reader *reader, const struct place *place,
		    const ProtobufCFieldDescriptor *field, const json_t *json,
		    ProtobufCMessage *message)
{
	size_t n = json_object_size(json), i = 0;
	ProtobufCMessage **entries;
	const char *name;
	json_t *value;

	if (!json_is_object(json))
		return wrong(reader, place, "must be an object, not %s", type_name(json));
	if (n == 0)
		return 0;
	entries = arena_calloc(reader->arena, n, sizeof(*entries));
	if (!entries)
		return no_memory(reader);
	json_object_foreach ((json_t *)json, name, value) {
		int r = read_map_entry(reader, place, field->descriptor, name, value,
				       &entries[i++]);

		if (r < 0)
			return r;
	}
	*(void **)member(message, field->offset) = entries;
	*(size_t *)member(message, field->quantifier_offset) = n;
	return 0;
}

static int read_singular(struct reader *reader, const struct place *place,
			 const ProtobufCFieldDescriptor *field, const json_t *json,
			 ProtobufCMessage *message)
{
	void *quantifier = member(message, field->quantifier_offset);
	bool is_oneof = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
	int r;

	if (is_oneof && *(uint32_t *)quantifier != 0) {
		const ProtobufCFieldDescriptor *other = protobuf_c_message_descriptor_get_field(
			message->descriptor, *(uint32_t *)quantifier);
		char name[MAPPING_NAME_MAX];

		return wrong(reader, place, "excludes %s: only one of the two may be given",
			     mapping_json_name(other->name, name));
	}
	r = read_value(reader, place, field, json, member(message, field->offset));
	if (r < 0)
		return r;
	if (is_oneof)
		*(uint32_t *)quantifier = field->id;
	else if (field->label == PROTOBUF_C_LABEL_OPTIONAL &&
		 field->type != PROTOBUF_C_TYPE_MESSAGE && field->type != PROTOBUF_C_TYPE_STRING)
		*(protobuf_c_boolean *)quantifier = true;
	return 0;
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *descriptor,
						  const char *name)
{
	char buffer[MAPPING_NAME_MAX];

	for (unsigned i = 0; i < descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &descriptor->fields[i];

		if (strcmp(field->name, name) == 0 ||
		    strcmp(mapping_json_name(field->name, buffer), name) == 0)
			return field;
	}
	return NULL;
}

static int unknown_field(struct reader *reader, const struct place *place,
			 const ProtobufCMessageDescriptor *descriptor, const char *name)
{
	struct nearest nearest = { .word = name };
	char quoted[NAME_QUOTED_MAX], buffer[MAPPING_NAME_MAX];

	for (unsigned i = 0; i < descriptor->n_fields; i++)
		nearest_offer(&nearest, descriptor->fields[i].name);
	if (nearest.best)
		return wrong(reader, place, "unknown field %s of %s; did you mean %s?",
			     names_quote(name, quoted), descriptor->short_name,
			     mapping_json_name(nearest.best, buffer));
	return wrong(reader, place, "unknown field %s of %s", names_quote(name, quoted),
		     descriptor->short_name);
}

static int read_field(struct reader *reader, const struct place *place,
		      const ProtobufCFieldDescriptor *field, const json_t *json,
		      ProtobufCMessage *message)
{
	if (json_is_null(json))
		return 0;
	if (mapping_is_map(message->descriptor, field))
		return read_map(reader, place, field, json, message);
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return read_list(reader, place, field, json, message);
	return read_singular(reader, place, field, json, message);
}

/* All members of @json but "@type" when @skip_type. */
static int read_fields(struct reader *reader, const struct place *place, const json_t *json,
		       bool skip_type, ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *descriptor = message->descriptor;
	bool *seen = arena_calloc(reader->arena, descriptor->n_fields, sizeof(*seen));
	const char *name;
	json_t *value;

	if (!seen)
		return no_memory(reader);
	json_object_foreach ((json_t *)json, name, value) {
		const struct place at = { .above = place, .name = name, .depth = place->depth };
		const ProtobufCFieldDescriptor *field;
		int r;

		if (skip_type && strcmp(name, "@type") == 0)
			continue;
		field = find_field(descriptor, name);
		if (!field)
			return unknown_field(reader, place, descriptor, name);
		if (seen[field - descriptor->fields])
			return wrong(reader, &at, "is given twice, under both of its names");
		seen[field - descriptor->fields] = true;
		r = read_field(reader, &at, field, value, message);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_timestamp(struct reader *reader, const struct place *place, const json_t *json,
			  ProtobufCMessage *message)
{
	if (!json_is_string(json) ||
	    !literal_parse_timestamp(json_string_value(json), (void *)message))
		return wrong(reader, place, "must be a time like \"2024-01-31T12:00:00Z\"");
	return 0;
}

static int read_duration(struct reader *reader, const struct place *place, const json_t *json,
			 ProtobufCMessage *message)
{
	if (!json_is_string(json) ||
	    !literal_parse_duration(json_string_value(json), (void *)message))
		return wrong(reader, place, "must be seconds like \"30s\" or \"0.5s\"");
	return 0;
}

/* The message within an Any: of the type that "@type" names. */
static int read_any_content(struct reader *reader, const struct place *place, const json_t *json,
			    const ProtobufCMessageDescriptor *descriptor,
			    ProtobufCMessage **ret_content)
{
	const struct place inside = {
		.above = place,
		.name = "value",
		.depth = place->depth,
	};
	ProtobufCMessage *content;

	if (mapping_well_known(descriptor) != MAPPING_PLAIN) {
		const json_t *value = json_object_get(json, "value");

		if (!value || json_object_size(json) != 2)
			return wrong(reader, place, "must have \"@type\" and \"value\" only");
		return read_message(reader, &inside, descriptor, value, ret_content);
	}
	content = arena_message(reader->arena, descriptor);
	if (!content)
		return no_memory(reader);
	*ret_content = content;
	return read_fields(reader, place, json, true, content);
}

static int read_any(struct reader *reader, const struct place *place, const json_t *json,
		    ProtobufCMessage *message)
{
	Google__Protobuf__Any *any = (Google__Protobuf__Any *)message;
	const ProtobufCMessageDescriptor *descriptor;
	ProtobufCMessage *content = NULL;
	const char *type;
	int r;

	if (!json_is_object(json))
		return wrong(reader, place, "must be an object, not %s", type_name(json));
	if (json_object_size(json) == 0)
		return 0;
	type = json_string_value(json_object_get(json, "@type"));
	descriptor = mapping_any_type(type);
	if (!descriptor)
		return wrong(
			reader, place,
			"needs \"@type\" with one of the google.rpc details, Timestamp or Duration");
	r = read_any_content(reader, place, json, descriptor, &content);
	if (r < 0)
		return r;
	any->type_url = arena_strdup(reader->arena, type);
	any->value.len = protobuf_c_message_get_packed_size(content);
	any->value.data = arena_alloc(reader->arena, any->value.len);
	if (!any->type_url || !any->value.data)
		return no_memory(reader);
	(void)protobuf_c_message_pack(content, any->value.data);
	return 0;
}

static int read_plain(struct reader *reader, const struct place *place, const json_t *json,
		      ProtobufCMessage *message)
{
	if (!json_is_object(json))
		return wrong(reader, place, "must be an object, not %s", type_name(json));
	return read_fields(reader, place, json, false, message);
}

static int read_message(struct reader *reader, const struct place *place,
			const ProtobufCMessageDescriptor *descriptor, const json_t *json,
			ProtobufCMessage **ret_message)
{
	struct place here = *place;
	ProtobufCMessage *message;
	int r;

	if (++here.depth > WIRE_DEPTH_MAX)
		return wrong(reader, place, "is nested too deeply");
	message = arena_message(reader->arena, descriptor);
	if (!message)
		return no_memory(reader);
	switch (mapping_well_known(descriptor)) {
	case MAPPING_TIMESTAMP:
		r = read_timestamp(reader, &here, json, message);
		break;
	case MAPPING_DURATION:
		r = read_duration(reader, &here, json, message);
		break;
	case MAPPING_ANY:
		r = read_any(reader, &here, json, message);
		break;
	default:
		r = read_plain(reader, &here, json, message);
	}
	if (r == 0)
		*ret_message = message;
	return r;
}

/* jansson's words may quote the text, and that may hold anything. */
static void set_syntax_error(struct err *err, const char *type, json_error_t *error)
{
	const char *hint = "";

	for (char *p = error->text; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
	if (json_error_code(error) == json_error_numeric_overflow)
		hint = " (write large numbers as strings)";
	err_set(err, ERR_INVALID, EINVAL, "%s: line %d, column %d: %s%s", type, error->line,
		error->column, error->text, hint);
}

void *protojson_parse(const ProtobufCMessageDescriptor *descriptor, const char *text, size_t length,
		      struct arena *arena, struct err *err)
{
	const struct place document = { .depth = 0 };
	struct reader reader = { .arena = arena, .err = err };
	ProtobufCMessage *message = NULL;
	json_error_t error;
	json_t *json;
	int r;

	if (length > PROTOJSON_TEXT_MAX) {
		err_set(err, ERR_EXHAUSTED, EFBIG, "%s: %zu bytes of JSON: at most %u are read",
			descriptor->short_name, length, PROTOJSON_TEXT_MAX);
		return NULL;
	}
	json = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
	if (!json) {
		set_syntax_error(err, descriptor->short_name, &error);
		return NULL;
	}
	r = read_message(&reader, &document, descriptor, json, &message);
	json_decref(json);
	if (r < 0) {
		err_prefix(err, r, "%s", descriptor->short_name);
		return NULL;
	}
	return message;
}
