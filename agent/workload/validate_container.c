#include <stdio.h>
#include <string.h>

#include "agent/workload/validate.h"
#include "proto/cleanup.h"
#include "proto/filter_rules.h"
#include "proto/names.h"
#include "proto/signame.h"
#include "proto/utf8.h"

#define COMMAND_ENTRIES_MAX 1024
#define COMMAND_BYTES_MAX   (128U * 1024)
#define ENV_MAX             1024
#define GROUPS_MAX          64
#define CAPABILITIES_MAX    64
#define MOUNTS_MAX          64
#define STOP_GRACE_MAX_MS   3600000

/* Arguments are the program's own business, but control characters in a command are an attack on who
 * reads it in a log more often than a need: tab and newline, which scripts in -c have, are allowed. */
static bool has_control(const char *text)
{
	size_t length = strlen(text);
	size_t taken;

	for (size_t i = 0; i < length; i += taken) {
		int32_t code = utf8_decode(text + i, length - i, &taken);

		if (code < 0)
			return true;
		if (utf8_is_control(code) && code != '\n' && code != '\t')
			return true;
	}
	return false;
}

void validate_command(char *const *command, size_t n, const struct check *check)
{
	size_t bytes = 0;

	if (n == 0 || !*command[0])
		check_wrong(check, "must name a program", "command");
	if (n > COMMAND_ENTRIES_MAX) {
		check_wrong(check, "at most 1024 entries", "command");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		bytes += strlen(command[i]) + 1;
		if (has_control(command[i]))
			check_wrong(check,
				    "must be UTF-8 without control characters but newline and tab",
				    "command[%zu]", i);
	}
	if (bytes > COMMAND_BYTES_MAX)
		check_wrong(check, "at most 128 KiB together", "command");
	if (n > 0 && strchr(command[0], '/')) {
		struct err err = { 0 };

		check_result(check, names_check_path(command[0], &err), &err, "command[0]");
	}
}

void validate_env(Berth__V1__Container__EnvEntry *const *env, size_t n, const struct check *check)
{
	char quoted[NAME_QUOTED_MAX];
	struct err err = { 0 };

	if (n > ENV_MAX) {
		check_wrong(check, "at most 1024 variables", "env");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		check_result(check, names_check_env(env[i]->key, env[i]->value, &err), &err,
			     "env[%s]", names_quote(env[i]->key, quoted));
		for (size_t j = 0; j < i; j++)
			if (strcmp(env[j]->key, env[i]->key) == 0) {
				check_wrong(check, "is given twice", "env[%s]",
					    names_quote(env[i]->key, quoted));
				break;
			}
	}
}

static bool is_capability(const char *name)
{
	size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");

	return n > 0 && n <= 32 && name[n] == '\0' && strncmp(name, "CAP_", 4) != 0;
}

void validate_identity(const Berth__V1__Identity *identity, const struct check *check)
{
	struct user_name user;
	struct err err = { 0 };

	if (!identity)
		return;
	if (*identity->user)
		check_result(check, names_parse_user(identity->user, &user, &err), &err, "user");
	if (identity->n_groups > GROUPS_MAX)
		check_wrong(check, "at most 64", "groups");
	for (size_t i = 0; i < identity->n_groups && i < GROUPS_MAX; i++) {
		if (strchr(identity->groups[i], ':'))
			check_wrong(check, "must be one group: a number or a name", "groups[%zu]",
				    i);
		else
			check_result(check, names_parse_user(identity->groups[i], &user, &err),
				     &err, "groups[%zu]", i);
	}
	if (identity->n_capabilities > CAPABILITIES_MAX)
		check_wrong(check, "at most 64", "capabilities");
	for (size_t i = 0; i < identity->n_capabilities && i < CAPABILITIES_MAX; i++)
		if (!is_capability(identity->capabilities[i]))
			check_wrong(check, "must be a capability without CAP_: NET_BIND_SERVICE",
				    "capabilities[%zu]", i);
}

static void check_root(const Berth__V1__RootFilesystem *root, const struct check *check)
{
	struct err err = { 0 };

	if (!root || root->source_case != BERTH__V1__ROOT_FILESYSTEM__SOURCE_DIRECTORY)
		check_wrong(check, "must be given", "root.directory");
	else
		check_result(check, names_check_path(root->directory, &err), &err,
			     "root.directory");
}

/* Relative and in its only spelling: as if it were absolute. */
static int check_sub_path(const char *path, struct err *err)
{
	char absolute[NAME_PATH_MAX + 2];

	if ((size_t)snprintf(absolute, sizeof(absolute), "/%s", path) >= sizeof(absolute))
		return err_set(err, ERR_INVALID, 22, "is longer than %d bytes", NAME_PATH_MAX);
	return names_check_path(absolute, err);
}

static bool has_volume(const Berth__V1__WorkloadSpec *spec, const char *name)
{
	for (size_t i = 0; i < spec->n_volumes; i++)
		if (strcmp(spec->volumes[i]->name, name) == 0)
			return true;
	return false;
}

static void check_target(const Berth__V1__Mount *mount, const struct check *check, size_t i)
{
	static const char *const ours[] = { "/proc", "/sys", "/dev" };
	struct err err = { 0 };
	int r = names_check_path(mount->target, &err);

	check_result(check, r, &err, "mounts[%zu].target", i);
	if (r < 0)
		return;
	if (strcmp(mount->target, "/") == 0)
		check_wrong(check, "must not be the root", "mounts[%zu].target", i);
	for (size_t j = 0; j < ARRAY_SIZE(ours); j++)
		if (names_path_is_below(mount->target, ours[j]))
			check_wrong(check, "must not be at or below /proc, /sys or /dev",
				    "mounts[%zu].target", i);
}

static void check_mounts(const Berth__V1__Container *container, const Berth__V1__WorkloadSpec *spec,
			 const struct check *check)
{
	struct err err = { 0 };

	if (container->n_mounts > MOUNTS_MAX) {
		check_wrong(check, "at most 64", "mounts");
		return;
	}
	for (size_t i = 0; i < container->n_mounts; i++) {
		const Berth__V1__Mount *mount = container->mounts[i];

		if (!has_volume(spec, mount->volume))
			check_wrong(check, "is none of the workload's volumes",
				    "mounts[%zu].volume", i);
		check_target(mount, check, i);
		if (*mount->sub_path)
			check_result(check, check_sub_path(mount->sub_path, &err), &err,
				     "mounts[%zu].sub_path", i);
		for (size_t j = 0; j < i; j++)
			if (strcmp(container->mounts[j]->target, mount->target) == 0)
				check_wrong(check, "is given twice", "mounts[%zu].target", i);
	}
}

/* Profiles name them with CAP_, the contract does without. */
static bool holds_capability(const void *user, const char *capability)
{
	const Berth__V1__Identity *identity = user;

	for (size_t i = 0; identity && i < identity->n_capabilities; i++)
		if (strcmp(identity->capabilities[i], names_bare_capability(capability)) == 0)
			return true;
	return false;
}

static void check_profile(const char *json, const Berth__V1__Identity *identity,
			  const struct check *check)
{
	const struct filter_holder holder = { .holds = holds_capability, .user = identity };
	cleanup(filter_profile_free_p) struct filter_profile *profile = NULL;
	struct err err = { 0 };

	if (!*json)
		check_wrong(check, "must not be empty", "sandbox.oci_seccomp_json");
	else if (strlen(json) > FILTER_JSON_MAX)
		check_wrong(check, "at most 64 KiB", "sandbox.oci_seccomp_json");
	else
		check_result(check, filter_read_json(json, strlen(json), &holder, &profile, &err),
			     &err, "sandbox.oci_seccomp_json");
}

static void check_sandbox(const Berth__V1__Sandbox *sandbox, const Berth__V1__Identity *identity,
			  const struct check *check)
{
	if (!sandbox)
		return;
	if (sandbox->profile_case == BERTH__V1__SANDBOX__PROFILE_BUILTIN && *sandbox->builtin &&
	    strcmp(sandbox->builtin, "default") != 0 && strcmp(sandbox->builtin, "unconfined") != 0)
		check_wrong(check, "must be \"default\" or \"unconfined\"", "sandbox.builtin");
	if (sandbox->profile_case == BERTH__V1__SANDBOX__PROFILE_OCI_SECCOMP_JSON)
		check_profile(sandbox->oci_seccomp_json, identity, check);
}

static void check_log(const Berth__V1__LogPolicy *log, const struct check *check)
{
	if (!log)
		return;
	if (log->_max_file_bytes_case &&
	    (log->max_file_bytes < (64U << 10) || log->max_file_bytes > (1U << 30)))
		check_wrong(check, "must be from 64 KiB to 1 GiB", "log.max_file_bytes");
	if (log->_max_files_case && (log->max_files < 1 || log->max_files > 100))
		check_wrong(check, "must be from 1 to 100", "log.max_files");
}

static void check_stop(const Berth__V1__Container *container, const struct check *check)
{
	struct err err = { 0 };
	int signal;

	if (*container->stop_signal)
		check_result(check, signame_parse(container->stop_signal, &signal, &err), &err,
			     "stop_signal");
	if (container->_stop_grace_ms_case && container->stop_grace_ms > STOP_GRACE_MAX_MS)
		check_wrong(check, "at most 3,600,000", "stop_grace_ms");
}

void validate_container(const Berth__V1__Container *container, const Berth__V1__WorkloadSpec *spec,
			const struct check *check)
{
	char prefix[128];
	const struct check identity = { .fault = check->fault, .prefix = prefix };
	struct err err = { 0 };

	check_result(check, names_check_container(container->name, &err), &err, "name");
	if (container->role > BERTH__V1__CONTAINER_ROLE__ROLE_SIDECAR)
		check_wrong(check, "must be ROLE_MAIN, ROLE_INIT or ROLE_SIDECAR", "role");
	check_root(container->root, check);
	validate_command(container->command, container->n_command, check);
	validate_env(container->env, container->n_env, check);
	if (*container->working_dir)
		check_result(check, names_check_path(container->working_dir, &err), &err,
			     "working_dir");
	(void)snprintf(prefix, sizeof(prefix), "%s.identity", check->prefix);
	validate_identity(container->identity, &identity);
	(void)snprintf(prefix, sizeof(prefix), "%s.resources", check->prefix);
	validate_resources(container->resources, &identity);
	check_mounts(container, spec, check);
	check_sandbox(container->sandbox, container->identity, check);
	check_log(container->log, check);
	check_stop(container, check);
	validate_probes(container, check);
}
