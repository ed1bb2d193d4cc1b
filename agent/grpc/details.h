/*
 * The machine-readable part of a failure: google.rpc.Status in grpc-status-details-bin. Any gRPC client
 * library can decode it; berthctl does with grpc_details_decode().
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/grpc/code.h"

enum grpc_detail_kind {
	GRPC_DETAIL_FIELD = 1, /* BadRequest: @subject is the field's path, @text what is wrong */
	GRPC_DETAIL_QUOTA = 2, /* QuotaFailure: @subject the resource, @text asked and left */
	GRPC_DETAIL_PRECONDITION = 3, /* PreconditionFailure: @name its type, @subject, @text */
	GRPC_DETAIL_REASON = 4, /* ErrorInfo: @name the reason (UPPER_SNAKE), @subject the domain */
	GRPC_DETAIL_METADATA = 5, /* ErrorInfo.metadata: @name the key, @text the value */
	GRPC_DETAIL_RETRY = 6,    /* RetryInfo: @delay_usec */
};

struct grpc_detail {
	enum grpc_detail_kind kind;
	const char *name;    /* never NULL; "" where the kind has none */
	const char *subject; /* the same */
	const char *text;    /* the same */
	uint64_t delay_usec;
};

/* The most that is kept: what goes into one header must suit every client's limit (8 KiB in grpcio). */
#define GRPC_DETAILS_MAX      32   /* entries; further ones are dropped */
#define GRPC_DETAILS_TEXT_MAX 512  /* bytes of each string; cut at a character, never within */
#define GRPC_DETAILS_WIRE_MAX 4096 /* bytes encoded; entries from the end are dropped to fit */

struct grpc_details;

struct grpc_details *grpc_details_new(void);          /* NULL without memory */
void grpc_details_free(struct grpc_details *details); /* NULL is fine */

/* Each copies its strings. Without memory, or over GRPC_DETAILS_MAX, the entry is dropped: details are an
 * extra to the status, which always arrives. @details may be NULL. */
void grpc_details_add_field(struct grpc_details *details, const char *field, const char *text);
void grpc_details_add_quota(struct grpc_details *details, const char *subject, const char *text);
void grpc_details_add_precondition(struct grpc_details *details, const char *type,
				   const char *subject, const char *text);
/* One reason a status; a second replaces it. Metadata without a reason is not encoded. */
void grpc_details_set_reason(struct grpc_details *details, const char *reason, const char *domain);
void grpc_details_add_metadata(struct grpc_details *details, const char *key, const char *value);
void grpc_details_set_retry(struct grpc_details *details, uint64_t delay_usec);

size_t grpc_details_count(const struct grpc_details *details); /* 0 for NULL */
const struct grpc_detail *grpc_details_at(const struct grpc_details *details, size_t i);

/* google.rpc.Status of @code, @message and @details, into *ret_bytes for the caller to free.
 * Returns 0 or -ENOMEM. */
int grpc_details_encode(const struct grpc_details *details, enum grpc_code code,
			const char *message, uint8_t **ret_bytes, size_t *ret_n);
/* The reverse. Kinds that are not known are left out. Returns 0, -EBADMSG for bytes that are no such
 * message, -ENOMEM. *ret_details is the caller's to free. */
int grpc_details_decode(const uint8_t *bytes, size_t n, struct grpc_details **ret_details);
