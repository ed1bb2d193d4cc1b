#include "sandbox/filter_profile.h"

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
