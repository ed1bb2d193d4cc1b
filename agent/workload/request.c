/*
 * Packets to berth-sandboxd, built on the stack and in the engine's scratch arena: a launch costs no
 * malloc once the arena has grown.
 */
#include <stdio.h>
#include <string.h>

#include "agent/workload/canonical.h"
#include "agent/workload/model.h"

static int send(struct engine *engine, Berth__Sandbox__V1__Request *request,
		const struct sandboxlink_call *call, struct err *err)
{
	return sandboxlink_send(engine->link, request, call, err);
}

static Berth__Sandbox__V1__ContainerRef ref_of(const struct container *container)
{
	Berth__Sandbox__V1__ContainerRef ref = BERTH__SANDBOX__V1__CONTAINER_REF__INIT;

	ref.workload = container->workload->id;
	ref.instance = container->workload->instance;
	ref.container = container->spec->name;
	ref.attempt = container->attempt;
	return ref;
}

#define COPY(to, to_field, to_case, from, from_field)         \
	do {                                                  \
		if ((from)->_##from_field##_case) {           \
			(to)->_##to_field##_case = (to_case); \
			(to)->to_field = (from)->from_field;  \
		}                                             \
	} while (0)

#define LIMIT(FIELD) BERTH__SANDBOX__V1__LIMITS___##FIELD

static Berth__Sandbox__V1__Limits *limits_of(struct arena *arena, const Berth__V1__Resources *r)
{
	Berth__Sandbox__V1__Limits *l = arena_message(arena,
						      &berth__sandbox__v1__limits__descriptor);

	if (!l || !r)
		return l;
	COPY(l, cpu_millis, LIMIT(CPU_MILLIS_CPU_MILLIS), r, cpu_limit_millis);
	COPY(l, cpu_burst_us, LIMIT(CPU_BURST_US_CPU_BURST_US), r, cpu_burst_us);
	COPY(l, cpu_weight, LIMIT(CPU_WEIGHT_CPU_WEIGHT), r, cpu_weight);
	COPY(l, memory_max_bytes, LIMIT(MEMORY_MAX_BYTES_MEMORY_MAX_BYTES), r, memory_limit_bytes);
	COPY(l, memory_high_bytes, LIMIT(MEMORY_HIGH_BYTES_MEMORY_HIGH_BYTES), r,
	     memory_high_bytes);
	COPY(l, memory_low_bytes, LIMIT(MEMORY_LOW_BYTES_MEMORY_LOW_BYTES), r, memory_low_bytes);
	COPY(l, memory_swap_bytes, LIMIT(MEMORY_SWAP_BYTES_MEMORY_SWAP_BYTES), r,
	     memory_swap_bytes);
	COPY(l, pids_max, LIMIT(PIDS_MAX_PIDS_MAX), r, pids_limit);
	COPY(l, io_weight, LIMIT(IO_WEIGHT_IO_WEIGHT), r, io_weight);
	l->cpuset_cpus = r->cpuset_cpus;
	l->cpuset_mems = r->cpuset_mems;
	/* One core requested is the kernel's own default weight. */
	if (!r->_cpu_weight_case && r->_cpu_request_millis_case && r->cpu_request_millis) {
		uint32_t weight = r->cpu_request_millis / 10;

		l->_cpu_weight_case = LIMIT(CPU_WEIGHT_CPU_WEIGHT);
		l->cpu_weight = weight < 1 ? 1 : weight > 10000 ? 10000 : weight;
	}
	for (size_t i = 0; i < r->n_io_limits; i++) {
		Berth__Sandbox__V1__IoLimit *io =
			arena_message(arena, &berth__sandbox__v1__io_limit__descriptor);

		if (arena_append(arena, &l->io, &l->n_io, io) < 0)
			return NULL;
		io->device = r->io_limits[i]->device;
		io->read_bytes_per_second = r->io_limits[i]->read_bytes_per_second;
		io->write_bytes_per_second = r->io_limits[i]->write_bytes_per_second;
		io->read_ops_per_second = r->io_limits[i]->read_ops_per_second;
		io->write_ops_per_second = r->io_limits[i]->write_ops_per_second;
	}
	return l;
}

/* Those that the image of @container wants. */
static int add_image_volumes(struct arena *arena, const struct container *container,
			     Berth__Sandbox__V1__CreateWorkload *create)
{
	const Berth__Agent__V1__HadImage *image = container->image;

	for (size_t i = 0; image && i < image->n_volumes; i++) {
		Berth__Sandbox__V1__Volume *to =
			arena_message(arena, &berth__sandbox__v1__volume__descriptor);

		if (arena_append(arena, &create->volumes, &create->n_volumes, to) < 0)
			return -1;
		to->name = image->volumes[i];
		to->tmpfs_bytes = TMPFS_DEFAULT_BYTES;
		to->tmpfs_inodes = TMPFS_DEFAULT_BYTES / 4096;
	}
	return 0;
}

static int add_volumes(struct arena *arena, const Berth__V1__WorkloadSpec *spec,
		       Berth__Sandbox__V1__CreateWorkload *create)
{
	for (size_t i = 0; i < spec->n_volumes; i++) {
		const Berth__V1__Volume *from = spec->volumes[i];
		Berth__Sandbox__V1__Volume *to;

		if (from->source_case == BERTH__V1__VOLUME__SOURCE_IMAGE)
			continue; /* it is mounted from its layers */
		to = arena_message(arena, &berth__sandbox__v1__volume__descriptor);
		if (arena_append(arena, &create->volumes, &create->n_volumes, to) < 0)
			return -1;
		to->name = from->name;
		switch (from->source_case) {
		case BERTH__V1__VOLUME__SOURCE_HOST_DIRECTORY:
			to->host_directory = from->host_directory->path;
			break;
		case BERTH__V1__VOLUME__SOURCE_TMPFS:
			to->tmpfs_bytes = from->tmpfs->size_bytes;
			to->tmpfs_inodes = from->tmpfs->inodes;
			break;
		default:
			to->tmpfs_bytes = from->empty_directory->size_bytes;
			to->tmpfs_inodes = from->empty_directory->size_bytes / 4096;
			break;
		}
	}
	return 0;
}

static int send_create(struct workload *workload, const struct sandboxlink_call *call,
		       struct arena *arena, struct err *err)
{
	const Berth__V1__WorkloadSpec *spec = workload->spec->message;
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__CreateWorkload create = BERTH__SANDBOX__V1__CREATE_WORKLOAD__INIT;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_CREATE_WORKLOAD;
	request.create_workload = &create;
	create.workload = workload->id;
	create.instance = workload->instance;
	create.band = spec->band;
	create.hostname = spec->hostname;
	create.host_network = spec->network == BERTH__V1__NETWORK__NETWORK_HOST;
	create.host_ids = spec->user_namespace == BERTH__V1__USER_NAMESPACE__USER_NAMESPACE_HOST;
	create.limits = limits_of(arena, spec->resources);
	if (!create.limits || add_volumes(arena, spec, &create) < 0)
		return err_oom(err);
	for (size_t i = 0; i < workload->n_containers; i++)
		if (add_image_volumes(arena, &workload->containers[i], &create) < 0)
			return err_oom(err);
	for (size_t i = 0; i < spec->n_sysctls; i++) {
		Berth__Sandbox__V1__CreateWorkload__SysctlsEntry *entry = arena_message(
			arena, &berth__sandbox__v1__create_workload__sysctls_entry__descriptor);

		if (arena_append(arena, &create.sysctls, &create.n_sysctls, entry) < 0)
			return err_oom(err);
		entry->key = spec->sysctls[i]->key;
		entry->value = spec->sysctls[i]->value;
	}
	return send(workload->engine, &request, call, err);
}

int request_create_workload(struct workload *workload, const struct sandboxlink_call *call,
			    struct err *err)
{
	struct arena *arena = &workload->engine->scratch;
	int r = send_create(workload, call, arena, err);

	arena_reset(arena);
	return r;
}

static int add_env(struct arena *arena, const Berth__V1__Container *spec,
		   Berth__Sandbox__V1__Launch *launch)
{
	launch->env = arena_alloc(arena, spec->n_env * sizeof(char *));
	if (!launch->env)
		return -1;
	for (size_t i = 0; i < spec->n_env; i++) {
		launch->env[i] = arena_printf(arena, "%s=%s", spec->env[i]->key,
					      spec->env[i]->value);
		if (!launch->env[i])
			return -1;
		launch->n_env++;
	}
	return 0;
}

static int add_mounts(struct arena *arena, const struct workload *workload,
		      const Berth__V1__Container *spec, Berth__Sandbox__V1__Launch *launch)
{
	for (size_t i = 0; i < spec->n_mounts; i++) {
		const Berth__Agent__V1__HadImage *image = volume_image_of(workload,
									  spec->mounts[i]->volume);
		Berth__Sandbox__V1__Mount *mount =
			arena_message(arena, &berth__sandbox__v1__mount__descriptor);

		if (arena_append(arena, &launch->mounts, &launch->n_mounts, mount) < 0)
			return -1;
		mount->target = spec->mounts[i]->target;
		if (image) {
			mount->layers = image->layers;
			mount->n_layers = image->n_layers;
			mount->read_only = true;
			continue;
		}
		mount->volume = spec->mounts[i]->volume;
		mount->sub_path = spec->mounts[i]->sub_path;
		mount->read_only = spec->mounts[i]->read_only;
	}
	return 0;
}

/* Limits of processes: the container's own, then the workload's where the container has none of that
 * name. */
static int add_rlimits(struct arena *arena, const Berth__V1__Resources *r,
		       Berth__Sandbox__V1__Launch *launch)
{
	for (size_t i = 0; r && i < r->n_rlimits; i++) {
		Berth__Sandbox__V1__Rlimit *limit;
		bool there = false;

		for (size_t j = 0; j < launch->n_rlimits; j++)
			there |= strcmp(launch->rlimits[j]->name, r->rlimits[i]->name) == 0;
		if (there)
			continue;
		limit = arena_message(arena, &berth__sandbox__v1__rlimit__descriptor);
		if (arena_append(arena, &launch->rlimits, &launch->n_rlimits, limit) < 0)
			return -1;
		limit->name = r->rlimits[i]->name;
		limit->soft = r->rlimits[i]->soft;
		limit->hard = r->rlimits[i]->hard;
	}
	return 0;
}

/* The command, and the arguments behind it. */
static int add_command(struct arena *arena, const Berth__V1__Container *run,
		       Berth__Sandbox__V1__Launch *launch)
{
	size_t n = run->n_command + run->n_args;

	launch->command = arena_alloc(arena, n * sizeof(char *));
	if (!launch->command)
		return -1;
	for (size_t i = 0; i < n; i++)
		launch->command[i] = i < run->n_command ? run->command[i]
							: run->args[i - run->n_command];
	launch->n_command = n;
	return 0;
}

static void fill_root(const struct container *container, Berth__Sandbox__V1__Launch *launch)
{
	const Berth__V1__RootFilesystem *root = container->spec->root;

	launch->root_writable = root->writable;
	if (!container->image) {
		launch->root_directory = root->directory;
		return;
	}
	launch->n_layers = container->image->n_layers;
	launch->layers = container->image->layers;
	if (root->writable) {
		launch->writable_layer_bytes = root->image->writable_bytes;
		launch->writable_layer_inodes = root->image->writable_inodes;
	}
}

static int fill_launch(struct container *container, struct arena *arena,
		       Berth__Sandbox__V1__Launch *launch)
{
	const Berth__V1__Container *spec = container->spec;
	const Berth__V1__Container *run = container_run(container);
	const Berth__V1__WorkloadSpec *whole = container->workload->spec->message;

	fill_root(container, launch);
	launch->working_dir = run->working_dir;
	launch->user = run->identity->user;
	launch->n_groups = run->identity->n_groups;
	launch->groups = run->identity->groups;
	launch->n_capabilities = run->identity->n_capabilities;
	launch->capabilities = run->identity->capabilities;
	launch->strict_proc = spec->sandbox->strict_proc;
	if (spec->sandbox->profile_case == BERTH__V1__SANDBOX__PROFILE_BUILTIN)
		launch->profile = spec->sandbox->builtin;
	else
		launch->oci_seccomp_json = spec->sandbox->oci_seccomp_json;
	launch->log_max_file_bytes = spec->log->max_file_bytes;
	launch->log_max_files = spec->log->max_files;
	launch->tty = spec->tty;
	launch->stdin = spec->stdin;
	launch->limits = limits_of(arena, spec->resources);
	if (!launch->limits || add_command(arena, run, launch) < 0 ||
	    add_env(arena, run, launch) < 0 ||
	    add_mounts(arena, container->workload, run, launch) < 0 ||
	    add_rlimits(arena, spec->resources, launch) < 0 ||
	    add_rlimits(arena, whole->resources, launch) < 0)
		return -1;
	return 0;
}

int request_launch(struct container *container, const struct sandboxlink_call *call,
		   struct err *err)
{
	struct engine *engine = container->workload->engine;
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Launch launch = BERTH__SANDBOX__V1__LAUNCH__INIT;
	Berth__Sandbox__V1__ContainerRef ref = ref_of(container);
	int r;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_LAUNCH;
	request.launch = &launch;
	launch.ref = &ref;
	launch.gate_open = !container->gate_waits;
	if (fill_launch(container, &engine->scratch, &launch) < 0)
		r = err_oom(err);
	else
		r = send(engine, &request, call, err);
	arena_reset(&engine->scratch);
	return r;
}

int request_open_gate(struct container *container, struct err *err)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__OpenGate open_gate = BERTH__SANDBOX__V1__OPEN_GATE__INIT;
	Berth__Sandbox__V1__ContainerRef ref = ref_of(container);

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_OPEN_GATE;
	request.open_gate = &open_gate;
	open_gate.ref = &ref;
	return send(container->workload->engine, &request, NULL, err);
}

int request_socket(struct container *container, bool ipv6, const struct sandboxlink_call *call,
		   struct err *err)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Socket message = BERTH__SANDBOX__V1__SOCKET__INIT;
	Berth__Sandbox__V1__ContainerRef ref = ref_of(container);

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_SOCKET;
	request.socket = &message;
	message.ref = &ref;
	message.ipv6 = ipv6;
	return send(container->workload->engine, &request, call, err);
}

int request_signal(struct container *container, int signal, bool all,
		   const struct sandboxlink_call *call, struct err *err)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Signal message = BERTH__SANDBOX__V1__SIGNAL__INIT;
	Berth__Sandbox__V1__ContainerRef ref = ref_of(container);

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_SIGNAL;
	request.signal = &message;
	message.ref = &ref;
	message.signal = (uint32_t)signal;
	message.all_processes = all;
	return send(container->workload->engine, &request, call, err);
}

static int send_kill(struct engine *engine, Berth__Sandbox__V1__ContainerRef *ref, struct err *err)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Kill message = BERTH__SANDBOX__V1__KILL__INIT;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_KILL;
	request.kill = &message;
	message.ref = ref;
	return send(engine, &request, NULL, err);
}

int request_kill(struct container *container, struct err *err)
{
	Berth__Sandbox__V1__ContainerRef ref = ref_of(container);

	return send_kill(container->workload->engine, &ref, err);
}

int request_kill_workload(struct engine *engine, const char *id, uint64_t instance, struct err *err)
{
	Berth__Sandbox__V1__ContainerRef ref = BERTH__SANDBOX__V1__CONTAINER_REF__INIT;

	ref.workload = (char *)id;
	ref.instance = instance;
	return send_kill(engine, &ref, err);
}

static int send_freeze(struct engine *engine, const char *id, uint64_t instance, bool frozen,
		       const struct sandboxlink_call *call, struct err *err)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Freeze freeze = BERTH__SANDBOX__V1__FREEZE__INIT;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_FREEZE;
	request.freeze = &freeze;
	freeze.workload = (char *)id;
	freeze.instance = instance;
	freeze.frozen = frozen;
	return send(engine, &request, call, err);
}

int request_freeze(struct workload *workload, bool frozen, const struct sandboxlink_call *call,
		   struct err *err)
{
	return send_freeze(workload->engine, workload->id, workload->instance, frozen, call, err);
}

int request_thaw_unknown(struct engine *engine, const char *id, uint64_t instance)
{
	return send_freeze(engine, id, instance, false, NULL, NULL);
}

int request_reclaim(struct workload *workload, uint64_t bytes, const struct sandboxlink_call *call,
		    struct err *err)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Reclaim reclaim = BERTH__SANDBOX__V1__RECLAIM__INIT;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_RECLAIM;
	request.reclaim = &reclaim;
	reclaim.workload = workload->id;
	reclaim.instance = workload->instance;
	reclaim.bytes = bytes;
	return send(workload->engine, &request, call, err);
}

int request_squeeze(struct engine *engine, const char *id, uint64_t instance,
		    uint64_t memory_high_bytes, const struct sandboxlink_call *call,
		    struct err *err)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Squeeze squeeze = BERTH__SANDBOX__V1__SQUEEZE__INIT;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_SQUEEZE;
	request.squeeze = &squeeze;
	squeeze.workload = (char *)id;
	squeeze.instance = instance;
	squeeze.memory_high_bytes = memory_high_bytes;
	return send(engine, &request, call, err);
}

int request_update_limits(struct workload *workload, const char *container, uint32_t attempt,
			  const Berth__V1__Resources *change, const struct sandboxlink_call *call,
			  struct err *err)
{
	struct engine *engine = workload->engine;
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__UpdateLimits update = BERTH__SANDBOX__V1__UPDATE_LIMITS__INIT;
	Berth__Sandbox__V1__ContainerRef ref = BERTH__SANDBOX__V1__CONTAINER_REF__INIT;
	int r;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_UPDATE_LIMITS;
	request.update_limits = &update;
	update.ref = &ref;
	ref.workload = workload->id;
	ref.instance = workload->instance;
	ref.container = (char *)container;
	ref.attempt = attempt;
	update.limits = limits_of(&engine->scratch, change);
	r = update.limits ? send(engine, &request, call, err) : err_oom(err);
	arena_reset(&engine->scratch);
	return r;
}

int request_remove_container(struct engine *engine, const char *id, uint64_t instance,
			     const char *container, uint32_t attempt, struct err *err)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__RemoveContainer message = BERTH__SANDBOX__V1__REMOVE_CONTAINER__INIT;
	Berth__Sandbox__V1__ContainerRef ref = BERTH__SANDBOX__V1__CONTAINER_REF__INIT;

	ref.workload = (char *)id;
	ref.instance = instance;
	ref.container = (char *)container;
	ref.attempt = attempt;
	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_REMOVE_CONTAINER;
	request.remove_container = &message;
	message.ref = &ref;
	return send(engine, &request, NULL, err);
}

int request_remove_workload(struct engine *engine, const char *id, uint64_t instance,
			    bool remove_logs, const struct sandboxlink_call *call, struct err *err)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__RemoveWorkload message = BERTH__SANDBOX__V1__REMOVE_WORKLOAD__INIT;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_REMOVE_WORKLOAD;
	request.remove_workload = &message;
	message.workload = (char *)id;
	message.instance = instance;
	message.remove_logs = remove_logs;
	return send(engine, &request, call, err);
}

int request_inventory(struct engine *engine, const char *after, const struct sandboxlink_call *call,
		      struct err *err)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Inventory inventory = BERTH__SANDBOX__V1__INVENTORY__INIT;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_INVENTORY;
	request.inventory = &inventory;
	inventory.after = (char *)after;
	return send(engine, &request, call, err);
}
