#include <stdio.h>
#include <string.h>

#include "agent/workload/canonical.h"
#include "agent/workload/validate.h"
#include "proto/names.h"
#include "proto/signame.h"

#define CONTAINERS_MAX    16
#define SYSCTLS_MAX       32
#define LABELS_MAX        64
#define VOLUMES_MAX       32
#define TMPFS_MIN_BYTES   4096
#define TMPFS_MAX_BYTES   (1ULL << 44)
#define FACTOR_MIN        1000
#define FACTOR_MAX        100000
#define BACKOFF_MAX_MS    86400000
#define DISCONNECT_MIN_MS 1000
#define RULES_MAX         32
#define RULE_CODES_MAX    256
#define RULE_SIGNALS_MAX  64

static void check_containers(const Berth__V1__WorkloadSpec *spec, const struct check *check)
{
	size_t mains = 0;

	if (spec->n_containers == 0 || spec->n_containers > CONTAINERS_MAX) {
		check_wrong(check, "must be 1 to 16", "containers");
		return;
	}
	for (size_t i = 0; i < spec->n_containers; i++) {
		const Berth__V1__Container *container = spec->containers[i];
		char prefix[96];
		const struct check inner = { .fault = check->fault, .prefix = prefix };

		(void)snprintf(prefix, sizeof(prefix), "%s.containers[%zu]", check->prefix, i);
		validate_container(container, spec, &inner);
		if (container->role == BERTH__V1__CONTAINER_ROLE__CONTAINER_ROLE_UNSPECIFIED ||
		    container->role == BERTH__V1__CONTAINER_ROLE__ROLE_MAIN)
			mains++;
		for (size_t j = 0; j < i; j++)
			if (strcmp(spec->containers[j]->name, container->name) == 0)
				check_wrong(&inner, "is given twice", "name");
	}
	if (mains == 0)
		check_wrong(check, "at least one must be a main container", "containers");
}

static void check_rule(const Berth__V1__RestartRule *rule, const struct check *check)
{
	struct err err = { 0 };
	int signal;

	if (rule->action < BERTH__V1__RESTART_ACTION__RULE_RESTART ||
	    rule->action > BERTH__V1__RESTART_ACTION__RULE_FAIL)
		check_wrong(check, "must be RULE_RESTART, RULE_DO_NOT_RESTART or RULE_FAIL",
			    "action");
	if (rule->n_exit_codes == 0 && rule->n_signals == 0 && !rule->oom)
		check_wrong(check, "must name exit_codes, signals or oom", "%s", "");
	if (rule->n_exit_codes > RULE_CODES_MAX)
		check_wrong(check, "at most 256", "exit_codes");
	for (size_t i = 0; i < rule->n_exit_codes && i < RULE_CODES_MAX; i++)
		if (rule->exit_codes[i] > 255)
			check_wrong(check, "must be from 0 to 255", "exit_codes[%zu]", i);
	if (rule->n_signals > RULE_SIGNALS_MAX)
		check_wrong(check, "at most 64", "signals");
	for (size_t i = 0; i < rule->n_signals && i < RULE_SIGNALS_MAX; i++)
		check_result(check, signame_parse(rule->signals[i], &signal, &err), &err,
			     "signals[%zu]", i);
}

static void check_rules(const Berth__V1__RestartPolicy *policy, const struct check *check)
{
	if (policy->n_rules > RULES_MAX) {
		check_wrong(check, "at most 32", "restart.rules");
		return;
	}
	for (size_t i = 0; i < policy->n_rules; i++) {
		char prefix[96];
		const struct check inner = { .fault = check->fault, .prefix = prefix };

		(void)snprintf(prefix, sizeof(prefix), "%s.restart.rules[%zu]", check->prefix, i);
		check_rule(policy->rules[i], &inner);
	}
}

static void check_restart(const Berth__V1__RestartPolicy *policy, const struct check *check)
{
	if (!policy)
		return;
	if (policy->mode > BERTH__V1__RESTART_MODE__RESTART_ALWAYS)
		check_wrong(check, "must be RESTART_NEVER, RESTART_ON_FAILURE or RESTART_ALWAYS",
			    "restart.mode");
	if (policy->_factor_permille_case &&
	    (policy->factor_permille < FACTOR_MIN || policy->factor_permille > FACTOR_MAX))
		check_wrong(check, "must be from 1000 to 100000", "restart.factor_permille");
	if (policy->_initial_backoff_ms_case && policy->initial_backoff_ms > BACKOFF_MAX_MS)
		check_wrong(check, "at most 86400000, a day", "restart.initial_backoff_ms");
	if (policy->_max_backoff_ms_case && policy->max_backoff_ms > BACKOFF_MAX_MS)
		check_wrong(check, "at most 86400000, a day", "restart.max_backoff_ms");
	check_rules(policy, check);
}

static void check_sysctls(const Berth__V1__WorkloadSpec *spec, const struct check *check)
{
	char quoted[NAME_QUOTED_MAX];
	struct err err = { 0 };

	if (spec->n_sysctls > SYSCTLS_MAX) {
		check_wrong(check, "at most 32", "sysctls");
		return;
	}
	for (size_t i = 0; i < spec->n_sysctls; i++) {
		const char *key = spec->sysctls[i]->key;

		check_result(check, names_check_sysctl(key, spec->sysctls[i]->value, NULL, &err),
			     &err, "sysctls[%s]", names_quote(key, quoted));
		for (size_t j = 0; j < i; j++)
			if (strcmp(spec->sysctls[j]->key, key) == 0)
				check_wrong(check, "is given twice", "sysctls[%s]",
					    names_quote(key, quoted));
	}
}

static void check_labels(const Berth__V1__WorkloadSpec *spec, const struct check *check)
{
	char quoted[NAME_QUOTED_MAX];
	struct err err = { 0 };

	if (spec->n_labels > LABELS_MAX) {
		check_wrong(check, "at most 64", "labels");
		return;
	}
	for (size_t i = 0; i < spec->n_labels; i++) {
		const char *key = spec->labels[i]->key;

		check_result(check, names_check_label(key, spec->labels[i]->value, &err), &err,
			     "labels[%s]", names_quote(key, quoted));
		for (size_t j = 0; j < i; j++)
			if (strcmp(spec->labels[j]->key, key) == 0)
				check_wrong(check, "is given twice", "labels[%s]",
					    names_quote(key, quoted));
	}
}

static bool is_tmpfs_size(uint64_t bytes)
{
	return bytes >= TMPFS_MIN_BYTES && bytes <= TMPFS_MAX_BYTES;
}

static void check_volume(const Berth__V1__Volume *volume, const struct check *check, size_t i)
{
	static const char size[] = "must be from 4096 bytes to 16 TiB";
	struct err err = { 0 };
	char field[64];

	check_result(check, names_check_volume(volume->name, &err), &err, "volumes[%zu].name", i);
	switch (volume->source_case) {
	case BERTH__V1__VOLUME__SOURCE_HOST_DIRECTORY:
		check_result(check, names_check_path(volume->host_directory->path, &err), &err,
			     "volumes[%zu].host_directory.path", i);
		break;
	case BERTH__V1__VOLUME__SOURCE_TMPFS:
		if (volume->tmpfs->_size_bytes_case && !is_tmpfs_size(volume->tmpfs->size_bytes))
			check_wrong(check, size, "volumes[%zu].tmpfs.size_bytes", i);
		if (volume->tmpfs->_inodes_case && volume->tmpfs->inodes == 0)
			check_wrong(check, "must be at least 1", "volumes[%zu].tmpfs.inodes", i);
		break;
	case BERTH__V1__VOLUME__SOURCE_EMPTY_DIRECTORY:
		if (volume->empty_directory->_size_bytes_case &&
		    !is_tmpfs_size(volume->empty_directory->size_bytes))
			check_wrong(check, size, "volumes[%zu].empty_directory.size_bytes", i);
		break;
	case BERTH__V1__VOLUME__SOURCE_IMAGE:
		(void)snprintf(field, sizeof(field), "volumes[%zu].image", i);
		validate_image(volume->image->reference, volume->image->pull_policy, field, check);
		break;
	default:
		check_wrong(check, "needs one of host_directory, tmpfs, empty_directory, image",
			    "volumes[%zu]", i);
	}
}

static void check_volumes(const Berth__V1__WorkloadSpec *spec, const struct check *check)
{
	if (spec->n_volumes > VOLUMES_MAX) {
		check_wrong(check, "at most 32", "volumes");
		return;
	}
	for (size_t i = 0; i < spec->n_volumes; i++) {
		check_volume(spec->volumes[i], check, i);
		for (size_t j = 0; j < i; j++)
			if (strcmp(spec->volumes[j]->name, spec->volumes[i]->name) == 0)
				check_wrong(check, "is given twice", "volumes[%zu].name", i);
	}
}

static void check_kinds(const Berth__V1__WorkloadSpec *spec, const struct check *check)
{
	struct err err = { 0 };

	if (spec->band > BERTH__V1__PRIORITY_BAND__BEST_EFFORT)
		check_wrong(check, "must be CRITICAL, PRODUCTION, BATCH or BEST_EFFORT", "band");
	if (spec->network > BERTH__V1__NETWORK__NETWORK_HOST)
		check_wrong(check, "must be NETWORK_PRIVATE or NETWORK_HOST", "network");
	if (spec->user_namespace > BERTH__V1__USER_NAMESPACE__USER_NAMESPACE_HOST)
		check_wrong(check, "must be USER_NAMESPACE_AUTO or USER_NAMESPACE_HOST",
			    "user_namespace");
	if (*spec->hostname) {
		check_result(check, names_check_hostname(spec->hostname, &err), &err, "hostname");
		if (strlen(spec->hostname) > 63)
			check_wrong(check, "at most 63 characters", "hostname");
	}
	if (spec->stop_after_disconnect_ms && spec->stop_after_disconnect_ms < DISCONNECT_MIN_MS)
		check_wrong(check, "must be 0 or at least 1000", "stop_after_disconnect_ms");
}

void validate_spec(const Berth__V1__WorkloadSpec *spec, const char *prefix,
		   struct engine_fault *fault)
{
	const struct check check = { .fault = fault, .prefix = prefix };
	char resources_prefix[96];
	const struct check resources = { .fault = fault, .prefix = resources_prefix };
	struct err err = { 0 };

	if (!spec) {
		check_wrong(&check, "must be given", "%s", "");
		return;
	}
	if (berth__v1__workload_spec__get_packed_size(spec) > SPEC_BYTES_MAX) {
		check_wrong(&check, "is larger than 256 KiB encoded", "%s", "");
		return;
	}
	validate_known(&spec->base, &check);
	check_result(&check, names_check_workload_id(spec->id, &err), &err, "id");
	check_containers(spec, &check);
	check_kinds(spec, &check);
	(void)snprintf(resources_prefix, sizeof(resources_prefix), "%s.resources", prefix);
	validate_resources(spec->resources, &resources);
	check_restart(spec->restart, &check);
	check_sysctls(spec, &check);
	check_labels(spec, &check);
	check_volumes(spec, &check);
}
