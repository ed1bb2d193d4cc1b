#include "agent/json/protojson.h"

#include <errno.h>
#include <google/protobuf/any.pb-c.h>
#include <google/protobuf/duration.pb-c.h>
#include <google/protobuf/timestamp.pb-c.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/json/mapping.h"
#include "proto/utf8.h"
#include "proto/wirecheck.h"

/*
 * Written straight to the file while walking the message: no tree in between. A failure leaves half a
 * document behind, which protojson_print() throws away.
 */

struct writer {
	FILE *file;
	struct protojson_options options;
	unsigned depth;
	struct err *err;
};

static int write_message(struct writer *writer, const ProtobufCMessage *message);

static void new_line(struct writer *writer)
{
	if (!writer->options.pretty)
		return;
	fputc('\n', writer->file);
	for (unsigned i = 0; i < writer->depth; i++)
		fputs("  ", writer->file);
}

/* Before each member: *@first is true once. */
static void separate(struct writer *writer, bool *first)
{
	if (!*first)
		fputc(',', writer->file);
	*first = false;
	new_line(writer);
}

static void open_bracket(struct writer *writer, char bracket)
{
	fputc(bracket, writer->file);
	writer->depth++;
}

static void close_bracket(struct writer *writer, char bracket, bool empty)
{
	writer->depth--;
	if (!empty)
		new_line(writer);
	fputc(bracket, writer->file);
}

static void write_escaped(FILE *file, unsigned char c)
{
	switch (c) {
	case '"':
	case '\\':
		fputc('\\', file);
		fputc(c, file);
		break;
	case '\n':
		fputs("\\n", file);
		break;
	case '\t':
		fputs("\\t", file);
		break;
	case '\r':
		fputs("\\r", file);
		break;
	default:
		fprintf(file, "\\u%04x", c);
	}
}

static int write_string(struct writer *writer, const char *text)
{
	size_t length = strlen(text);

	if (!utf8_valid(text, length))
		return err_set(writer->err, ERR_INVALID, EINVAL,
			       "cannot write a text as JSON: it is not UTF-8");
	fputc('"', writer->file);
	while (*text) {
		size_t plain = 0;
		unsigned char c;

		while ((c = (unsigned char)text[plain]) >= 0x20 && c != '"' && c != '\\' &&
		       c != 0x7f)
			plain++;
		fwrite(text, 1, plain, writer->file);
		text += plain;
		if (*text)
			write_escaped(writer->file, (unsigned char)*text++);
	}
	fputc('"', writer->file);
	return 0;
}

static void write_base64(FILE *file, const ProtobufCBinaryData *bytes)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	fputc('"', file);
	for (size_t at = 0; at < bytes->len; at += 3) {
		size_t left = bytes->len - at;
		uint32_t three = (uint32_t)bytes->data[at] << 16;

		if (left > 1)
			three |= (uint32_t)bytes->data[at + 1] << 8;
		if (left > 2)
			three |= bytes->data[at + 2];
		fputc(digits[three >> 18], file);
		fputc(digits[three >> 12 & 63], file);
		fputc(left > 1 ? digits[three >> 6 & 63] : '=', file);
		fputc(left > 2 ? digits[three & 63] : '=', file);
	}
	fputc('"', file);
}

/* The shortest decimal that reads back as @value; with @is_float, back as the same float. */
static void write_real(FILE *file, double value, bool is_float)
{
	int most = is_float ? 9 : 17;
	char text[40];

	if (isnan(value)) {
		fputs("\"NaN\"", file);
		return;
	}
	if (isinf(value)) {
		fputs(value > 0 ? "\"Infinity\"" : "\"-Infinity\"", file);
		return;
	}
	if (value == 0 &&
	    signbit(value)) { /* "-0" would read as a whole number, which has no such */
		fputs("-0.0", file);
		return;
	}
	for (int digits = is_float ? 6 : 15; digits <= most; digits++) {
		(void)snprintf(text, sizeof(text), "%.*g", digits, value);
		if (is_float ? strtof(text, NULL) == (float)value : strtod(text, NULL) == value)
			break;
	}
	fputs(text, file);
}

static int write_enum(struct writer *writer, const ProtobufCEnumDescriptor *descriptor, int value)
{
	const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(descriptor, value);

	if (known)
		return write_string(writer, known->name);
	fprintf(writer->file, "%d", value);
	return 0;
}

/* One value of @field's type, at @at. */
static int write_value(struct writer *writer, const ProtobufCFieldDescriptor *field, const void *at)
{
	FILE *file = writer->file;
	const char *text;

	switch (field->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		fprintf(file, "%" PRId32, *(const int32_t *)at);
		return 0;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		fprintf(file, "%" PRIu32, *(const uint32_t *)at);
		return 0;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		fprintf(file, "\"%" PRId64 "\"", *(const int64_t *)at);
		return 0;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		fprintf(file, "\"%" PRIu64 "\"", *(const uint64_t *)at);
		return 0;
	case PROTOBUF_C_TYPE_FLOAT:
		write_real(file, (double)*(const float *)at, true);
		return 0;
	case PROTOBUF_C_TYPE_DOUBLE:
		write_real(file, *(const double *)at, false);
		return 0;
	case PROTOBUF_C_TYPE_BOOL:
		fputs(*(const protobuf_c_boolean *)at ? "true" : "false", file);
		return 0;
	case PROTOBUF_C_TYPE_ENUM:
		return write_enum(writer, field->descriptor, *(const int *)at);
	case PROTOBUF_C_TYPE_STRING:
		text = *(char *const *)at;
		return write_string(writer, text ? text : "");
	case PROTOBUF_C_TYPE_BYTES:
		write_base64(file, at);
		return 0;
	case PROTOBUF_C_TYPE_MESSAGE:
		return write_message(writer, *(ProtobufCMessage *const *)at);
	}
	return err_set(writer->err, ERR_INTERNAL, EIO, "field %s has a type of its own",
		       field->name);
}

static const ProtobufCFieldDescriptor *key_field(const ProtobufCMessage *entry)
{
	return &entry->descriptor->fields[0];
}

static const void *value_of(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	return (const uint8_t *)message + field->offset;
}

/* Keys are names of members, so all of them are strings. */
static int write_key(struct writer *writer, const ProtobufCMessage *entry)
{
	const ProtobufCFieldDescriptor *key = key_field(entry);
	bool is_quoted = key->type == PROTOBUF_C_TYPE_STRING || mapping_is_64_bits(key->type);
	int r;

	if (!is_quoted)
		fputc('"', writer->file);
	r = write_value(writer, key, value_of(entry, key));
	if (!is_quoted)
		fputc('"', writer->file);
	return r;
}

static int compare_numbers(int64_t a, int64_t b)
{
	return a < b ? -1 : a > b;
}

static int compare_keys(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
	const ProtobufCFieldDescriptor *key = key_field(a);
	const void *x = value_of(a, key), *y = value_of(b, key);

	if (key->type == PROTOBUF_C_TYPE_STRING)
		return strcmp(*(char *const *)x, *(char *const *)y);
	if (mapping_is_64_bits(key->type)) /* signed or not: any order will do */
		return compare_numbers(*(const int64_t *)x, *(const int64_t *)y);
	return compare_numbers(*(const int32_t *)x, *(const int32_t *)y);
}

struct sorted_entry {
	const ProtobufCMessage *entry;
	size_t position;
};

static int compare_entries(const void *a, const void *b)
{
	const struct sorted_entry *x = a, *y = b;
	int r = compare_keys(x->entry, y->entry);

	return r ? r : compare_numbers((int64_t)x->position, (int64_t)y->position);
}

/* A map, by key; of several entries with one key the last is the one that counts. */
static int write_map(struct writer *writer, const void *array, size_t n)
{
	ProtobufCMessage *const *entries = array;
	cleanup_free struct sorted_entry *sorted = calloc(n + 1, sizeof(*sorted));
	bool first = true;
	int r;

	if (!sorted)
		return err_oom(writer->err);
	for (size_t i = 0; i < n; i++)
		sorted[i] = (struct sorted_entry){ .entry = entries[i], .position = i };
	qsort(sorted, n, sizeof(*sorted), compare_entries);

	open_bracket(writer, '{');
	for (size_t i = 0; i < n; i++) {
		const ProtobufCMessage *entry = sorted[i].entry;
		const ProtobufCFieldDescriptor *value = &entry->descriptor->fields[1];

		if (i + 1 < n && compare_keys(entry, sorted[i + 1].entry) == 0)
			continue;
		separate(writer, &first);
		r = write_key(writer, entry);
		fputs(writer->options.pretty ? ": " : ":", writer->file);
		if (r == 0)
			r = write_value(writer, value, value_of(entry, value));
		if (r < 0)
			return r;
	}
	close_bracket(writer, '}', first);
	return 0;
}

static int write_list(struct writer *writer, const ProtobufCFieldDescriptor *field,
		      const uint8_t *array, size_t n)
{
	size_t size = mapping_value_size(field->type);
	bool first = true;
	int r;

	open_bracket(writer, '[');
	for (size_t i = 0; i < n; i++) {
		separate(writer, &first);
		r = write_value(writer, field, array + i * size);
		if (r < 0)
			return r;
	}
	close_bracket(writer, ']', first);
	return 0;
}

static int write_repeated(struct writer *writer, const ProtobufCMessage *message,
			  const ProtobufCFieldDescriptor *field)
{
	size_t n = *(const size_t *)((const uint8_t *)message + field->quantifier_offset);
	const void *array = *(void *const *)value_of(message, field);

	if (mapping_is_map(message->descriptor, field))
		return write_map(writer, array, n);
	return write_list(writer, field, array, n);
}

/* Whether @field goes into the output. */
static bool is_written(const struct writer *writer, const ProtobufCMessage *message,
		       const ProtobufCFieldDescriptor *field)
{
	if (mapping_is_set(message, field))
		return true;
	if (!writer->options.emit_defaults || field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return false;
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return true;
	return field->label == PROTOBUF_C_LABEL_NONE && field->type != PROTOBUF_C_TYPE_MESSAGE;
}

static int write_fields(struct writer *writer, const ProtobufCMessage *message, bool *first)
{
	char name[MAPPING_NAME_MAX];
	int r;

	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];

		if (!is_written(writer, message, field))
			continue;
		separate(writer, first);
		fprintf(writer->file, writer->options.pretty ? "\"%s\": " : "\"%s\":",
			mapping_json_name(field->name, name));
		if (field->label == PROTOBUF_C_LABEL_REPEATED)
			r = write_repeated(writer, message, field);
		else
			r = write_value(writer, field, value_of(message, field));
		if (r < 0)
			return r;
	}
	return 0;
}

/* ".5", ".000001", "" : in groups of three digits, as the mapping wants; Python writes them so too. */
static void write_nanos(FILE *file, int32_t nanos)
{
	if (nanos == 0)
		return;
	if (nanos % 1000000 == 0)
		fprintf(file, ".%03d", nanos / 1000000);
	else if (nanos % 1000 == 0)
		fprintf(file, ".%06d", nanos / 1000);
	else
		fprintf(file, ".%09d", nanos);
}

static int write_timestamp(struct writer *writer, const ProtobufCMessage *message)
{
	const Google__Protobuf__Timestamp *when = (const Google__Protobuf__Timestamp *)message;
	time_t seconds = (time_t)when->seconds;
	struct tm tm;

	if (when->seconds < MAPPING_TIMESTAMP_MIN || when->seconds > MAPPING_TIMESTAMP_MAX ||
	    when->nanos < 0 || when->nanos > 999999999 || !gmtime_r(&seconds, &tm))
		return err_set(writer->err, ERR_INVALID, EINVAL,
			       "cannot write a Timestamp of %" PRId64
			       " s %d ns as JSON: it is outside of the years 1 to 9999",
			       when->seconds, when->nanos);
	fprintf(writer->file, "\"%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1,
		tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	write_nanos(writer->file, when->nanos);
	fputs("Z\"", writer->file);
	return 0;
}

static int write_duration(struct writer *writer, const ProtobufCMessage *message)
{
	const Google__Protobuf__Duration *span = (const Google__Protobuf__Duration *)message;
	bool is_negative = span->seconds < 0 || span->nanos < 0;

	if (span->seconds < -MAPPING_DURATION_MAX || span->seconds > MAPPING_DURATION_MAX ||
	    span->nanos < -999999999 || span->nanos > 999999999 ||
	    (is_negative && (span->seconds > 0 || span->nanos > 0)))
		return err_set(writer->err, ERR_INVALID, EINVAL,
			       "cannot write a Duration of %" PRId64
			       " s %d ns as JSON: it is out of range, or of two signs",
			       span->seconds, span->nanos);
	fprintf(writer->file, "\"%s%" PRId64, is_negative ? "-" : "",
		is_negative ? -span->seconds : span->seconds);
	write_nanos(writer->file, is_negative ? -span->nanos : span->nanos);
	fputs("s\"", writer->file);
	return 0;
}

static void write_member_name(struct writer *writer, const char *name, bool *first)
{
	separate(writer, first);
	fprintf(writer->file, writer->options.pretty ? "\"%s\": " : "\"%s\":", name);
}

/* What an Any holds: its fields beside "@type", or "value" for types with a form of their own. */
static int write_any_content(struct writer *writer, const Google__Protobuf__Any *any, bool *first)
{
	const ProtobufCMessageDescriptor *descriptor = mapping_any_type(any->type_url);
	cleanup_arena struct arena arena;
	ProtobufCMessage *content = NULL;

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	if (descriptor)
		content = wire_unpack(descriptor, any->value.data, any->value.len, &arena, NULL);
	if (!content) {
		write_member_name(writer, "value", first);
		write_base64(writer->file, &any->value);
		return 0;
	}
	if (mapping_well_known(descriptor) != MAPPING_PLAIN) {
		write_member_name(writer, "value", first);
		return write_message(writer, content);
	}
	return write_fields(writer, content, first);
}

static int write_any(struct writer *writer, const ProtobufCMessage *message)
{
	const Google__Protobuf__Any *any = (const Google__Protobuf__Any *)message;
	bool first = true;
	int r = 0;

	open_bracket(writer, '{');
	if (any->type_url && any->type_url[0]) {
		write_member_name(writer, "@type", &first);
		r = write_string(writer, any->type_url);
		if (r == 0)
			r = write_any_content(writer, any, &first);
	}
	close_bracket(writer, '}', first);
	return r;
}

static int write_plain(struct writer *writer, const ProtobufCMessage *message)
{
	bool first = true;
	int r;

	open_bracket(writer, '{');
	r = write_fields(writer, message, &first);
	close_bracket(writer, '}', first);
	return r;
}

static int write_message(struct writer *writer, const ProtobufCMessage *message)
{
	unsigned depth = writer->depth;
	int r;

	if (!message) { /* a map's value that was never set */
		fputs("{}", writer->file);
		return 0;
	}
	/* An Any may hold any other message, so this is not bounded by the types alone. */
	if (depth > 4 * WIRE_DEPTH_MAX)
		return err_set(writer->err, ERR_INVALID, EINVAL,
			       "cannot write a message as JSON: it is nested too deeply");
	switch (mapping_well_known(message->descriptor)) {
	case MAPPING_TIMESTAMP:
		return write_timestamp(writer, message);
	case MAPPING_DURATION:
		return write_duration(writer, message);
	case MAPPING_ANY:
		r = write_any(writer, message);
		break;
	default:
		r = write_plain(writer, message);
	}
	writer->depth = depth;
	return r;
}

int protojson_write(FILE *file, const ProtobufCMessage *message,
		    const struct protojson_options *options, struct err *err)
{
	struct writer writer = { .file = file, .err = err };
	int r;

	if (options)
		writer.options = *options;
	r = write_message(&writer, message);
	if (r < 0)
		return err_prefix(err, r, "%s", message->descriptor->name);
	if (ferror(file))
		return err_set(err, ERR_INTERNAL, EIO, "cannot write %s as JSON: writing failed",
			       message->descriptor->name);
	return 0;
}

int protojson_print(const ProtobufCMessage *message, const struct protojson_options *options,
		    char **ret_text, struct err *err)
{
	cleanup_free char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);
	int r;

	if (!file)
		return err_oom(err);
	r = protojson_write(file, message, options, err);
	if (fclose(file) != 0 && r == 0)
		r = err_oom(err);
	if (r < 0)
		return r;
	*ret_text = take_ptr(&text);
	return 0;
}
