/* Requests about the host as a whole: Hello, Inventory. */
#include <errno.h>
#include <string.h>

#include "proto/log.h"
#include "proto/packet.h"
#include "sandbox/agent_link.h"
#include "sandbox/call.h"
#include "sandbox/facts.h"
#include "sandbox/features.h"
#include "sandbox/hierarchy.h"
#include "sandbox/requests.h"
#include "sandbox/sandboxd.h"
#include "sandbox/taskgroup.h"

/* Of one inventory; what is left of the packet is for the frame around it. */
#define INVENTORY_BYTES_MAX (PACKET_BYTES_MAX - 16U * 1024)
#define POLICY_ARENA_BYTES  (128U << 10)
#define DIRECTORY_BYTES_MAX \
	(32U << 10) /* of all allowed directories: the packet holds more than them */

static void fill_limits(const struct policy *policy, Berth__Sandbox__V1__Limits *limits)
{
	limits->_memory_max_bytes_case =
		BERTH__SANDBOX__V1__LIMITS___MEMORY_MAX_BYTES_MEMORY_MAX_BYTES;
	limits->memory_max_bytes = policy->default_memory_bytes;
	limits->_pids_max_case = BERTH__SANDBOX__V1__LIMITS___PIDS_MAX_PIDS_MAX;
	limits->pids_max = (uint32_t)policy->default_pids;
	limits->_cpu_millis_case = BERTH__SANDBOX__V1__LIMITS___CPU_MILLIS_CPU_MILLIS;
	limits->cpu_millis = (uint32_t)policy->default_cpu_millis;
}

static int add_feature(struct arena *arena, Berth__Sandbox__V1__HelloResult *result,
		       const char *name, bool supported, const char *sentence)
{
	Berth__Sandbox__V1__HostFeature *feature =
		arena_message(arena, &berth__sandbox__v1__host_feature__descriptor);

	if (arena_append(arena, &result->features, &result->n_features, feature) < 0)
		return -ENOMEM;
	feature->name = (char *)name;
	feature->supported = supported;
	feature->sentence = (char *)sentence;
	return 0;
}

static int add_features(const struct hierarchy *hierarchy, struct arena *arena,
			Berth__Sandbox__V1__HelloResult *result)
{
	const struct host_feature *host = features_list();
	int r = 0;

	for (size_t i = 0; r == 0 && i < hierarchy->feature_count; i++)
		r = add_feature(arena, result, hierarchy->features[i].name,
				hierarchy->features[i].supported, hierarchy->features[i].sentence);
	for (size_t i = 0; r == 0 && i < features_count(); i++)
		r = add_feature(arena, result, host[i].name, host[i].supported, host[i].sentence);
	return r;
}

static int add_warnings(struct arena *arena, Berth__Sandbox__V1__HelloResult *result)
{
	const struct host_feature *host = features_list();
	int r = 0;

	for (size_t i = 0; r == 0 && i < features_count(); i++)
		if (!host[i].supported)
			r = arena_append(
				arena, &result->warnings, &result->n_warnings,
				arena_printf(arena, "%s: %s", host[i].name, host[i].sentence));
	return r;
}

/* After a reboot, a crash inside a request, or somebody's hand: the operator should know that there was
 * something, and how much. */
static int add_orphans(const struct sandboxd *host, struct arena *arena,
		       Berth__Sandbox__V1__HelloResult *result)
{
	if (host->foreign_groups &&
	    arena_append(
		    arena, &result->warnings, &result->n_warnings,
		    arena_printf(
			    arena,
			    "%zu control groups below %s/workloads have processes and were not made by berth-sandboxd: it leaves them alone; move their processes elsewhere, and remove them",
			    host->foreign_groups, host->hierarchy->base)) < 0)
		return -ENOMEM;
	if (!host->orphans.groups && !host->orphans.directories && !host->orphans.descriptors &&
	    !host->orphans.layers && !host->orphans.mounts)
		return 0;
	return arena_append(
		arena, &result->warnings, &result->n_warnings,
		arena_printf(
			arena,
			"berth-sandboxd found and removed at its start what was of no workload: %zu control groups with their processes, %zu run directories, %zu mounts, %zu kept descriptors, %zu layers of images",
			host->orphans.groups, host->orphans.directories, host->orphans.mounts,
			host->orphans.descriptors, host->orphans.layers));
}

static void fill_policy(const struct policy *policy, Berth__Sandbox__V1__HelloResult *result)
{
	result->log_dir = policy->log_directory;
	result->n_grantable_capabilities = policy->grantable_capabilities.n;
	result->grantable_capabilities = policy->grantable_capabilities.items;
	result->n_allowed_sysctls = policy->allowed_sysctls.n;
	result->allowed_sysctls = policy->allowed_sysctls.items;
	result->allow_host_network = policy->allow_host_network;
	result->allow_host_ids = policy->allow_host_ids;
	result->allow_unconfined = policy->allow_unconfined;
	result->max_workloads = (uint32_t)policy->max_workloads;
}

static int add_directory(struct arena *arena, Berth__Sandbox__V1__AllowedDirectory ***list,
			 size_t *n, const char *path, bool writable)
{
	Berth__Sandbox__V1__AllowedDirectory *directory =
		arena_message(arena, &berth__sandbox__v1__allowed_directory__descriptor);

	if (arena_append(arena, list, n, directory) < 0)
		return -ENOMEM;
	directory->path = arena_strdup(arena, path);
	directory->writable = writable;
	return directory->path ? 0 : -ENOMEM;
}

static size_t list_bytes(const struct config_list *list)
{
	size_t bytes = 0;

	for (size_t i = 0; i < list->n; i++)
		bytes += strlen(list->items[i]);
	return bytes;
}

static int add_roots(const struct config_list *list, bool writable, struct arena *arena,
		     Berth__Sandbox__V1__AllowedDirectories *ret)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < list->n; i++)
		r = add_directory(arena, &ret->roots, &ret->n_roots, list->items[i], writable);
	return r;
}

static int add_directories(const struct policy *policy, struct arena *arena,
			   Berth__Sandbox__V1__HelloResult *result)
{
	Berth__Sandbox__V1__AllowedDirectories *all;
	char path[NAME_PATH_MAX + 1];
	bool read_only;
	int r;

	if (list_bytes(&policy->root_directories) + list_bytes(&policy->writable_root) +
		    list_bytes(&policy->host_directories) >
	    DIRECTORY_BYTES_MAX)
		return 0;
	all = arena_message(arena, &berth__sandbox__v1__allowed_directories__descriptor);
	if (!all)
		return -ENOMEM;
	r = add_roots(&policy->root_directories, false, arena, all);
	if (r == 0)
		r = add_roots(&policy->writable_root, true, arena, all);
	for (size_t i = 0; r == 0 && i < policy->host_directories.n; i++) {
		r = policy_split_host_directory(policy->host_directories.items[i], path, &read_only,
						NULL);
		if (r == 0)
			r = add_directory(arena, &all->volumes, &all->n_volumes, path, !read_only);
	}
	result->directories = all;
	return r;
}

/* What this host is and permits, in @arena; @limits is the caller's, and outlives *result. */
static int fill_hello(const struct sandboxd *host, struct arena *arena,
		      Berth__Sandbox__V1__Limits *limits, Berth__Sandbox__V1__HelloResult *result)
{
	result->protocol = SANDBOXD_PROTOCOL;
	result->version = (char *)SANDBOXD_VERSION;
	result->cgroup_layout = (char *)hierarchy_layout_name(host->hierarchy->layout);
	fill_policy(&host->policy, result);
	fill_limits(&host->policy, limits);
	result->default_limits = limits;
	result->refuses_starts = (char *)requests_why_no_starts(host);
	if (add_directories(&host->policy, arena, result) < 0 ||
	    add_features(host->hierarchy, arena, result) < 0)
		return -ENOMEM;
	if (add_warnings(arena, result) < 0)
		return -ENOMEM;
	return add_orphans(host, arena, result);
}

void requests_tell_policy(struct sandboxd *host)
{
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__HelloResult result = BERTH__SANDBOX__V1__HELLO_RESULT__INIT;
	Berth__Sandbox__V1__Limits limits = BERTH__SANDBOX__V1__LIMITS__INIT;
	cleanup_arena struct arena arena;

	arena_init(&arena, POLICY_ARENA_BYTES);
	if (!agent_link_is_ready(host->link))
		return;
	if (fill_hello(host, &arena, &limits, &result) < 0) {
		log_event(LOG_ERR, NULL, "berthd was not told of the new policy: out of memory");
		return;
	}
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_HOST;
	fact.host = &result;
	agent_link_fact(host->link, &fact, NULL, 0);
}

/* Facts, ends and removals mean the same in every protocol; what a launch asks for may not. */
static void compare_releases(struct sandboxd *host, uint32_t protocol)
{
	host->agent_mismatch[0] = '\0';
	if (protocol == SANDBOXD_PROTOCOL)
		return;
	(void)snprintf(
		host->agent_mismatch, sizeof(host->agent_mismatch),
		"berthd speaks protocol %u and berth-sandboxd %s speaks %d: install both of one release and restart them",
		protocol, SANDBOXD_VERSION, SANDBOXD_PROTOCOL);
	log_event(LOG_WARNING, NULL, "nothing new is begun: %s", host->agent_mismatch);
}

/*
 * Safe: tells what this host is and permits, and opens the connection for the other verbs; for those that
 * begin something only where the programs are of one protocol. Nothing that the asker sends is kept but that.
 */
int call_hello(struct call *call, struct err *err)
{
	const Berth__Sandbox__V1__Hello *hello = call->request->hello;
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__HelloResult result = BERTH__SANDBOX__V1__HELLO_RESULT__INIT;
	Berth__Sandbox__V1__Limits limits = BERTH__SANDBOX__V1__LIMITS__INIT;

	agent_link_set_ready(call->host->link, hello->protocol != 0);
	if (hello->protocol == 0)
		return err_set(err, ERR_PRECONDITION, EPROTO, "protocol: must not be 0");
	compare_releases(call->host, hello->protocol);
	if (fill_hello(call->host, call->arena, &limits, &result) < 0)
		return err_oom(err);
	reply.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_HELLO;
	reply.hello = &result;
	agent_link_reply(call->host->link, call->asker, &reply, NULL, 0);
	return 1;
}

struct listing {
	struct call *call;
	const char *after;
	size_t bytes;
	Berth__Sandbox__V1__InventoryResult *result;
};

static Berth__Sandbox__V1__KnownContainer *describe_container(struct container *container,
							      struct arena *arena)
{
	Berth__Sandbox__V1__KnownContainer *known =
		arena_message(arena, &berth__sandbox__v1__known_container__descriptor);

	if (!known)
		return NULL;
	known->container = container->name;
	known->attempt = container->attempt;
	known->state = container->state;
	if (container->state == PAGE_EXITED) {
		known->exited = facts_exited_message(container, arena);
		if (!known->exited)
			return NULL;
	}
	return known;
}

static Berth__Sandbox__V1__KnownWorkload *describe_workload(struct workload *workload,
							    struct arena *arena)
{
	Berth__Sandbox__V1__KnownWorkload *known =
		arena_message(arena, &berth__sandbox__v1__known_workload__descriptor);
	struct container *container;

	if (!known)
		return NULL;
	known->workload = workload->id;
	known->instance = workload->instance;
	if (workload->group) {
		bool frozen;

		taskgroup_read_hold(workload->group, &frozen, &known->memory_high_bytes);
		known->frozen = frozen;
	}
	LIST_FOREACH (container, &workload->containers, link)
		if (arena_append(arena, &known->containers, &known->n_containers,
				 describe_container(container, arena)) < 0)
			return NULL;
	return known;
}

/* Returns 1 to stop: what is left does not fit into this answer. */
static int list_one(struct workload *workload, void *userdata)
{
	struct listing *listing = userdata;
	Berth__Sandbox__V1__KnownWorkload *known;
	size_t bytes;

	if (strcmp(workload->id, listing->after) <= 0 && listing->after[0])
		return 0;
	known = describe_workload(workload, listing->call->arena);
	if (!known)
		return -ENOMEM;
	bytes = berth__sandbox__v1__known_workload__get_packed_size(known) + 8;
	if (listing->bytes + bytes > INVENTORY_BYTES_MAX && listing->result->n_workloads > 0) {
		listing->result->more = true;
		return 1;
	}
	listing->bytes += bytes;
	return arena_append(listing->call->arena, &listing->result->workloads,
			    &listing->result->n_workloads, known);
}

static void tell_again(struct call *call, const Berth__Sandbox__V1__InventoryResult *result)
{
	for (size_t i = 0; i < result->n_workloads; i++) {
		struct workload *workload = registry_find(&call->host->registry,
							  result->workloads[i]->workload);

		if (workload)
			facts_tell_again(workload);
	}
}

/*
 * Safe: tells what the registry has, in answers of bounded size. The descriptors that follow are for
 * reading only, of files that root alone may open anew.
 */
int call_inventory(struct call *call, struct err *err)
{
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__InventoryResult result = BERTH__SANDBOX__V1__INVENTORY_RESULT__INIT;
	struct listing listing = { .call = call,
				   .after = call->request->inventory->after,
				   .result = &result };

	if (registry_walk(&call->host->registry, list_one, &listing) < 0)
		return err_oom(err);
	reply.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_INVENTORY;
	reply.inventory = &result;
	agent_link_reply(call->host->link, call->asker, &reply, NULL, 0);
	tell_again(call, &result);
	return 1;
}
