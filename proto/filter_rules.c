#include "proto/filter_rules.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "proto/syscall_names.h"

struct filter_profile *filter_profile_new(enum filter_verdict default_verdict,
					  uint16_t default_errnum)
{
	struct filter_profile *profile = calloc(1, sizeof(*profile));

	if (!profile)
		return NULL;
	profile->default_verdict = default_verdict;
	profile->default_errnum = default_errnum;
	return profile;
}

void filter_profile_free(struct filter_profile *profile)
{
	if (!profile)
		return;
	free(profile->rules);
	free(profile);
}

int filter_profile_add(struct filter_profile *profile, const struct filter_rule *rule,
		       struct err *err)
{
	assert(rule->nr <= SYSCALL_NUMBER_NEWEST); /* both sources go by the table of names */
	if (profile->count == FILTER_RULES_MAX)
		return err_set(
			err, ERR_INVALID, E2BIG,
			"seccomp profile has more than %d rules: join names that share an action",
			FILTER_RULES_MAX);
	if (profile->count == profile->room) {
		size_t room = profile->room ? 2 * profile->room : 512;
		struct filter_rule *rules = reallocarray(profile->rules, room,
							 sizeof(*profile->rules));

		if (!rules)
			return err_oom(err);
		profile->rules = rules;
		profile->room = room;
	}
	profile->rules[profile->count++] = *rule;
	return 0;
}
