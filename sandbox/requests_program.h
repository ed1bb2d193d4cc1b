/*
 * What Launch and Exec have in common: a program, its environment and who it runs as, checked.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/arena.h"
#include "proto/err.h"
#include "sandbox/identity.h"
#include "sandbox/policy.h"

#define PROGRAM_ARGS_MAX   4096
#define PROGRAM_ENV_MAX    4096
#define PROGRAM_GROUPS_MAX IDENTITY_GROUPS_MAX

/* As it came. */
struct program_wish {
	char *const *command;
	size_t n_command;
	char *const *env;
	size_t n_env;
	const char *working_dir;
	const char *user;
	char *const *groups;
	size_t n_groups;
	char *const *capabilities;
	size_t n_capabilities;
};

/* Checked; the texts stay the request's, the arrays are the arena's. */
struct program {
	const char *const *argv;
	const char *const *env;
	const char *working_dir;
	const char *user;
	const char *const *groups;
	size_t group_count;
	uint64_t capabilities;
};

/* ERR_INVALID with the field's name first; ERR_DENIED for a capability that policy does not grant. */
int program_check(const struct program_wish *wish, const struct policy *policy, struct arena *arena,
		  struct program *ret_program, struct err *err);
