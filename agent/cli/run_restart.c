#include "agent/cli/run_restart.h"

#include <ctype.h>
#include <string.h>

#include "agent/cli/cli.h"
#include "proto/quantity.h"

static int add_code(Berth__V1__RestartRule *rule, const char *text, struct arena *arena)
{
	uint32_t *codes = arena_alloc(arena, (rule->n_exit_codes + 1) * sizeof(*codes));
	struct err err = { 0 };
	uint64_t code;

	if (!codes)
		return cli_fail(CLI_FAILED, "out of memory");
	if (quantity_parse_decimal(text, 0, 255, &code, &err) < 0)
		return cli_fail_usage(&err, "--restart-rule");
	if (rule->n_exit_codes)
		memcpy(codes, rule->exit_codes, rule->n_exit_codes * sizeof(*codes));
	codes[rule->n_exit_codes++] = (uint32_t)code;
	rule->exit_codes = codes;
	return 0;
}

static int add_end(Berth__V1__RestartRule *rule, char *text, struct arena *arena)
{
	if (strcmp(text, "oom") == 0) {
		rule->oom = true;
		return 0;
	}
	if (isdigit((unsigned char)text[0]))
		return add_code(rule, text, arena);
	if (arena_append(arena, &rule->signals, &rule->n_signals, text) < 0)
		return cli_fail(CLI_FAILED, "out of memory");
	return 0;
}

static int find_action(const char *name, Berth__V1__RestartAction *ret)
{
	static const struct {
		const char *name;
		Berth__V1__RestartAction action;
	} actions[] = { { "restart", BERTH__V1__RESTART_ACTION__RULE_RESTART },
			{ "stop", BERTH__V1__RESTART_ACTION__RULE_DO_NOT_RESTART },
			{ "fail", BERTH__V1__RESTART_ACTION__RULE_FAIL } };

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (strcmp(actions[i].name, name) == 0) {
			*ret = actions[i].action;
			return 0;
		}
	return -1;
}

int run_restart_take_rule(Berth__V1__RestartPolicy *policy, const char *text, struct arena *arena)
{
	Berth__V1__RestartRule *rule = arena_message(arena, &berth__v1__restart_rule__descriptor);
	char *ends = arena_strdup(arena, text);
	char *action = ends ? strrchr(ends, '=') : NULL;
	char *rest = NULL;
	int code = 0;

	if (!rule || !ends)
		return cli_fail(CLI_FAILED, "out of memory");
	if (!action || find_action(action + 1, &rule->action) < 0)
		return cli_fail(
			CLI_USAGE,
			"--restart-rule %s: expected ENDS=restart, ENDS=stop or ENDS=fail, as in 3,SEGV,oom=fail",
			text);
	*action = '\0';
	for (char *end = strtok_r(ends, ",", &rest); end && code == 0;
	     end = strtok_r(NULL, ",", &rest))
		code = add_end(rule, end, arena);
	if (code == 0 && arena_append(arena, &policy->rules, &policy->n_rules, rule) < 0)
		return cli_fail(CLI_FAILED, "out of memory");
	return code;
}
