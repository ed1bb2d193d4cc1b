/*
 * What a refusal holds beyond its sentence, for programs: every wrong field, every resource that is
 * short, a reason word and the numbers behind it. Faces turn it into google.rpc details.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/arena.h"
#include "proto/err.h"

#define FAULT_FIELDS_MAX  32
#define FAULT_QUOTAS_MAX  4
#define FAULT_NUMBERS_MAX 6

/* Reasons: the ErrorInfo.reason of an answer. */
#define FAULT_STALE_EPOCH      "STALE_EPOCH"      /* numbers: epoch, highest_epoch */
#define FAULT_STALE_GENERATION "STALE_GENERATION" /* numbers: generation, highest_generation */
#define FAULT_SPEC_DIFFERS     "SPEC_DIFFERS"     /* the same generation with another spec */
#define FAULT_DRAINING         "DRAINING"
#define FAULT_NOT_ENDED        "NOT_ENDED"    /* Delete without force of what still runs */
#define FAULT_NOT_RUNNING      "NOT_RUNNING"  /* Signal, Pause, Exec of what does not run */
#define FAULT_START_FAILED     "START_FAILED" /* Exec of a program that cannot be started */
#define FAULT_ENDED            "ENDED"        /* a change to a workload whose record is final */
#define FAULT_STUCK            "STUCK"        /* its processes cannot be killed */
#define FAULT_SUPERSEDED       "SUPERSEDED" /* a later command overtook this one while it waited */
#define FAULT_NO_ROOM          "NO_ROOM"    /* admission; quotas say what */
#define FAULT_SANDBOX_AWAY     "SANDBOX_AWAY"    /* berth-sandboxd is not connected */
#define FAULT_RELEASES_DIFFER  "RELEASES_DIFFER" /* the daemons are of different releases */
#define FAULT_HOST_CANNOT      "HOST_CANNOT"     /* this host cannot enforce what the spec asks */
#define FAULT_POLICY           "POLICY"          /* the host's policy forbids what the spec asks */
#define FAULT_IN_USE           "IN_USE"          /* RemoveImage of one that a workload runs from */
#define FAULT_EVENTS_TOO_OLD   "EVENTS_TOO_OLD"  /* numbers: oldest, newest */
#define FAULT_EVENTS_UNKNOWN   "EVENTS_UNKNOWN"  /* another instance, or a number of the future */
#define FAULT_STORE_FAILED     "STORE_FAILED"    /* the intent could not be made durable */

struct fault_field {
	const char *path; /* "spec.containers[1].env[\"A B\"]" */
	const char *text; /* what is wrong and what is allowed */
};

struct fault_quota {
	const char *resource; /* "cpu", "memory", "pids", "workloads" */
	const char *unit;     /* "millicores", "bytes", "" */
	uint64_t asked;
	uint64_t left;
};

struct fault_number {
	const char *key;
	uint64_t value;
};

struct engine_fault {
	const char *reason; /* one of FAULT_*, or NULL */
	struct fault_field fields[FAULT_FIELDS_MAX];
	size_t n_fields;
	size_t n_fields_dropped; /* beyond FAULT_FIELDS_MAX */
	struct fault_quota quotas[FAULT_QUOTAS_MAX];
	size_t n_quotas;
	struct fault_number numbers[FAULT_NUMBERS_MAX];
	size_t n_numbers;
	struct arena arena; /* the texts of @fields */
};

void engine_fault_init(struct engine_fault *fault);
void engine_fault_done(struct engine_fault *fault);
/* All that @from says, into @to, which says nothing yet. */
void engine_fault_copy(struct engine_fault *to, const struct engine_fault *from);

#define cleanup_fault cleanup(engine_fault_done)

/* A wrong field. Over FAULT_FIELDS_MAX, or without memory, it is only counted. */
void engine_fault_add_field(struct engine_fault *fault, const char *path, const char *text);
void engine_fault_add_quota(struct engine_fault *fault, const struct fault_quota *quota);
void engine_fault_add_number(struct engine_fault *fault, const char *key, uint64_t value);

/*
 * When @fault has wrong fields: fill @err with ERR_INVALID and a sentence of the first one and how many
 * more there are, and return -EINVAL; else 0.
 */
int engine_fault_check_fields(const struct engine_fault *fault, struct err *err);
