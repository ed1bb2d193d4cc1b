#include "agent/grpc/details.h"

#include <errno.h>
#include <string.h>

#include "google/rpc/error_details.pb-c.h"
#include "google/rpc/status.pb-c.h"
#include "proto/arena.h"
#include "proto/wirecheck.h"

#define TYPE_PREFIX "type.googleapis.com/"

struct grpc_details {
	size_t n;
	struct grpc_detail entries[GRPC_DETAILS_MAX];
};

static void forget(struct grpc_detail *detail)
{
	free((char *)(uintptr_t)detail->name);
	free((char *)(uintptr_t)detail->subject);
	free((char *)(uintptr_t)detail->text);
	*detail = (struct grpc_detail){ 0 };
}

struct grpc_details *grpc_details_new(void)
{
	return calloc(1, sizeof(struct grpc_details));
}

void grpc_details_free(struct grpc_details *details)
{
	if (!details)
		return;
	for (size_t i = 0; i < details->n; i++)
		forget(&details->entries[i]);
	free(details);
}
DEFINE_CLEANUP(struct grpc_details *, grpc_details_free)

size_t grpc_details_count(const struct grpc_details *details)
{
	return details ? details->n : 0;
}

const struct grpc_detail *grpc_details_at(const struct grpc_details *details, size_t i)
{
	return details && i < details->n ? &details->entries[i] : NULL;
}

/* --- adding --- */

static char *copy_cut(const char *text)
{
	size_t n = text ? strlen(text) : 0;

	if (n > GRPC_DETAILS_TEXT_MAX) {
		n = GRPC_DETAILS_TEXT_MAX;
		while (n && ((unsigned char)text[n] & 0xc0) == 0x80) /* not within a character */
			n--;
	}
	return strndup(text ? text : "", n);
}

static void add(struct grpc_details *details, const struct grpc_detail *detail)
{
	struct grpc_detail copy = { .kind = detail->kind, .delay_usec = detail->delay_usec };

	if (!details || details->n == GRPC_DETAILS_MAX)
		return;
	copy.name = copy_cut(detail->name);
	copy.subject = copy_cut(detail->subject);
	copy.text = copy_cut(detail->text);
	if (!copy.name || !copy.subject || !copy.text) {
		forget(&copy);
		return;
	}
	details->entries[details->n++] = copy;
}

/* For kinds that a status has one of. */
static void replace(struct grpc_details *details, const struct grpc_detail *detail)
{
	for (size_t i = 0; details && i < details->n; i++) {
		if (details->entries[i].kind != detail->kind)
			continue;
		forget(&details->entries[i]);
		memmove(&details->entries[i], &details->entries[i + 1],
			(--details->n - i) * sizeof(details->entries[0]));
		break;
	}
	add(details, detail);
}

void grpc_details_add_field(struct grpc_details *details, const char *field, const char *text)
{
	add(details,
	    &(struct grpc_detail){ .kind = GRPC_DETAIL_FIELD, .subject = field, .text = text });
}

void grpc_details_add_quota(struct grpc_details *details, const char *subject, const char *text)
{
	add(details,
	    &(struct grpc_detail){ .kind = GRPC_DETAIL_QUOTA, .subject = subject, .text = text });
}

void grpc_details_add_precondition(struct grpc_details *details, const char *type,
				   const char *subject, const char *text)
{
	add(details, &(struct grpc_detail){ .kind = GRPC_DETAIL_PRECONDITION,
					    .name = type,
					    .subject = subject,
					    .text = text });
}

void grpc_details_set_reason(struct grpc_details *details, const char *reason, const char *domain)
{
	replace(details, &(struct grpc_detail){
				 .kind = GRPC_DETAIL_REASON, .name = reason, .subject = domain });
}

void grpc_details_add_metadata(struct grpc_details *details, const char *key, const char *value)
{
	add(details,
	    &(struct grpc_detail){ .kind = GRPC_DETAIL_METADATA, .name = key, .text = value });
}

void grpc_details_set_retry(struct grpc_details *details, uint64_t delay_usec)
{
	replace(details,
		&(struct grpc_detail){ .kind = GRPC_DETAIL_RETRY, .delay_usec = delay_usec });
}

/* --- encoding --- */

/* The parts of a status, made when the first entry of their kind comes by. */
struct parts {
	struct arena *arena;
	Google__Rpc__BadRequest *fields;
	Google__Rpc__QuotaFailure *quotas;
	Google__Rpc__PreconditionFailure *preconditions;
	Google__Rpc__ErrorInfo *info;
	Google__Rpc__RetryInfo *retry;
};

/* Strings are borrowed: a message that is only packed needs no copies. */
static char *borrow(const char *text)
{
	return (char *)(uintptr_t)text;
}

static int put_field(struct parts *parts, const struct grpc_detail *detail)
{
	Google__Rpc__BadRequest__FieldViolation *violation =
		arena_message(parts->arena, &google__rpc__bad_request__field_violation__descriptor);

	if (!parts->fields)
		parts->fields = arena_message(parts->arena, &google__rpc__bad_request__descriptor);
	if (!parts->fields || !violation)
		return -ENOMEM;
	violation->field = borrow(detail->subject);
	violation->description = borrow(detail->text);
	return arena_append(parts->arena, &parts->fields->field_violations,
			    &parts->fields->n_field_violations, violation);
}

static int put_quota(struct parts *parts, const struct grpc_detail *detail)
{
	Google__Rpc__QuotaFailure__Violation *violation =
		arena_message(parts->arena, &google__rpc__quota_failure__violation__descriptor);

	if (!parts->quotas)
		parts->quotas = arena_message(parts->arena,
					      &google__rpc__quota_failure__descriptor);
	if (!parts->quotas || !violation)
		return -ENOMEM;
	violation->subject = borrow(detail->subject);
	violation->description = borrow(detail->text);
	return arena_append(parts->arena, &parts->quotas->violations, &parts->quotas->n_violations,
			    violation);
}

static int put_precondition(struct parts *parts, const struct grpc_detail *detail)
{
	Google__Rpc__PreconditionFailure__Violation *violation = arena_message(
		parts->arena, &google__rpc__precondition_failure__violation__descriptor);

	if (!parts->preconditions)
		parts->preconditions =
			arena_message(parts->arena, &google__rpc__precondition_failure__descriptor);
	if (!parts->preconditions || !violation)
		return -ENOMEM;
	violation->type = borrow(detail->name);
	violation->subject = borrow(detail->subject);
	violation->description = borrow(detail->text);
	return arena_append(parts->arena, &parts->preconditions->violations,
			    &parts->preconditions->n_violations, violation);
}

static int put_info(struct parts *parts, const struct grpc_detail *detail)
{
	Google__Rpc__ErrorInfo__MetadataEntry *entry;

	if (!parts->info)
		parts->info = arena_message(parts->arena, &google__rpc__error_info__descriptor);
	if (!parts->info)
		return -ENOMEM;
	if (detail->kind == GRPC_DETAIL_REASON) {
		parts->info->reason = borrow(detail->name);
		parts->info->domain = borrow(detail->subject);
		return 0;
	}
	entry = arena_message(parts->arena, &google__rpc__error_info__metadata_entry__descriptor);
	if (!entry)
		return -ENOMEM;
	entry->key = borrow(detail->name);
	entry->value = borrow(detail->text);
	return arena_append(parts->arena, &parts->info->metadata, &parts->info->n_metadata, entry);
}

static int put_retry(struct parts *parts, const struct grpc_detail *detail)
{
	Google__Protobuf__Duration *delay = arena_message(parts->arena,
							  &google__protobuf__duration__descriptor);

	parts->retry = arena_message(parts->arena, &google__rpc__retry_info__descriptor);
	if (!parts->retry || !delay)
		return -ENOMEM;
	delay->seconds = (int64_t)(detail->delay_usec / 1000000);
	delay->nanos = (int32_t)(detail->delay_usec % 1000000 * 1000);
	parts->retry->retry_delay = delay;
	return 0;
}

static int put_entry(struct parts *parts, const struct grpc_detail *detail)
{
	switch (detail->kind) {
	case GRPC_DETAIL_FIELD:
		return put_field(parts, detail);
	case GRPC_DETAIL_QUOTA:
		return put_quota(parts, detail);
	case GRPC_DETAIL_PRECONDITION:
		return put_precondition(parts, detail);
	case GRPC_DETAIL_REASON:
	case GRPC_DETAIL_METADATA:
		return put_info(parts, detail);
	case GRPC_DETAIL_RETRY:
		return put_retry(parts, detail);
	}
	return 0;
}

/* @part may be NULL: no entry of its kind. */
static int put_any(struct arena *arena, Google__Rpc__Status *status, const ProtobufCMessage *part)
{
	Google__Protobuf__Any *any;

	if (!part)
		return 0;
	any = arena_message(arena, &google__protobuf__any__descriptor);
	if (!any)
		return -ENOMEM;
	any->type_url = arena_printf(arena, TYPE_PREFIX "%s", part->descriptor->name);
	any->value.len = protobuf_c_message_get_packed_size(part);
	any->value.data = arena_alloc(arena, any->value.len);
	if (!any->type_url || !any->value.data)
		return -ENOMEM;
	(void)protobuf_c_message_pack(part, any->value.data);
	return arena_append(arena, &status->details, &status->n_details, any);
}

/* The status with the first @n entries; NULL without memory. */
static Google__Rpc__Status *build(struct arena *arena, const struct grpc_details *details, size_t n,
				  enum grpc_code code, const char *message)
{
	Google__Rpc__Status *status = arena_message(arena, &google__rpc__status__descriptor);
	struct parts parts = { .arena = arena };
	int r = 0;

	if (!status)
		return NULL;
	status->code = (int32_t)code;
	status->message = borrow(message);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = put_entry(&parts, &details->entries[i]);
	if (parts.info && !parts.info->reason[0])
		parts.info = NULL; /* metadata of no reason */
	r = r ?: put_any(arena, status, (const ProtobufCMessage *)parts.info);
	r = r ?: put_any(arena, status, (const ProtobufCMessage *)parts.fields);
	r = r ?: put_any(arena, status, (const ProtobufCMessage *)parts.quotas);
	r = r ?: put_any(arena, status, (const ProtobufCMessage *)parts.preconditions);
	r = r ?: put_any(arena, status, (const ProtobufCMessage *)parts.retry);
	return r == 0 ? status : NULL;
}

static int pack(const Google__Rpc__Status *status, uint8_t **ret_bytes, size_t *ret_n)
{
	size_t n = google__rpc__status__get_packed_size(status);
	uint8_t *bytes = malloc(n ? n : 1);

	if (!bytes)
		return -ENOMEM;
	*ret_n = google__rpc__status__pack(status, bytes);
	*ret_bytes = bytes;
	return 0;
}

int grpc_details_encode(const struct grpc_details *details, enum grpc_code code,
			const char *message, uint8_t **ret_bytes, size_t *ret_n)
{
	cleanup_arena struct arena arena;
	size_t n = grpc_details_count(details);

	arena_init(&arena, ARENA_MESSAGE_BYTES);
	for (;;) {
		const Google__Rpc__Status *status = build(&arena, details, n, code, message);

		if (!status)
			return -ENOMEM;
		if (n == 0 || google__rpc__status__get_packed_size(status) <= GRPC_DETAILS_WIRE_MAX)
			return pack(status, ret_bytes, ret_n);
		n--;
		arena_reset(&arena);
	}
}

/* --- decoding --- */

static void take_fields(struct grpc_details *details, const void *part)
{
	const Google__Rpc__BadRequest *fields = part;

	for (size_t i = 0; i < fields->n_field_violations; i++)
		grpc_details_add_field(details, fields->field_violations[i]->field,
				       fields->field_violations[i]->description);
}

static void take_quotas(struct grpc_details *details, const void *part)
{
	const Google__Rpc__QuotaFailure *quotas = part;

	for (size_t i = 0; i < quotas->n_violations; i++)
		grpc_details_add_quota(details, quotas->violations[i]->subject,
				       quotas->violations[i]->description);
}

static void take_preconditions(struct grpc_details *details, const void *part)
{
	const Google__Rpc__PreconditionFailure *failure = part;

	for (size_t i = 0; i < failure->n_violations; i++)
		grpc_details_add_precondition(details, failure->violations[i]->type,
					      failure->violations[i]->subject,
					      failure->violations[i]->description);
}

static void take_info(struct grpc_details *details, const void *part)
{
	const Google__Rpc__ErrorInfo *info = part;

	grpc_details_set_reason(details, info->reason, info->domain);
	for (size_t i = 0; i < info->n_metadata; i++)
		grpc_details_add_metadata(details, info->metadata[i]->key,
					  info->metadata[i]->value);
}

static void take_retry(struct grpc_details *details, const void *part)
{
	const Google__Rpc__RetryInfo *retry = part;
	const Google__Protobuf__Duration *delay = retry->retry_delay;

	/* A span that no clock of ours can wait for is as good as none. */
	if (!delay || delay->seconds < 0 || delay->seconds > INT32_MAX || delay->nanos < 0)
		return;
	grpc_details_set_retry(details,
			       (uint64_t)delay->seconds * 1000000 + (uint64_t)delay->nanos / 1000);
}

static const struct known_part {
	const ProtobufCMessageDescriptor *descriptor;
	void (*take)(struct grpc_details *details, const void *part);
} known_parts[] = {
	{ &google__rpc__bad_request__descriptor, take_fields },
	{ &google__rpc__quota_failure__descriptor, take_quotas },
	{ &google__rpc__precondition_failure__descriptor, take_preconditions },
	{ &google__rpc__error_info__descriptor, take_info },
	{ &google__rpc__retry_info__descriptor, take_retry },
};

static int take_any(struct grpc_details *details, const Google__Protobuf__Any *any,
		    struct arena *arena)
{
	const char *name = strrchr(any->type_url, '/');

	for (size_t i = 0; name && i < ARRAY_SIZE(known_parts); i++) {
		const void *part;

		if (strcmp(name + 1, known_parts[i].descriptor->name) != 0)
			continue;
		part = wire_unpack(known_parts[i].descriptor, any->value.data, any->value.len,
				   arena, NULL);
		if (!part)
			return -EBADMSG;
		known_parts[i].take(details, part);
	}
	return 0;
}

int grpc_details_decode(const uint8_t *bytes, size_t n, struct grpc_details **ret_details)
{
	cleanup(grpc_details_free_p) struct grpc_details *details = grpc_details_new();
	const Google__Rpc__Status *status;
	cleanup_arena struct arena arena;

	arena_init(&arena, 1U << 20);
	if (!details)
		return -ENOMEM;
	status = wire_unpack(&google__rpc__status__descriptor, bytes, n, &arena, NULL);
	if (!status)
		return -EBADMSG;
	for (size_t i = 0; i < status->n_details; i++) {
		int r = take_any(details, status->details[i], &arena);

		if (r < 0)
			return r;
	}
	*ret_details = take_ptr(&details);
	return 0;
}
