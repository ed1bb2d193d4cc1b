/*
 * A system call filter between its source (berth-sandboxd's built-in table, a JSON document) and its program: a
 * default verdict, and rules by system call. Both daemons read JSON profiles: berthd to refuse one that is
 * wrong when it is handed in, berth-sandboxd to compile it. Only types of libseccomp are used here.
 */
#pragma once

#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/cleanup.h"
#include "proto/err.h"

#define FILTER_RULES_MAX 4096
#define FILTER_JSON_MAX  (64u << 10)

enum filter_verdict {
	FILTER_ALLOW,
	FILTER_LOG,         /* allowed, and said so in the kernel's log */
	FILTER_NOTIFY,      /* refused with errnum by the monitor, which counts it */
	FILTER_ERRNO,       /* refused with errnum by the kernel, silently */
	FILTER_TRAP,        /* SIGSYS */
	FILTER_KILL_THREAD, /* SCMP_ACT_KILL of the JSON profiles */
	FILTER_KILL,        /* the process */
};

struct filter_rule {
	uint32_t nr;
	enum filter_verdict verdict;
	uint16_t errnum; /* of NOTIFY and ERRNO */
	uint16_t arg_count;
	struct scmp_arg_cmp args[6]; /* all must hold, each of another argument */
};

struct filter_profile {
	enum filter_verdict default_verdict;
	uint16_t default_errnum;
	bool ordered; /* the first rule that fits decides; the program is checked by that */
	uint32_t unknown_names;
	size_t count;
	size_t room;
	struct filter_rule *rules;
	char note[200];
};

void filter_profile_free(struct filter_profile *profile);
DEFINE_CLEANUP(struct filter_profile *, filter_profile_free)

struct filter_profile *filter_profile_new(enum filter_verdict default_verdict,
					  uint16_t default_errnum);

/* Append a copy of @rule. ERR_INVALID beyond FILTER_RULES_MAX. */
int filter_profile_add(struct filter_profile *profile, const struct filter_rule *rule,
		       struct err *err);

/* Whose capabilities: docker's profiles open calls by them. */
struct filter_holder {
	bool (*holds)(const void *user, const char *capability); /* "CAP_KILL" */
	const void *user;
};

/*
 * The JSON profile of @length bytes, for a container of @holder, as runc would understand it. On success
 * *ret_profile is the caller's. Takes about a millisecond for FILTER_JSON_MAX.
 *   ERR_INVALID  the JSON is malformed, too large, or asks for what it may not: a listener of its own
 *                (SCMP_ACT_NOTIFY), tracing, or not to allow execve(2)
 */
int filter_read_json(const char *json, size_t length, const struct filter_holder *holder,
		     struct filter_profile **ret_profile, struct err *err);
