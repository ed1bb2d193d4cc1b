/*
 * Fields that this release does not know: what a newer scheduler sets and an older host would pass over. The
 * libraries of protobuf keep them, silently; a limit or a wish that nobody carries out is to be heard of.
 */
#include <stdio.h>

#include "agent/workload/validate.h"

#define PATH_MAX_BYTES 128

static bool is_present(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const void *quantifier = (const char *)message + field->quantifier_offset;

	return !(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) ||
	       *(const uint32_t *)quantifier == field->id;
}

static void check_below(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
			const struct check *check)
{
	bool is_repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
	const char *at = (const char *)message;
	size_t n = is_repeated ? *(const size_t *)(at + field->quantifier_offset) : 1;
	const ProtobufCMessage *const *members =
		is_repeated ? *(const ProtobufCMessage *const *const *)(at + field->offset)
			    : (const ProtobufCMessage *const *)(at + field->offset);
	char path[PATH_MAX_BYTES], index[24] = "";
	const struct check inner = { .fault = check->fault, .prefix = path };

	for (size_t i = 0; i < n; i++) {
		if (is_repeated)
			(void)snprintf(index, sizeof(index), "[%zu]", i);
		(void)snprintf(path, sizeof(path), "%s.%s%s", check->prefix, field->name, index);
		validate_known(members[i], &inner);
	}
}

/* The types of the contract do not nest without end: a test of it holds that. */
void validate_known(const ProtobufCMessage *message, const struct check *check)
{
	char text[96];

	if (!message)
		return;
	if (message->n_unknown_fields > 0) {
		(void)snprintf(text, sizeof(text),
			       "has field %u, which this release of berthd does not know",
			       message->unknown_fields[0].tag);
		check_wrong(check, text, "%s", "");
	}
	for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];

		if (field->type == PROTOBUF_C_TYPE_MESSAGE && is_present(message, field))
			check_below(message, field, check);
	}
}
