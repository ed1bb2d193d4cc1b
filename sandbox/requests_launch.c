/* Launch: from the request's words to a forked monitor. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/failpoint.h"
#include "proto/names.h"
#include "sandbox/agent_link.h"
#include "sandbox/call.h"
#include "sandbox/descriptors.h"
#include "sandbox/draft_layers.h"
#include "sandbox/launch.h"
#include "sandbox/launcher.h"
#include "sandbox/monitors.h"
#include "sandbox/page_file.h"
#include "sandbox/path.h"
#include "sandbox/record.h"
#include "sandbox/removal.h"
#include "sandbox/requests_limits.h"
#include "sandbox/requests_program.h"
#include "sandbox/sandboxd.h"
#include "sandbox/writable_layer.h"

#define MOUNTS_MAX         64
#define LOG_FILE_BYTES_MIN 4096
#define LOG_FILE_BYTES_MAX (1ULL << 40)
#define LOG_FILES_MAX      1000

/* What a launch is put together from; the descriptors end with it, as the monitor has its own. */
struct draft {
	struct launch_spec spec;
	struct program program;
	struct taskgroup_limits limits;
	char group_path[TASKGROUP_PATH_MAX];
	struct launch_mount mounts[MOUNTS_MAX];
	int root_fd;
	int page_fd;
	int log_dir_fd;
};

static void draft_done(struct draft *draft)
{
	fd_close(&draft->root_fd);
	fd_close(&draft->page_fd);
	fd_close(&draft->log_dir_fd);
}

/* When there is not enough memory the kernel takes from the least important first, and from workloads
 * before the daemons. */
static int oom_score_of(enum hierarchy_band band)
{
	static const int scores[BAND_COUNT] = { [BAND_CRITICAL] = 300,
						[BAND_PRODUCTION] = 500,
						[BAND_BATCH] = 800,
						[BAND_BEST_EFFORT] = 1000 };

	return scores[band];
}

static int check_place(const struct call *call, struct err *err)
{
	const Berth__Sandbox__V1__ContainerRef *ref = call->request->launch->ref;
	const struct container *other;

	LIST_FOREACH (other, &call->workload->containers, link) {
		if (strcmp(other->name, ref->container) != 0)
			continue;
		if (other->attempt >= ref->attempt)
			return err_set(err, ERR_EXISTS, EEXIST,
				       "container %s was launched as attempt %u already",
				       other->name, other->attempt);
		if (!container_has_ended(other))
			return err_set(err, ERR_PRECONDITION, EBUSY,
				       "attempt %u of container %s has not ended", other->attempt,
				       other->name);
	}
	if (ref->attempt == 0)
		return err_set(err, ERR_INVALID, EINVAL, "attempt: counts from 1");
	if (call->workload->n_containers >= REGISTRY_CONTAINERS_MAX ||
	    workload_count_running(call->workload) >= REGISTRY_RUNNING_MAX)
		return err_set(
			err, ERR_EXHAUSTED, ENOSPC,
			"workload %s has %zu containers, of which %zu have not ended: at most %d and %d",
			call->workload->id, call->workload->n_containers,
			workload_count_running(call->workload), REGISTRY_CONTAINERS_MAX,
			REGISTRY_RUNNING_MAX);
	return 0;
}

static int draft_program(struct call *call, struct draft *draft, struct err *err)
{
	const Berth__Sandbox__V1__Launch *launch = call->request->launch;
	const struct program_wish wish = {
		launch->command,      launch->n_command,      launch->env,    launch->n_env,
		launch->working_dir,  launch->user,           launch->groups, launch->n_groups,
		launch->capabilities, launch->n_capabilities,
	};
	struct launch_spec *spec = &draft->spec;
	int r = program_check(&wish, &call->host->policy, call->arena, &draft->program, err);

	if (r < 0)
		return r;
	spec->argv = draft->program.argv;
	spec->env = draft->program.env;
	spec->working_dir = draft->program.working_dir;
	spec->user = draft->program.user;
	spec->groups = draft->program.groups;
	spec->group_count = draft->program.group_count;
	spec->capabilities = draft->program.capabilities;
	spec->tty = launch->tty;
	spec->stdin_open = launch->stdin;
	spec->gate_open = launch->gate_open;
	spec->strict_proc = launch->strict_proc;
	spec->oom_score_adj = oom_score_of(call->workload->band);
	return 0;
}

static int draft_limits(struct call *call, struct draft *draft, struct err *err)
{
	struct sandboxd *host = call->host;
	const struct hierarchy_feature *swap = hierarchy_feature(host->hierarchy,
								 "cgroup.memory.swap");
	int r = limits_from_message(call->request->launch->limits, &host->policy, &draft->limits,
				    err);

	if (r < 0)
		return r;
	/* What nobody asked to swap is not swapped, wherever that can be enforced. */
	if (draft->limits.memory_swap_bytes == TASKGROUP_UNSET && swap && swap->supported)
		draft->limits.memory_swap_bytes = 0;
	if (hierarchy_is_v2(host->hierarchy, CONTROLLER_MEMORY))
		draft->limits.memory_oom_group = 1;
	draft->spec.limits = &draft->limits;
	return taskgroup_limits_check(host->hierarchy, &draft->limits, err);
}

static int add_rlimit(struct container_settings *settings, int resource, uint64_t soft,
		      uint64_t hard, struct err *err)
{
	if (settings->n_rlimits == REGISTRY_RLIMITS_MAX)
		return err_set(err, ERR_INVALID, E2BIG, "rlimits: at most %d",
			       REGISTRY_RLIMITS_MAX);
	settings->rlimits[settings->n_rlimits++] = (struct identity_limit){ resource,
									    { soft, hard } };
	return 0;
}

static bool has_rlimit(const struct container_settings *settings, int resource)
{
	for (size_t i = 0; i < settings->n_rlimits; i++)
		if (settings->rlimits[i].resource == resource)
			return true;
	return false;
}

static int take_rlimit(const Berth__Sandbox__V1__Rlimit *wish, struct container_settings *settings,
		       struct err *err)
{
	char quoted[NAME_QUOTED_MAX];
	int resource = identity_limit_resource(wish->name);

	if (resource < 0)
		return err_set(err, ERR_INVALID, EINVAL, "rlimits: %s is no name of a limit",
			       names_quote(wish->name, quoted));
	if (wish->soft > wish->hard)
		return err_set(err, ERR_INVALID, EINVAL, "rlimits: %s: soft is above hard",
			       wish->name);
	if (has_rlimit(settings, resource))
		return err_set(err, ERR_INVALID, EINVAL, "rlimits: %s is given twice", wish->name);
	return add_rlimit(settings, resource, wish->soft, wish->hard, err);
}

static int draft_rlimits(struct call *call, struct container_settings *settings, struct err *err)
{
	const Berth__Sandbox__V1__Launch *launch = call->request->launch;
	const struct policy *policy = &call->host->policy;
	int r = 0;

	for (size_t i = 0; r == 0 && i < launch->n_rlimits; i++)
		r = take_rlimit(launch->rlimits[i], settings, err);
	if (r == 0 && !has_rlimit(settings, RLIMIT_NOFILE))
		r = add_rlimit(settings, RLIMIT_NOFILE, policy->default_open_files,
			       policy->default_open_files, err);
	if (r == 0 && policy->default_processes && !has_rlimit(settings, RLIMIT_NPROC))
		r = add_rlimit(settings, RLIMIT_NPROC, policy->default_processes,
			       policy->default_processes, err);
	return r;
}

static int take_volume(struct call *call, const Berth__Sandbox__V1__Mount *wish,
		       struct launch_mount *mount, struct err *err)
{
	const struct volume *volume = volumes_find(&call->workload->volumes, wish->volume);
	char quoted[NAME_QUOTED_MAX];
	int r;

	if (!volume)
		return err_set(err, ERR_INVALID, ENOENT, "the workload has no volume %s",
			       names_quote(wish->volume, quoted));
	if (wish->sub_path[0]) {
		const char *absolute = arena_printf(call->arena, "/%s", wish->sub_path);

		if (!absolute)
			return err_oom(err);
		r = names_check_path(absolute, err);
		if (r < 0)
			return err_prefix(err, r, "sub_path");
	}
	if (volume->read_only && !wish->read_only)
		return err_set(
			err, ERR_DENIED, EROFS,
			"volume %s may only be read by AllowHostDirectories of this host's policy: mount it read_only",
			volume->name);
	mount->source_fd = volume->fd;
	mount->sub_path = wish->sub_path;
	mount->map_ids = !volume->is_tmpfs && !call->workload->host_ids;
	return 0;
}

/* The files of an image, without what a root file system has in any case. */
static int take_image(struct call *call, const Berth__Sandbox__V1__Mount *wish,
		      struct container_settings *settings, struct launch_mount *mount,
		      struct err *err)
{
	if (wish->volume[0])
		return err_set(err, ERR_INVALID, EINVAL,
			       "volume and layers: only one can be mounted");
	if (!wish->read_only)
		return err_set(err, ERR_INVALID, EROFS,
			       "layers: an image is mounted for reading: mount it read_only");
	if (wish->sub_path[0])
		return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP,
			       "sub_path: layers are mounted whole");
	mount->map_ids = !call->workload->host_ids;
	return draft_layers(call, wish->layers, wish->n_layers, settings, &mount->layers,
			    &mount->layer_count, err);
}

static int take_mount(struct call *call, const Berth__Sandbox__V1__Mount *wish,
		      struct container_settings *settings, struct launch_mount *ret_mount,
		      struct err *err)
{
	struct launch_mount mount = { .source_fd = -1,
				      .target = wish->target,
				      .read_only = wish->read_only };
	int r = names_check_path(wish->target, err);

	if (r < 0)
		return err_prefix(err, r, "target");
	if (strcmp(wish->target, "/") == 0 || path_is_reserved(wish->target))
		return err_set(err, ERR_INVALID, EINVAL,
			       "target: %s is no place for a volume: not /, /proc, /sys or /dev",
			       wish->target);
	r = wish->n_layers > 0 ? take_image(call, wish, settings, &mount, err)
			       : take_volume(call, wish, &mount, err);
	if (r == 0)
		*ret_mount = mount;
	return r;
}

static int draft_mounts(struct call *call, struct draft *draft, struct container_settings *settings,
			struct err *err)
{
	const Berth__Sandbox__V1__Launch *launch = call->request->launch;

	if (launch->n_mounts > MOUNTS_MAX)
		return err_set(err, ERR_INVALID, E2BIG, "mounts: %zu, at most %d", launch->n_mounts,
			       MOUNTS_MAX);
	for (size_t i = 0; i < launch->n_mounts; i++) {
		int r = take_mount(call, launch->mounts[i], settings, &draft->mounts[i], err);

		if (r < 0)
			return err_prefix(err, r, "mounts[%zu]", i);
	}
	draft->spec.mounts = draft->mounts;
	draft->spec.mount_count = launch->n_mounts;
	return 0;
}

/* Which filter, and the compiled one where the cache has it. */
static int draft_filter(struct call *call, struct draft *draft, struct container_settings *settings,
			struct err *err)
{
	const Berth__Sandbox__V1__Launch *launch = call->request->launch;
	struct filter_request *request = &draft->spec.filter_request;
	char quoted[NAME_QUOTED_MAX];

	if (launch->oci_seccomp_json[0] && launch->profile[0])
		return err_set(err, ERR_INVALID, EINVAL,
			       "profile: a name and an OCI profile at once");
	if (launch->oci_seccomp_json[0])
		settings->filter_source = FILTER_OCI;
	else if (strcmp(launch->profile, "default") == 0 || !launch->profile[0])
		settings->filter_source = FILTER_DEFAULT;
	else if (strcmp(launch->profile, "unconfined") == 0)
		settings->filter_source = FILTER_UNCONFINED;
	else
		return err_set(err, ERR_INVALID, EINVAL,
			       "profile: %s is neither default nor unconfined",
			       names_quote(launch->profile, quoted));
	if (settings->filter_source == FILTER_UNCONFINED && !call->host->policy.allow_unconfined)
		return err_set(err, ERR_DENIED, EPERM,
			       "profile: AllowUnconfined=no in this host's policy");
	if (strlen(launch->oci_seccomp_json) > FILTER_JSON_MAX)
		return err_set(err, ERR_INVALID, E2BIG, "oci_seccomp_json: more than %u bytes",
			       FILTER_JSON_MAX);
	settings->capabilities = draft->program.capabilities;
	if (settings->filter_source == FILTER_OCI) {
		settings->json = strdup(launch->oci_seccomp_json);
		if (!settings->json)
			return err_oom(err);
	}
	settings_filter_request(settings, request);
	draft->spec.compile = filter_compile;
	draft->spec.filter = filter_cache_get(call->host->filters, request,
					      &draft->spec.filter_image_fd);
	return 0;
}

/* A directory that berthd's group may read, and whose files it may, by the set-group-id bit. */
static int open_log_level(int above_fd, const char *name, gid_t gid, struct err *err)
{
	cleanup_fd int fd = -1;
	bool made = mkdirat(above_fd, name, 0750) == 0;

	if (!made && errno != EEXIST)
		return err_set(err, errno == ENOSPC ? ERR_EXHAUSTED : ERR_INTERNAL, errno,
			       "cannot make the log directory %s: %m", name);
	fd = openat(above_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open the log directory %s: %m",
			       name);
	if (made && (fchown(fd, 0, gid) < 0 || fchmod(fd, 02750) < 0))
		return err_set(err, ERR_INTERNAL, errno,
			       "cannot give away the log directory %s: %m", name);
	return take_fd(&fd);
}

static int draft_log(struct call *call, struct draft *draft, struct container_settings *settings,
		     struct err *err)
{
	const Berth__Sandbox__V1__Launch *launch = call->request->launch;
	const struct policy *policy = &call->host->policy;
	struct launch_log *log = &draft->spec.log;
	cleanup_fd int above = -1;

	FAILPOINT_RETURN("sandboxd.launch.logs", err);
	log->max_file_bytes = launch->log_max_file_bytes ? launch->log_max_file_bytes
							 : policy->default_log_file_bytes;
	log->max_files = launch->log_max_files ? launch->log_max_files
					       : (uint32_t)policy->default_log_files;
	settings->log_max_file_bytes = log->max_file_bytes;
	settings->log_max_files = log->max_files;
	settings->tty = launch->tty;
	if (log->max_file_bytes < LOG_FILE_BYTES_MIN || log->max_file_bytes > LOG_FILE_BYTES_MAX ||
	    log->max_files > LOG_FILES_MAX)
		return err_set(err, ERR_INVALID, ERANGE,
			       "log: files of %d bytes to 1 TiB, at most %d of them",
			       LOG_FILE_BYTES_MIN, LOG_FILES_MAX);
	above = open_log_level(call->host->log_fd, call->workload->id, call->host->agent_gid, err);
	if (above < 0)
		return above;
	draft->log_dir_fd = open_log_level(above, launch->ref->container, call->host->agent_gid,
					   err);
	log->dir_fd = draft->log_dir_fd;
	return draft->log_dir_fd < 0 ? draft->log_dir_fd : 0;
}

static uint64_t writable_bytes(const struct call *call)
{
	const Berth__Sandbox__V1__Launch *launch = call->request->launch;

	return launch->writable_layer_bytes ? launch->writable_layer_bytes
					    : call->host->policy.default_writable_layer_bytes;
}

static int check_writable_layer(const struct call *call, struct err *err)
{
	uint64_t bytes = writable_bytes(call);
	uint64_t most = call->host->policy.max_writable_layer_bytes;

	if (bytes > most)
		return err_set(err, ERR_DENIED, EDQUOT,
			       "writable_layer_bytes: %" PRIu64 " are more than the %" PRIu64
			       " that MaxWritableLayer of this host's policy allows",
			       bytes, most);
	return writable_layer_check(bytes, call->request->launch->writable_layer_inodes, err);
}

static int draft_image(struct call *call, struct draft *draft, struct container_settings *settings,
		       struct err *err)
{
	const Berth__Sandbox__V1__Launch *launch = call->request->launch;
	struct layer_root *root = &draft->spec.root_layers;
	int r = 0;

	if (launch->root_directory[0])
		return err_set(err, ERR_INVALID, EINVAL,
			       "root_directory and layers: only one can be the root");
	if (launch->root_writable)
		r = check_writable_layer(call, err);
	else if (launch->writable_layer_bytes || launch->writable_layer_inodes)
		return err_set(err, ERR_INVALID, EINVAL,
			       "writable_layer_bytes: the root is not writable");
	if (r == 0)
		r = draft_layers(call, launch->layers, launch->n_layers, settings, &root->hexes,
				 &root->count, err);
	root->writable_bytes = launch->root_writable ? writable_bytes(call) : 0;
	root->writable_inodes = launch->writable_layer_inodes;
	return r;
}

static int draft_root(struct call *call, struct draft *draft, struct container_settings *settings,
		      struct err *err)
{
	const Berth__Sandbox__V1__Launch *launch = call->request->launch;

	if (launch->n_layers > 0)
		return draft_image(call, draft, settings, err);
	draft->root_fd = policy_open_root(&call->host->policy, launch->root_directory,
					  launch->root_writable, err);
	draft->spec.root_fd = draft->root_fd;
	draft->spec.root_writable = launch->root_writable;
	return draft->root_fd < 0 ? draft->root_fd : 0;
}

static int draft_place(struct call *call, struct draft *draft, struct container *container,
		       struct err *err)
{
	char name[REMOVAL_NAME_MAX];
	int r = monitors_group_path(container, draft->group_path, err);

	if (r < 0)
		return r;
	FAILPOINT_RETURN("sandboxd.launch.directory", err);
	removal_container_name(container, name);
	container->run_fd = record_make_dir(call->workload->run_fd, name, err);
	if (container->run_fd < 0)
		return container->run_fd;
	FAILPOINT_RETURN("sandboxd.launch.page", err);
	draft->page_fd = page_file_create(container->run_fd, container->attempt, err);
	draft->spec.page_fd = draft->page_fd;
	return draft->page_fd < 0 ? draft->page_fd : 0;
}

static void draft_host(struct call *call, struct draft *draft, const struct container *container)
{
	const struct namespace_set *set = &call->workload->namespaces;
	struct launch_spec *spec = &draft->spec;

	spec->workload = call->workload->id;
	spec->container = container->name;
	spec->attempt = container->attempt;
	spec->namespaces = (struct launch_namespaces){ set->user_fd, set->net_fd, set->ipc_fd,
						       set->uts_fd };
	spec->host_id_first = set->id_first;
	spec->hierarchy = call->host->hierarchy;
	spec->group_path = draft->group_path;
	spec->device_filters = call->host->device_filters;
	spec->monitors_fd = call->host->monitors_fd;
	spec->rlimits = container->settings.rlimits;
	spec->rlimit_count = container->settings.n_rlimits;
	spec->run_dir_fd = container->run_fd;
	spec->monitor_program_fd = call->host->monitor_program_fd;
	spec->store_fd = call->host->layers.fd;
}

/* Everything that may be refused comes before the first thing that is made. */
static int fill_draft(struct call *call, struct draft *draft, struct container *container,
		      struct err *err)
{
	int r = draft_program(call, draft, err);

	if (r == 0)
		r = draft_limits(call, draft, err);
	if (r == 0)
		r = draft_rlimits(call, &container->settings, err);
	if (r == 0)
		r = draft_mounts(call, draft, &container->settings, err);
	if (r == 0)
		r = draft_filter(call, draft, &container->settings, err);
	if (r == 0)
		r = draft_root(call, draft, &container->settings, err);
	if (r == 0)
		r = draft_log(call, draft, &container->settings, err);
	if (r == 0)
		r = draft_place(call, draft, container, err);
	if (r == 0)
		r = record_write_container(container->run_fd, call->host->boot_id, container, err);
	return r;
}

static int fork_monitor(struct call *call, struct draft *draft, struct container *container,
			struct err *err)
{
	struct launched launched = { .pidfd = -1, .control_fd = -1 };
	int r;

	FAILPOINT_RETURN("sandboxd.launch.fork", err);
	draft_host(call, draft, container);
	r = launcher_fork(call->host->launcher, &draft->spec, &launched, err);
	if (r < 0)
		return r;
	FAILPOINT("sandboxd.launch.forked");
	fd_close(&launched.pidfd); /* our child: the reaper tells of its end */
	return monitors_adopt(&container->monitor, launched.pid, launched.control_fd, err);
}

/*
 * Safe: every field is checked here, before anything is made: the root and the volumes against the policy,
 * by descriptor; capabilities, profile and limits against the policy and the host. Where the container's
 * group, page, socket and log files lie is the daemon's choice, of checked names. The number of
 * containers is bounded, and each has limits, by the policy's defaults where none are asked for.
 */
int call_launch(struct call *call, struct err *err)
{
	const Berth__Sandbox__V1__ContainerRef *ref = call->request->launch->ref;
	cleanup(draft_done) struct draft draft = { .root_fd = -1, .page_fd = -1, .log_dir_fd = -1 };
	struct container *container;
	int r = check_place(call, err);

	if (r == 0)
		r = descriptors_check_room(err);

	if (r < 0)
		return r;
	launch_spec_init(&draft.spec);
	container = container_new(call->host, call->workload, ref->container, ref->attempt);
	if (!container)
		return err_oom(err);
	r = fill_draft(call, &draft, container, err);
	if (r == 0)
		r = fork_monitor(call, &draft, container, err);
	if (r < 0) {
		/* A monitor that was forked, and could not be watched: nobody would know of its container. */
		(void)monitors_send(&container->monitor, MONITOR_ABORT, NULL, NULL, 0, NULL);
		removal_container(container, NULL, NULL);
	}
	return r;
}
