/* What this host cannot enforce is refused before anything is made; what its policy forbids too. The
 * words of features are those of berth-sandboxd's Hello. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/workload/validate.h"
#include "proto/names.h"

static int cannot(struct engine_fault *fault, struct err *err, const char *what, const char *whose,
		  const char *why)
{
	fault->reason = FAULT_HOST_CANNOT;
	return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP, "%s of %s cannot be enforced here: %s",
		       what, whose, why && *why ? why : "this host lacks it");
}

static int forbidden(struct engine_fault *fault, struct err *err, const char *what,
		     const char *setting)
{
	fault->reason = FAULT_POLICY;
	return err_set(err, ERR_DENIED, EPERM,
		       "the policy of this host does not allow %s (see %s in its policy file)",
		       what, setting);
}

int supported_resources(const Berth__V1__Resources *resources, const char *whose,
			const struct host *host, struct engine_fault *fault, struct err *err)
{
	const Berth__V1__Resources *r = resources;
	const char *why = NULL;

	if (!r)
		return 0;
	const struct {
		bool asked;
		const char *feature;
		const char *field;
	} needs[] = {
		{ r->_memory_high_bytes_case, "cgroup.memory.high", "memory_high_bytes" },
		{ r->_memory_low_bytes_case, "cgroup.memory.low", "memory_low_bytes" },
		{ r->_memory_swap_bytes_case && r->memory_swap_bytes, "cgroup.memory.swap",
		  "memory_swap_bytes" },
		{ r->_cpu_burst_us_case && r->cpu_burst_us, "cgroup.cpu.burst", "cpu_burst_us" },
		{ *r->cpuset_cpus != '\0', "cgroup.cpuset", "cpuset_cpus" },
		{ *r->cpuset_mems != '\0', "cgroup.cpuset", "cpuset_mems" },
		{ r->_io_weight_case, "cgroup.io.weight", "io_weight" },
		{ r->n_io_limits > 0, "cgroup.io.max", "io_limits" },
	};

	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
		if (needs[i].asked && !host_has(host, needs[i].feature, &why))
			return cannot(fault, err, needs[i].field, whose, why);
	return 0;
}

static bool is_listed(char *const *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		size_t length = strlen(list[i]);

		if (strcmp(list[i], name) == 0)
			return true;
		/* "net.ipv4.ip_local_*" stands for all that begin so. */
		if (length && list[i][length - 1] == '*' && strncmp(list[i], name, length - 1) == 0)
			return true;
	}
	return false;
}

/* The host's policy may name them with CAP_, the contract does without. */
static bool is_grantable(const Berth__Sandbox__V1__HelloResult *hello, const char *name)
{
	for (size_t i = 0; i < hello->n_grantable_capabilities; i++)
		if (strcasecmp(names_bare_capability(hello->grantable_capabilities[i]), name) == 0)
			return true;
	return false;
}

int supported_capabilities(const Berth__V1__Identity *identity, const char *whose,
			   const struct host *host, struct engine_fault *fault, struct err *err)
{
	const Berth__Sandbox__V1__HelloResult *hello = host->hello;

	for (size_t i = 0; identity && hello && i < identity->n_capabilities; i++) {
		const char *name = identity->capabilities[i];

		if (is_grantable(hello, name))
			continue;
		fault->reason = FAULT_POLICY;
		return err_set(
			err, ERR_DENIED, EPERM,
			"%s may not have the capability %s (GetNode lists those it may have)",
			whose, name);
	}
	return 0;
}

static int check_container(const Berth__V1__Container *container, const struct host *host,
			   struct engine_fault *fault, struct err *err)
{
	const Berth__V1__Sandbox *sandbox = container->sandbox;
	char whose[96];
	int r;

	(void)snprintf(whose, sizeof(whose), "container %s", container->name);
	r = supported_resources(container->resources, whose, host, fault, err);
	if (r < 0)
		return r;
	r = supported_capabilities(container->identity, whose, host, fault, err);
	if (r < 0)
		return r;
	if (host->hello && !host->hello->allow_unconfined && sandbox &&
	    sandbox->profile_case == BERTH__V1__SANDBOX__PROFILE_BUILTIN &&
	    strcmp(sandbox->builtin, "unconfined") == 0)
		return forbidden(fault, err, "unconfined containers", "AllowUnconfined");
	return 0;
}

static int check_sysctls(const Berth__V1__WorkloadSpec *spec, const struct host *host,
			 struct engine_fault *fault, struct err *err)
{
	const Berth__Sandbox__V1__HelloResult *hello = host->hello;

	for (size_t i = 0; hello && i < spec->n_sysctls; i++) {
		const char *key = spec->sysctls[i]->key;

		if (is_listed(hello->allowed_sysctls, hello->n_allowed_sysctls, key))
			continue;
		fault->reason = FAULT_POLICY;
		return err_set(
			err, ERR_DENIED, EPERM,
			"sysctl %s may not be set on this host (GetNode lists those that may)",
			key);
	}
	return 0;
}

int supported_spec(const Berth__V1__WorkloadSpec *spec, const struct host *host,
		   struct engine_fault *fault, struct err *err)
{
	const Berth__Sandbox__V1__HelloResult *hello = host->hello;
	int r;

	if (hello && !hello->allow_host_network &&
	    spec->network == BERTH__V1__NETWORK__NETWORK_HOST)
		return forbidden(fault, err, "the host's network", "AllowHostNetwork");
	if (hello && !hello->allow_host_ids &&
	    spec->user_namespace == BERTH__V1__USER_NAMESPACE__USER_NAMESPACE_HOST)
		return forbidden(fault, err, "the host's own ids", "AllowHostIds");
	r = supported_resources(spec->resources, "the workload", host, fault, err);
	if (r < 0)
		return r;
	r = check_sysctls(spec, host, fault, err);
	for (size_t i = 0; r >= 0 && i < spec->n_containers; i++)
		r = check_container(spec->containers[i], host, fault, err);
	return r;
}
