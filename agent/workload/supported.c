/* What this host cannot enforce is refused before anything is made; what its policy forbids too. The
 * words of features are those of berth-sandboxd's Hello. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "agent/image/provider.h"
#include "agent/workload/validate.h"
#include "proto/names.h"

/* "@what of @whose", the field @what of what @check is about. */
static int cannot(const struct check *check, struct err *err, const char *what, const char *whose,
		  const char *why)
{
	check->fault->reason = FAULT_HOST_CANNOT;
	check_wrong(check, "cannot be enforced on this host", "%s", what);
	return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP, "%s of %s cannot be enforced here: %s",
		       what, whose, why && *why ? why : "this host lacks it");
}

static int forbidden(const struct check *check, struct err *err, const char *field, const char *fmt,
		     ...) __attribute__((format(printf, 4, 5)));

static int forbidden(const struct check *check, struct err *err, const char *field, const char *fmt,
		     ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = err_setv(err, ERR_DENIED, EPERM, fmt, ap);
	va_end(ap);
	check->fault->reason = FAULT_POLICY;
	check_wrong(check, "is not allowed by this host's policy", "%s", field);
	return r;
}

static int not_allowed(const struct check *check, struct err *err, const char *field,
		       const char *what, const char *setting)
{
	return forbidden(check, err, field,
			 "the policy of this host does not allow %s (see %s in its policy file)",
			 what, setting);
}

int supported_resources(const Berth__V1__Resources *resources, const char *whose,
			const struct check *check, const struct host *host, struct err *err)
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
			return cannot(check, err, needs[i].field, whose, why);
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
			   const struct check *check, const struct host *host, struct err *err)
{
	const Berth__Sandbox__V1__HelloResult *hello = host->hello;
	char field[64];

	for (size_t i = 0; identity && hello && i < identity->n_capabilities; i++) {
		const char *name = identity->capabilities[i];

		if (is_grantable(hello, name))
			continue;
		(void)snprintf(field, sizeof(field), "capabilities[%zu]", i);
		return forbidden(
			check, err, field,
			"%s may not have the capability %s (GetNode lists those it may have)",
			whose, name);
	}
	return 0;
}

/* Among @list; @writable: one of those that may be written to. */
static bool is_allowed(Berth__Sandbox__V1__AllowedDirectory *const *list, size_t n,
		       const char *path, bool writable)
{
	for (size_t i = 0; i < n; i++)
		if ((list[i]->writable || !writable) && names_path_is_below(path, list[i]->path))
			return true;
	return false;
}

/* Of the host as a whole, and of this image: @field of @check has it. */
static int check_image(const char *reference, const char *field, const char *whose,
		       const struct check *check, const struct host *host, struct err *err)
{
	const char *why = NULL;
	int r;

	if (!host->provider)
		return cannot(check, err, field, whose,
			      "it keeps no images (Durable in [Store] of berthd.conf is no)");
	if (host->hello && !host_offers(host, "images")) {
		(void)host_has(host, "images", &why);
		return cannot(check, err, field, whose,
			      why ? why : "berth-sandboxd is of a release that knows none");
	}
	r = host->provider->ops->check(host->provider, reference, err);
	if (r < 0 && err->kind == ERR_DENIED) {
		check->fault->reason = FAULT_POLICY;
		check_wrong(check, err->text, "%s.reference", field);
	}
	return r;
}

static int check_image_root(const Berth__V1__RootFilesystem *root, const char *whose,
			    const struct check *check, const struct host *host, struct err *err)
{
	const char *why = NULL;
	int r = check_image(root->image->reference, "root.image", whose, check, host, err);

	if (r < 0 || !root->writable || !host->hello || host_offers(host, "writable-layers"))
		return r;
	(void)host_has(host, "writable-layers", &why);
	return cannot(
		check, err, "root.writable", whose,
		why ? why
		    : "berth-sandboxd knows no writable root of an image: mount a volume where it writes");
}

static int check_image_volumes(const Berth__V1__WorkloadSpec *spec, const struct check *check,
			       const struct host *host, struct err *err)
{
	char field[64];
	int r = 0;

	for (size_t i = 0; r == 0 && i < spec->n_volumes; i++) {
		if (spec->volumes[i]->source_case != BERTH__V1__VOLUME__SOURCE_IMAGE)
			continue;
		(void)snprintf(field, sizeof(field), "volumes[%zu].image", i);
		r = check_image(spec->volumes[i]->image->reference, field, "the workload", check,
				host, err);
	}
	return r;
}

static int check_root(const Berth__V1__Container *container, const struct check *check,
		      const struct host *host, struct err *err)
{
	const Berth__Sandbox__V1__AllowedDirectories *allowed = host->hello->directories;
	const Berth__V1__RootFilesystem *root = container->root;

	if (root->source_case == BERTH__V1__ROOT_FILESYSTEM__SOURCE_IMAGE)
		return 0;
	if (!is_allowed(allowed->roots, allowed->n_roots, root->directory, false))
		return forbidden(
			check, err, "root.directory",
			"root filesystem %.200s is not below any of AllowRootDirectories of this host's policy",
			root->directory);
	if (root->writable && !is_allowed(allowed->roots, allowed->n_roots, root->directory, true))
		return forbidden(
			check, err, "root.writable",
			"root filesystem %.200s is not below any of AllowWritableRoot of this host's policy",
			root->directory);
	return 0;
}

static const Berth__V1__Volume *find_volume(const Berth__V1__WorkloadSpec *spec, const char *name)
{
	for (size_t i = 0; i < spec->n_volumes; i++)
		if (strcmp(spec->volumes[i]->name, name) == 0)
			return spec->volumes[i];
	return NULL;
}

static bool is_host_directory(const Berth__V1__Volume *volume)
{
	return volume->source_case == BERTH__V1__VOLUME__SOURCE_HOST_DIRECTORY;
}

/* What may only be read is not mounted to be written, lest its writer find out by itself. */
static int check_mounts(const Berth__V1__Container *container, const Berth__V1__WorkloadSpec *spec,
			const struct check *check, const struct host *host, struct err *err)
{
	const Berth__Sandbox__V1__AllowedDirectories *allowed = host->hello->directories;
	char field[64];

	for (size_t i = 0; i < container->n_mounts; i++) {
		const Berth__V1__Mount *mount = container->mounts[i];
		const Berth__V1__Volume *volume = find_volume(spec, mount->volume);

		if (mount->read_only || !volume || !is_host_directory(volume) ||
		    is_allowed(allowed->volumes, allowed->n_volumes, volume->host_directory->path,
			       true))
			continue;
		(void)snprintf(field, sizeof(field), "mounts[%zu].read_only", i);
		return forbidden(
			check, err, field,
			"volume %s, %.200s, may only be read by AllowHostDirectories of this host's policy: mount it read_only",
			volume->name, volume->host_directory->path);
	}
	return 0;
}

static int check_volumes(const Berth__V1__WorkloadSpec *spec, const struct check *check,
			 const struct host *host, struct err *err)
{
	const Berth__Sandbox__V1__AllowedDirectories *allowed = host->hello->directories;
	char field[64];

	for (size_t i = 0; i < spec->n_volumes; i++) {
		const Berth__V1__Volume *volume = spec->volumes[i];

		if (!is_host_directory(volume) || is_allowed(allowed->volumes, allowed->n_volumes,
							     volume->host_directory->path, false))
			continue;
		(void)snprintf(field, sizeof(field), "volumes[%zu].host_directory.path", i);
		return forbidden(
			check, err, field,
			"directory %.200s is not below any of AllowHostDirectories of this host's policy",
			volume->host_directory->path);
	}
	return 0;
}

static int check_sandbox(const Berth__V1__Container *container, const struct check *check,
			 const struct host *host, struct err *err)
{
	const Berth__V1__Sandbox *sandbox = container->sandbox;

	if (host->hello && !host->hello->allow_unconfined && sandbox &&
	    sandbox->profile_case == BERTH__V1__SANDBOX__PROFILE_BUILTIN &&
	    strcmp(sandbox->builtin, "unconfined") == 0)
		return not_allowed(check, err, "sandbox.builtin", "unconfined containers",
				   "AllowUnconfined");
	return 0;
}

static int check_probes(const Berth__V1__Container *container, const char *whose,
			const struct check *check, const struct host *host, struct err *err)
{
	static const char why[] = "berth-sandboxd is of a release that knows none";

	if (!host->hello || host_offers(host, "probes"))
		return 0;
	if (container->startup_probe)
		return cannot(check, err, "startup_probe", whose, why);
	if (container->readiness_probe)
		return cannot(check, err, "readiness_probe", whose, why);
	return container->liveness_probe ? cannot(check, err, "liveness_probe", whose, why) : 0;
}

static int check_container(const Berth__V1__WorkloadSpec *spec, size_t index,
			   const struct host *host, struct engine_fault *fault, struct err *err)
{
	const Berth__V1__Container *container = spec->containers[index];
	char prefix[64], whose[96], inner[96];
	const struct check check = { .fault = fault, .prefix = prefix };
	const struct check below = { .fault = fault, .prefix = inner };
	int r;

	(void)snprintf(whose, sizeof(whose), "container %s", container->name);
	(void)snprintf(prefix, sizeof(prefix), "spec.containers[%zu]", index);
	(void)snprintf(inner, sizeof(inner), "%s.resources", prefix);
	r = supported_resources(container->resources, whose, &below, host, err);
	if (r < 0)
		return r;
	(void)snprintf(inner, sizeof(inner), "%s.identity", prefix);
	r = supported_capabilities(container->identity, whose, &below, host, err);
	if (r == 0)
		r = check_sandbox(container, &check, host, err);
	if (r == 0)
		r = check_probes(container, whose, &check, host, err);
	if (r == 0 && container->root->source_case == BERTH__V1__ROOT_FILESYSTEM__SOURCE_IMAGE)
		r = check_image_root(container->root, whose, &check, host, err);
	if (r == 0 && host->hello && host->hello->directories)
		r = check_root(container, &check, host, err);
	if (r == 0 && host->hello && host->hello->directories)
		r = check_mounts(container, spec, &check, host, err);
	return r;
}

static int check_sysctls(const Berth__V1__WorkloadSpec *spec, const struct check *check,
			 const struct host *host, struct err *err)
{
	const Berth__Sandbox__V1__HelloResult *hello = host->hello;
	char field[96];

	for (size_t i = 0; hello && i < spec->n_sysctls; i++) {
		const char *key = spec->sysctls[i]->key;

		if (is_listed(hello->allowed_sysctls, hello->n_allowed_sysctls, key))
			continue;
		(void)snprintf(field, sizeof(field), "sysctls[\"%s\"]", key);
		return forbidden(
			check, err, field,
			"sysctl %s may not be set on this host (GetNode lists those that may)",
			key);
	}
	return 0;
}

int supported_spec(const Berth__V1__WorkloadSpec *spec, const struct host *host,
		   struct engine_fault *fault, struct err *err)
{
	const struct check check = { .fault = fault, .prefix = "spec" };
	const struct check resources = { .fault = fault, .prefix = "spec.resources" };
	const Berth__Sandbox__V1__HelloResult *hello = host->hello;
	int r;

	if (hello && !hello->allow_host_network &&
	    spec->network == BERTH__V1__NETWORK__NETWORK_HOST)
		return not_allowed(&check, err, "network", "the host's network",
				   "AllowHostNetwork");
	if (hello && !hello->allow_host_ids &&
	    spec->user_namespace == BERTH__V1__USER_NAMESPACE__USER_NAMESPACE_HOST)
		return not_allowed(&check, err, "user_namespace", "the host's own ids",
				   "AllowHostIds");
	r = supported_resources(spec->resources, "the workload", &resources, host, err);
	if (r == 0)
		r = check_sysctls(spec, &check, host, err);
	if (r == 0)
		r = check_image_volumes(spec, &check, host, err);
	if (r == 0 && hello && hello->directories)
		r = check_volumes(spec, &check, host, err);
	for (size_t i = 0; r == 0 && i < spec->n_containers; i++)
		r = check_container(spec, i, host, fault, err);
	return r;
}
