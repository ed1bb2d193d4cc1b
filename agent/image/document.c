#include "agent/image/document.h"

#include <string.h>

#include "proto/names.h"

static int invalid(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int invalid(struct err *err, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = err_setv(err, ERR_INVALID, EINVAL, fmt, ap);
	va_end(ap);
	return r;
}

/* Depth and count of values from the brackets and commas outside of strings alone: whatever the parser
 * makes of the rest, it cannot make more of it than that. */
static int check_bounds(const char *text, size_t length, struct err *err)
{
	size_t depth = 0, values = 1;
	bool in_string = false;

	for (size_t i = 0; i < length; i++) {
		char c = text[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		in_string = c == '"';
		values += c == ',' || c == '[' || c == '{';
		if (c == '[' || c == '{')
			depth++;
		else if ((c == ']' || c == '}') && depth > 0)
			depth--;
		if (depth > DOCUMENT_DEPTH_MAX)
			return invalid(err, "it is nested deeper than %u", DOCUMENT_DEPTH_MAX);
	}
	if (values > DOCUMENT_VALUES_MAX)
		return invalid(err, "it has more than %u values", DOCUMENT_VALUES_MAX);
	return 0;
}

int document_load(const void *bytes, size_t length, json_t **ret_root, struct err *err)
{
	cleanup_document json_t *root = NULL;
	json_error_t where;
	int r;

	if (length > DOCUMENT_BYTES_MAX)
		return invalid(err, "it has %zu bytes, at most %u are taken", length,
			       DOCUMENT_BYTES_MAX);
	r = check_bounds(bytes, length, err);
	if (r < 0)
		return r;
	root = json_loadb(bytes, length, JSON_REJECT_DUPLICATES, &where);
	if (!root)
		return invalid(err, "line %d, column %d: malformed JSON", where.line, where.column);
	if (!json_is_object(root))
		return invalid(err, "it is no JSON object");
	*ret_root = take_ptr(&root);
	return 0;
}

/* @key of @object, NULL for null too. */
static json_t *value_of(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	return value && !json_is_null(value) ? value : NULL;
}

int document_string(const json_t *object, const char *key, const char **ret_text, struct err *err)
{
	const json_t *value = value_of(object, key);

	if (value && !json_is_string(value))
		return invalid(err, "%s is no string", key);
	*ret_text = value ? json_string_value(value) : "";
	return 0;
}

int document_array(const json_t *object, const char *key, size_t max, const json_t **ret_array,
		   struct err *err)
{
	const json_t *value = value_of(object, key);

	if (value && !json_is_array(value))
		return invalid(err, "%s is no array", key);
	if (value && json_array_size(value) > max)
		return invalid(err, "%s has %zu elements, at most %zu are taken", key,
			       json_array_size(value), max);
	*ret_array = value;
	return 0;
}

int document_object(const json_t *object, const char *key, const json_t **ret_object,
		    struct err *err)
{
	const json_t *value = value_of(object, key);

	if (value && !json_is_object(value))
		return invalid(err, "%s is no object", key);
	*ret_object = value;
	return 0;
}

int document_descriptor(const json_t *object, struct descriptor *ret_descriptor, struct err *err)
{
	const json_t *size = json_object_get(object, "size");
	struct descriptor descriptor = { 0 };
	const char *text;
	int r;

	if (!json_is_object(object))
		return invalid(err, "it is no object");
	r = document_string(object, "mediaType", &text, err);
	if (r < 0)
		return r;
	descriptor.media = media_of(text);
	r = document_string(object, "digest", &text, err);
	if (r == 0)
		r = digest_parse(text, &descriptor.digest, err);
	if (r < 0)
		return r;
	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return invalid(err, "size is no number of bytes");
	descriptor.size_bytes = (uint64_t)json_integer_value(size);
	*ret_descriptor = descriptor;
	return 0;
}
