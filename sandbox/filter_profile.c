#include "sandbox/filter_profile.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "proto/err.h"
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

static bool comparison_holds(const struct scmp_arg_cmp *cmp, uint64_t value)
{
	switch (cmp->op) {
	case SCMP_CMP_NE:
		return value != cmp->datum_a;
	case SCMP_CMP_LT:
		return value < cmp->datum_a;
	case SCMP_CMP_LE:
		return value <= cmp->datum_a;
	case SCMP_CMP_EQ:
		return value == cmp->datum_a;
	case SCMP_CMP_GE:
		return value >= cmp->datum_a;
	case SCMP_CMP_GT:
		return value > cmp->datum_a;
	case SCMP_CMP_MASKED_EQ:
		return (value & cmp->datum_a) == cmp->datum_b;
	default:
		return false;
	}
}

static bool rule_fits(const struct filter_rule *rule, const struct seccomp_data *call)
{
	if (rule->nr != (uint32_t)call->nr)
		return false;
	for (unsigned int i = 0; i < rule->arg_count; i++)
		if (!comparison_holds(&rule->args[i], call->args[rule->args[i].arg]))
			return false;
	return true;
}

struct filter_rule filter_profile_judge(const struct filter_profile *profile,
					const struct seccomp_data *call)
{
	for (size_t i = 0; i < profile->count; i++)
		if (rule_fits(&profile->rules[i], call))
			return profile->rules[i];
	return (struct filter_rule){ .nr = (uint32_t)call->nr,
				     .verdict = profile->default_verdict,
				     .errnum = profile->default_errnum };
}
