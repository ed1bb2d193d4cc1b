#include <stdio.h>
#include <string.h>

#include "agent/image/reference.h"
#include "agent/workload/canonical.h"
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
#define WRITABLE_MIN_BYTES  (1ULL << 20)
#define WRITABLE_MAX_BYTES  (1ULL << 44)
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

/* Returns how many bytes they are. */
static size_t check_strings(char *const *strings, size_t n, const char *field,
			    const struct check *check)
{
	size_t bytes = 0;

	for (size_t i = 0; i < n; i++) {
		bytes += strlen(strings[i]) + 1;
		if (has_control(strings[i]))
			check_wrong(check,
				    "must be UTF-8 without control characters but newline and tab",
				    "%s[%zu]", field, i);
	}
	return bytes;
}

static void check_program(const char *program, const struct check *check)
{
	struct err err = { 0 };

	if (!*program)
		check_wrong(check, "must name a program", "command");
	if (strchr(program, '/'))
		check_result(check, names_check_path(program, &err), &err, "command[0]");
}

static void check_command(char *const *command, size_t n, char *const *args, size_t n_args,
			  const struct check *check)
{
	size_t bytes;

	if (n + n_args > COMMAND_ENTRIES_MAX) {
		check_wrong(check, "at most 1024 entries", n_args ? "args" : "command");
		return;
	}
	bytes = check_strings(command, n, "command", check) +
		check_strings(args, n_args, "args", check);
	if (bytes > COMMAND_BYTES_MAX)
		check_wrong(check, "at most 128 KiB together", n_args ? "args" : "command");
	if (n > 0)
		check_program(command[0], check);
}

void validate_command(char *const *command, size_t n, const struct check *check)
{
	if (n == 0)
		check_wrong(check, "must name a program", "command");
	check_command(command, n, NULL, 0, check);
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

void validate_image(const char *reference, Berth__V1__PullPolicy policy, const char *field,
		    const struct check *check)
{
	struct reference parsed;
	struct err err = { 0 };

	check_result(check, reference_parse(reference, &parsed, &err), &err, "%s.reference", field);
	if (policy > BERTH__V1__PULL_POLICY__PULL_NEVER)
		check_wrong(check, "must be PULL_IF_NOT_PRESENT, PULL_ALWAYS or PULL_NEVER",
			    "%s.pull_policy", field);
}

static void check_image(const Berth__V1__ImageRoot *image, bool writable, const struct check *check)
{
	validate_image(image->reference, image->pull_policy, "root.image", check);
	if (image->_writable_bytes_case && (image->writable_bytes < WRITABLE_MIN_BYTES ||
					    image->writable_bytes > WRITABLE_MAX_BYTES))
		check_wrong(check, "must be from 1 MiB to 16 TiB", "root.image.writable_bytes");
	if (image->_writable_inodes_case && image->writable_inodes < WRITABLE_MIN_INODES)
		check_wrong(check, "must be at least 64", "root.image.writable_inodes");
	if ((image->_writable_bytes_case || image->_writable_inodes_case) && !writable)
		check_wrong(check, "must be set where there is a limit of what is written",
			    "root.writable");
}

static void check_root(const Berth__V1__RootFilesystem *root, const struct check *check)
{
	struct err err = { 0 };

	switch (root ? root->source_case : BERTH__V1__ROOT_FILESYSTEM__SOURCE__NOT_SET) {
	case BERTH__V1__ROOT_FILESYSTEM__SOURCE_DIRECTORY:
		check_result(check, names_check_path(root->directory, &err), &err,
			     "root.directory");
		break;
	case BERTH__V1__ROOT_FILESYSTEM__SOURCE_IMAGE:
		check_image(root->image, root->writable, check);
		break;
	default:
		check_wrong(check, "must be given, or root.image", "root.directory");
	}
}

/* Relative and in its only spelling: as if it were absolute. */
static int check_sub_path(const char *path, struct err *err)
{
	char absolute[NAME_PATH_MAX + 2];

	if ((size_t)snprintf(absolute, sizeof(absolute), "/%s", path) >= sizeof(absolute))
		return err_set(err, ERR_INVALID, 22, "is longer than %d bytes", NAME_PATH_MAX);
	return names_check_path(absolute, err);
}

static const Berth__V1__Volume *find_volume(const Berth__V1__WorkloadSpec *spec, const char *name)
{
	for (size_t i = 0; i < spec->n_volumes; i++)
		if (strcmp(spec->volumes[i]->name, name) == 0)
			return spec->volumes[i];
	return NULL;
}

static void check_target(const char *target, const struct check *check, const char *field)
{
	static const char *const ours[] = { "/proc", "/sys", "/dev" };
	struct err err = { 0 };
	int r = names_check_path(target, &err);

	check_result(check, r, &err, "%s", field);
	if (r < 0)
		return;
	if (strcmp(target, "/") == 0)
		check_wrong(check, "must not be the root", "%s", field);
	for (size_t j = 0; j < ARRAY_SIZE(ours); j++)
		if (names_path_is_below(target, ours[j]))
			check_wrong(check, "must not be at or below /proc, /sys or /dev", "%s",
				    field);
}

static void check_mounts(const Berth__V1__Container *container, const Berth__V1__WorkloadSpec *spec,
			 const struct check *check)
{
	const Berth__V1__Volume *volume;
	struct err err = { 0 };
	char field[48];

	if (container->n_mounts > MOUNTS_MAX) {
		check_wrong(check, "at most 64", "mounts");
		return;
	}
	for (size_t i = 0; i < container->n_mounts; i++) {
		const Berth__V1__Mount *mount = container->mounts[i];

		volume = find_volume(spec, mount->volume);
		if (!volume)
			check_wrong(check, "is none of the workload's volumes",
				    "mounts[%zu].volume", i);
		else if (*mount->sub_path && volume->source_case == BERTH__V1__VOLUME__SOURCE_IMAGE)
			check_wrong(check, "an image is mounted whole", "mounts[%zu].sub_path", i);
		(void)snprintf(field, sizeof(field), "mounts[%zu].target", i);
		check_target(mount->target, check, field);
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
	if (container->n_command == 0 &&
	    !(container->root &&
	      container->root->source_case == BERTH__V1__ROOT_FILESYSTEM__SOURCE_IMAGE))
		check_wrong(check, "must name a program", "command");
	check_command(container->command, container->n_command, container->args, container->n_args,
		      check);
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

void validate_run(const Berth__V1__Container *run, size_t n_own, const struct check *check)
{
	struct err err = { 0 };
	int signal;

	validate_command(run->command, run->n_command, check);
	validate_env(run->env, run->n_env, check);
	validate_identity(run->identity, check);
	check_result(check, names_check_path(run->working_dir, &err), &err, "working directory");
	check_result(check, signame_parse(run->stop_signal, &signal, &err), &err, "stop signal");
	if (run->n_mounts > MOUNTS_MAX)
		check_wrong(check, "at most 64 with the container's mounts", "volumes");
	for (size_t i = n_own; i < run->n_mounts && i < MOUNTS_MAX; i++)
		check_target(run->mounts[i]->target, check, "volumes");
}
