#include "agent/service/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/grpc/details.h"
#include "proto/cleanup.h"

#define DOMAIN              "berth.v1"
#define RETRY_AFTER_AWAY_MS 500 /* a restart of berth-sandboxd takes less */

static const enum grpc_code codes[] = {
	[ERR_NONE] = GRPC_UNKNOWN,
	[ERR_INVALID] = GRPC_INVALID_ARGUMENT,
	[ERR_NOT_FOUND] = GRPC_NOT_FOUND,
	[ERR_EXISTS] = GRPC_ALREADY_EXISTS,
	[ERR_DENIED] = GRPC_PERMISSION_DENIED,
	[ERR_EXHAUSTED] = GRPC_RESOURCE_EXHAUSTED,
	[ERR_PRECONDITION] = GRPC_FAILED_PRECONDITION,
	[ERR_UNSUPPORTED] = GRPC_FAILED_PRECONDITION,
	[ERR_UNAVAILABLE] = GRPC_UNAVAILABLE,
	[ERR_TIMEOUT] = GRPC_DEADLINE_EXCEEDED,
	[ERR_START] = GRPC_FAILED_PRECONDITION,
	[ERR_INTERNAL] = GRPC_INTERNAL,
	[ERR_CANCELLED] = GRPC_ABORTED,
};

enum grpc_code status_code(const struct err *err, const struct engine_fault *fault)
{
	if (fault && fault->reason &&
	    (strcmp(fault->reason, FAULT_EVENTS_TOO_OLD) == 0 ||
	     strcmp(fault->reason, FAULT_EVENTS_UNKNOWN) == 0))
		return GRPC_OUT_OF_RANGE;
	if ((size_t)err->kind >= ARRAY_SIZE(codes))
		return GRPC_UNKNOWN;
	return codes[err->kind];
}

static void add_quota(struct grpc_details *details, const struct fault_quota *quota)
{
	const char *space = quota->unit[0] ? " " : "";
	char text[128];

	(void)snprintf(text, sizeof(text), "asked %" PRIu64 "%s%s, %" PRIu64 " left", quota->asked,
		       space, quota->unit, quota->left);
	grpc_details_add_quota(details, quota->resource, text);
}

static void add_number(struct grpc_details *details, const struct fault_number *number)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, number->value);
	grpc_details_add_metadata(details, number->key, text);
}

/* NULL without memory: details are an extra. */
static struct grpc_details *details_of_fault(const struct engine_fault *fault)
{
	struct grpc_details *details = grpc_details_new();

	for (size_t i = 0; i < fault->n_fields; i++)
		grpc_details_add_field(details, fault->fields[i].path, fault->fields[i].text);
	for (size_t i = 0; i < fault->n_quotas; i++)
		add_quota(details, &fault->quotas[i]);
	if (fault->reason)
		grpc_details_set_reason(details, fault->reason, DOMAIN);
	for (size_t i = 0; i < fault->n_numbers; i++)
		add_number(details, &fault->numbers[i]);
	return details;
}

void status_fail(struct grpc_call *call, const struct err *err, const struct engine_fault *fault)
{
	struct grpc_details *details = fault ? details_of_fault(fault) : NULL;

	if (fault && fault->reason && strcmp(fault->reason, FAULT_SANDBOX_AWAY) == 0)
		grpc_call_set_retry_after(call, RETRY_AFTER_AWAY_MS);
	grpc_call_fail(call, status_code(err, fault), err->text, details);
	grpc_details_free(details);
}
