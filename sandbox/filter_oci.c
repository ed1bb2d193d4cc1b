/*
 * JSON profiles, whose denials are made countable. An errno becomes a notification only where the call's
 * number alone tells the errno, since the monitor's answer may not depend on which of two overlapping
 * rules the program met: the default's errno, and a call's own where all its rules agree. The others
 * stay silent errnos.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sandbox/filter_profile.h"
#include "sandbox/identity.h"

/* Whether the number of the call tells the errno of @rule, so that the monitor can. */
static bool errno_is_certain(const struct filter_profile *profile, const struct filter_rule *rule)
{
	if (rule->errnum == ENOSYS) /* "absent", not "denied": nothing to count */
		return false;
	if (rule->arg_count == 0)
		return true;
	if (profile->default_verdict == FILTER_NOTIFY)
		return false; /* where no comparison holds the default's errno is the answer */
	for (size_t i = 0; i < profile->count; i++) {
		const struct filter_rule *other = &profile->rules[i];

		if (other->nr == rule->nr && other->verdict == FILTER_ERRNO &&
		    other->errnum != rule->errnum)
			return false;
	}
	return true;
}

static void make_countable(struct filter_profile *profile)
{
	bool countable[FILTER_RULES_MAX];
	unsigned int silent = 0;

	if (profile->default_verdict == FILTER_ERRNO && profile->default_errnum != ENOSYS)
		profile->default_verdict = FILTER_NOTIFY;
	for (size_t i = 0; i < profile->count; i++) {
		const struct filter_rule *rule = &profile->rules[i];

		countable[i] = rule->verdict == FILTER_ERRNO && errno_is_certain(profile, rule);
		silent += rule->verdict == FILTER_ERRNO && rule->errnum != ENOSYS && !countable[i];
	}
	for (size_t i = 0; i < profile->count; i++) {
		struct filter_rule *rule = &profile->rules[i];

		if (countable[i])
			rule->verdict = FILTER_NOTIFY;
	}
	if (silent > 0 && !profile->note[0])
		(void)snprintf(
			profile->note, sizeof(profile->note),
			"%u rules with arguments stay uncounted: their call has several errnos",
			silent);
}

/* Of the bits of a set, by capabilities(7). */
static bool holds(const void *user, const char *name)
{
	const uint64_t *capabilities = user;

	for (unsigned int i = 0; i < 64; i++) {
		const char *known = identity_capability_name(i);

		if (known && strcmp(name, known) == 0)
			return *capabilities >> i & 1;
	}
	return false;
}

int filter_oci_profile(const struct filter_request *request, struct filter_profile **ret_profile,
		       struct err *err)
{
	const struct filter_holder holder = { .holds = holds, .user = &request->capabilities };
	int r = filter_read_json(request->json, request->json_length, &holder, ret_profile, err);

	if (r == 0)
		make_countable(*ret_profile);
	return r;
}
