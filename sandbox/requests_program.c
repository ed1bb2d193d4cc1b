#include "sandbox/requests_program.h"

#include <errno.h>
#include <string.h>

#include "proto/names.h"

/* The strings of @list and a NULL, as execve(2) takes them. */
static const char *const *with_null(char *const *list, size_t n, struct arena *arena)
{
	const char **copy = arena_alloc(arena, (n + 1) * sizeof(*copy));

	if (!copy)
		return NULL;
	for (size_t i = 0; i < n; i++)
		copy[i] = list[i];
	copy[n] = NULL;
	return copy;
}

static int check_command(const struct program_wish *wish, struct err *err)
{
	if (wish->n_command == 0 || !wish->command[0][0])
		return err_set(err, ERR_INVALID, EINVAL, "command: names no program");
	if (wish->n_command > PROGRAM_ARGS_MAX)
		return err_set(err, ERR_INVALID, E2BIG, "command: %zu words, at most %d",
			       wish->n_command, PROGRAM_ARGS_MAX);
	return 0;
}

static int check_variable(const char *text, struct arena *arena, struct err *err)
{
	const char *equals = strchr(text, '=');
	char quoted[NAME_QUOTED_MAX];
	char *name;

	if (!equals)
		return err_set(err, ERR_INVALID, EINVAL, "env: %s is not NAME=value",
			       names_quote(text, quoted));
	name = arena_strndup(arena, text, (size_t)(equals - text));
	if (!name)
		return err_oom(err);
	return names_check_env(name, equals + 1, err);
}

static int check_env(const struct program_wish *wish, struct arena *arena, struct err *err)
{
	if (wish->n_env > PROGRAM_ENV_MAX)
		return err_set(err, ERR_INVALID, E2BIG, "env: %zu variables, at most %d",
			       wish->n_env, PROGRAM_ENV_MAX);
	for (size_t i = 0; i < wish->n_env; i++) {
		int r = check_variable(wish->env[i], arena, err);

		if (r < 0)
			return err_prefix(err, r, "env");
	}
	return 0;
}

static int check_who(const struct program_wish *wish, const struct policy *policy,
		     uint64_t *capabilities, struct err *err)
{
	struct user_name user;
	int r;

	if (wish->user[0]) {
		r = names_parse_user(wish->user, &user, err);
		if (r < 0)
			return err_prefix(err, r, "user");
	}
	if (wish->n_groups > PROGRAM_GROUPS_MAX)
		return err_set(err, ERR_INVALID, E2BIG, "groups: %zu, at most %d", wish->n_groups,
			       PROGRAM_GROUPS_MAX);
	for (size_t i = 0; i < wish->n_groups; i++) {
		r = names_parse_user(wish->groups[i], &user, err); /* the same words are allowed */
		if (r < 0)
			return err_prefix(err, r, "groups");
	}
	if (wish->n_capabilities > 64)
		return err_set(err, ERR_INVALID, E2BIG, "capabilities: at most 64");
	for (size_t i = 0; i < wish->n_capabilities; i++) {
		r = policy_add_capability(policy, wish->capabilities[i], capabilities, err);
		if (r < 0)
			return err_prefix(err, r, "capabilities");
	}
	return 0;
}

int program_check(const struct program_wish *wish, const struct policy *policy, struct arena *arena,
		  struct program *ret_program, struct err *err)
{
	struct program program = {
		.argv = with_null(wish->command, wish->n_command, arena),
		.env = with_null(wish->env, wish->n_env, arena),
		.working_dir = wish->working_dir,
		.user = wish->user,
		.groups = (const char *const *)wish->groups,
		.group_count = wish->n_groups,
	};
	int r = check_command(wish, err);

	if (r == 0)
		r = check_env(wish, arena, err);
	if (r == 0 && wish->working_dir[0])
		r = err_prefix(err, names_check_path(wish->working_dir, err), "working_dir");
	if (r == 0)
		r = check_who(wish, policy, &program.capabilities, err);
	if (r < 0)
		return r;
	if (!program.argv || !program.env)
		return err_oom(err);
	*ret_program = program;
	return 0;
}
