/* Requests about whole workloads: CreateWorkload, Freeze, RemoveWorkload. */
#include <errno.h>

#include "proto/failpoint.h"
#include "proto/names.h"
#include "sandbox/agent_link.h"
#include "sandbox/call.h"
#include "sandbox/launch.h"
#include "sandbox/descriptors.h"
#include "sandbox/prepare.h"
#include "sandbox/record.h"
#include "sandbox/removal.h"
#include "sandbox/requests_limits.h"
#include "sandbox/sandboxd.h"

#define SYSCTLS_MAX         PREPARE_SYSCTLS_MAX
#define FREEZE_LOOK_USEC    (10ULL * 1000)
#define FREEZE_TIMEOUT_USEC (10000ULL * 1000)

/* CreateWorkload */

static int check_policy(const struct policy *policy, const Berth__Sandbox__V1__CreateWorkload *wish,
			struct err *err)
{
	if (wish->host_network && !policy->allow_host_network)
		return err_set(err, ERR_DENIED, EPERM,
			       "host_network: AllowHostNetwork=no in this host's policy");
	if (wish->host_ids && !policy->allow_host_ids)
		return err_set(err, ERR_DENIED, EPERM,
			       "host_ids: AllowHostIds=no in this host's policy");
	if (wish->n_sysctls > SYSCTLS_MAX)
		return err_set(err, ERR_INVALID, E2BIG, "sysctls: at most %d", SYSCTLS_MAX);
	for (size_t i = 0; i < wish->n_sysctls; i++) {
		int r = policy_check_sysctl(policy, wish->sysctls[i]->key, wish->sysctls[i]->value,
					    wish->host_network, err);
		if (r < 0)
			return err_prefix(err, r, "sysctls");
	}
	return 0;
}

static int check_create(const struct sandboxd *host, const Berth__Sandbox__V1__CreateWorkload *wish,
			struct err *err)
{
	int r;

	if (wish->band < 1 || wish->band > BAND_COUNT)
		return err_set(err, ERR_INVALID, EINVAL, "band: %u is none of 1 to %d", wish->band,
			       BAND_COUNT);
	if (wish->hostname[0]) {
		r = names_check_hostname(wish->hostname, err);
		if (r < 0)
			return err_prefix(err, r, "hostname");
	}
	if (host->registry.n_workloads >= host->policy.max_workloads)
		return err_set(
			err, ERR_EXHAUSTED, ENOSPC,
			"%zu workloads are here, and MaxWorkloads of this host's policy is %llu",
			host->registry.n_workloads, (unsigned long long)host->policy.max_workloads);
	return check_policy(&host->policy, wish, err);
}

static int make_group(struct sandboxd *host, struct workload *workload,
		      const Berth__Sandbox__V1__CreateWorkload *wish, struct err *err)
{
	struct taskgroup_limits limits;
	char path[TASKGROUP_PATH_MAX];
	char name[REMOVAL_NAME_MAX];
	int r = limits_from_message(wish->limits, NULL, &limits, err);

	FAILPOINT_RETURN("sandboxd.create.cgroup", err);
	removal_workload_name(workload, name);
	if (r == 0)
		r = taskgroup_path(path, workload->band, name, NULL, err);
	if (r == 0)
		r = taskgroup_create(host->hierarchy, path, TASKGROUP_WORKLOAD, &limits,
				     &workload->group, err);
	return r;
}

static int make_volumes(struct sandboxd *host, struct workload *workload,
			const Berth__Sandbox__V1__CreateWorkload *wish, struct err *err)
{
	FAILPOINT_RETURN("sandboxd.create.volumes", err);
	for (size_t i = 0; i < wish->n_volumes; i++) {
		const struct volume_wish volume = {
			.name = wish->volumes[i]->name,
			.host_directory = wish->volumes[i]->host_directory,
			.tmpfs_bytes = wish->volumes[i]->tmpfs_bytes,
			.tmpfs_inodes = wish->volumes[i]->tmpfs_inodes,
		};
		int r = volumes_add(&workload->volumes, &host->policy, workload->run_fd,
				    workload->namespaces.id_first, &volume, err);
		if (r < 0)
			return err_prefix(err, r, "volumes");
	}
	return 0;
}

static int prepare_namespaces(const struct sandboxd *host, const struct workload *workload,
			      const Berth__Sandbox__V1__CreateWorkload *wish, struct err *err)
{
	struct launch_sysctl sysctls[SYSCTLS_MAX];

	FAILPOINT_RETURN("sandboxd.create.prepare", err);
	for (size_t i = 0; i < wish->n_sysctls; i++)
		sysctls[i] = (struct launch_sysctl){ wish->sysctls[i]->key,
						     wish->sysctls[i]->value };
	return prepare_namespaces_of(host, workload, wish->hostname, sysctls, wish->n_sysctls, err);
}

static int write_record(struct sandboxd *host, struct workload *workload,
			const Berth__Sandbox__V1__CreateWorkload *wish, struct arena *arena,
			struct err *err)
{
	struct record_workload record = {
		.version = RECORD_VERSION,
		.boot_id = host->boot_id,
		.workload = workload->id,
		.instance = workload->instance,
		.band = workload->band,
		.host_network = workload->host_network,
		.host_ids = workload->host_ids,
		.id_first = workload->namespaces.id_first,
		.group_id = taskgroup_id(workload->group),
		.hostname = wish->hostname,
	};

	FAILPOINT_RETURN("sandboxd.create.record", err);
	for (size_t i = 0; i < wish->n_sysctls; i++)
		if (arena_append(arena, &record.sysctls.items, &record.sysctls.n,
				 arena_printf(arena, "%s=%s", wish->sysctls[i]->key,
					      wish->sysctls[i]->value)) < 0)
			return err_oom(err);
	for (size_t i = 0; i < workload->volumes.n; i++) {
		const struct volume *volume = &workload->volumes.list[i];
		char *text = volume->is_tmpfs
				     ? arena_printf(arena, "%s:tmpfs:%llu:%llu", volume->name,
						    (unsigned long long)volume->tmpfs_bytes,
						    (unsigned long long)volume->tmpfs_inodes)
				     : arena_printf(arena, "%s:host:%s", volume->name,
						    volume->host_directory);

		if (arena_append(arena, &record.volumes.items, &record.volumes.n, text) < 0)
			return err_oom(err);
	}
	return record_write_workload(workload->run_fd, &record, err);
}

/* The steps, in order; removal_workload() undoes however many were done. */
static int make_workload(struct call *call, struct workload *workload,
			 const Berth__Sandbox__V1__CreateWorkload *wish, struct err *err)
{
	struct sandboxd *host = call->host;
	char name[REMOVAL_NAME_MAX];
	int r;

	removal_workload_name(workload, name);
	FAILPOINT_RETURN("sandboxd.create.directory", err);
	workload->run_fd = record_make_dir(host->run_fd, name, err);
	if (workload->run_fd < 0)
		return workload->run_fd;
	FAILPOINT_RETURN("sandboxd.create.namespaces", err);
	r = namespace_pool_take(host->pool, workload->host_network, workload->host_ids,
				&workload->namespaces, err);
	if (r == 0)
		r = make_group(host, workload, wish, err);
	if (r == 0)
		r = make_volumes(host, workload, wish, err);
	if (r == 0)
		r = prepare_namespaces(host, workload, wish, err);
	if (r == 0)
		r = write_record(host, workload, wish, call->arena, err);
	return r;
}

/*
 * Safe: the id is a checked name and new here; the number of workloads is bounded. Ids, namespaces
 * and the group's place are the daemon's choice. Of the host only what the policy names is reached: its
 * network, its ids, directories by path_open_host(). A failure leaves nothing.
 */
int call_create_workload(struct call *call, struct err *err)
{
	const Berth__Sandbox__V1__CreateWorkload *wish = call->request->create_workload;
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__CreateWorkloadResult result =
		BERTH__SANDBOX__V1__CREATE_WORKLOAD_RESULT__INIT;
	struct sandboxd *host = call->host;
	struct workload *workload = registry_find(&host->registry, wish->workload);
	int r;

	if (workload)
		return err_set(err, ERR_EXISTS, EEXIST, "workload %s is here, as instance %llu",
			       wish->workload, (unsigned long long)workload->instance);
	r = check_create(host, wish, err);
	if (r == 0)
		r = descriptors_check_room(err);
	if (r < 0)
		return r;
	workload = registry_add(&host->registry, wish->workload, wish->instance);
	if (!workload)
		return err_oom(err);
	workload->host = host;
	workload->band = (enum hierarchy_band)(wish->band - 1);
	workload->host_network = wish->host_network;
	workload->host_ids = wish->host_ids;
	r = make_workload(call, workload, wish, err);
	if (r < 0) {
		removal_workload(host, workload, NULL, NULL);
		return r;
	}
	FAILPOINT("sandboxd.create.answer");
	result.host_id_first = workload->namespaces.id_first;
	reply.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_CREATE_WORKLOAD;
	reply.create_workload = &result;
	agent_link_reply(host->link, call->asker, &reply, NULL, 0);
	return 1;
}

/* Freeze: answered when the kernel has done it. */

static void freeze_forget(struct workload *workload)
{
	workload->freeze_source = sd_event_source_disable_unref(workload->freeze_source);
	workload->freeze_timer = sd_event_source_disable_unref(workload->freeze_timer);
	fd_close(&workload->freeze_fd);
	workload->freeze_asker = (struct asker){ 0 };
}

static void freeze_answer(struct workload *workload, const struct err *failure)
{
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;

	if (failure)
		agent_link_reply_failure(workload->host->link, workload->freeze_asker, failure);
	else
		agent_link_reply(workload->host->link, workload->freeze_asker, &reply, NULL, 0);
	freeze_forget(workload);
}

/* Returns whether it was answered. */
static bool freeze_look(struct workload *workload)
{
	struct err err = { 0 };
	bool frozen;
	int r = taskgroup_is_frozen(workload->group, &frozen);

	if (r < 0) {
		(void)err_set(&err, ERR_INTERNAL, -r, "cannot read whether it is frozen: %m");
		freeze_answer(workload, &err);
		return true;
	}
	if (frozen != workload->freeze_wanted)
		return false;
	freeze_answer(workload, NULL);
	return true;
}

static int on_freeze_event(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	(void)freeze_look(userdata);
	return 0;
}

/* Where the kernel tells nobody (legacy) this is how it is seen; elsewhere it is the deadline. */
static int on_freeze_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct workload *workload = userdata;
	struct err err = { 0 };
	uint64_t now = 0;

	if (freeze_look(workload))
		return 0;
	(void)sd_event_now(workload->host->event, CLOCK_BOOTTIME, &now);
	if (now >= workload->freeze_deadline_usec) {
		(void)err_set(&err, ERR_TIMEOUT, ETIMEDOUT,
			      "workload %s is not %s after %llu s: a process waits in the kernel",
			      workload->id, workload->freeze_wanted ? "frozen" : "thawed",
			      FREEZE_TIMEOUT_USEC / 1000000);
		freeze_answer(workload, &err);
		return 0;
	}
	(void)sd_event_source_set_time_relative(source, FREEZE_LOOK_USEC);
	(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

static int freeze_wait(struct workload *workload, struct err *err)
{
	sd_event *event = workload->host->event;
	uint64_t now = 0;
	int r;

	(void)sd_event_now(event, CLOCK_BOOTTIME, &now);
	workload->freeze_deadline_usec = now + FREEZE_TIMEOUT_USEC;
	workload->freeze_fd = taskgroup_wait_fd(workload->group);
	r = sd_event_add_time_relative(event, &workload->freeze_timer, CLOCK_BOOTTIME,
				       workload->freeze_fd < 0 ? FREEZE_LOOK_USEC / 4
							       : FREEZE_LOOK_USEC,
				       0, on_freeze_timer, workload);
	if (r >= 0 && workload->freeze_fd >= 0)
		r = sd_event_add_io(event, &workload->freeze_source, workload->freeze_fd, EPOLLPRI,
				    on_freeze_event, workload);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot wait for the freezer: %m");
	return 0;
}

/*
 * Safe: stops or resumes the processes of one workload of ours, by its own group. At most one such
 * request a workload waits; a new one ends the wait of the one before.
 */
int call_freeze(struct call *call, struct err *err)
{
	struct workload *workload = call->workload;
	struct err superseded = { 0 };
	int r;

	FAILPOINT_RETURN("sandboxd.freeze.begin", err);
	if (workload->freeze_asker.connection) {
		(void)err_set(&superseded, ERR_CANCELLED, ECANCELED,
			      "another Freeze came for workload %s", workload->id);
		freeze_answer(workload, &superseded);
	}
	r = taskgroup_freeze(workload->group, call->request->freeze->frozen, err);
	if (r < 0)
		return r;
	workload->freeze_asker = call->asker;
	workload->freeze_wanted = call->request->freeze->frozen;
	if (freeze_look(workload))
		return 1;
	r = freeze_wait(workload, err);
	if (r < 0)
		freeze_forget(workload);
	return r < 0 ? r : 1;
}

/* RemoveWorkload */

static void note_pending(const char *sentence, void *userdata)
{
	struct call *call = userdata;
	Berth__Sandbox__V1__RemoveResult *result = call->removed;

	(void)arena_append(call->arena, &result->pending, &result->n_pending,
			   arena_strdup(call->arena, sentence));
}

/*
 * Safe: only where all containers have ended. Removes what this daemon made for this workload, by
 * descriptors of its own directories; the log files without following a link. A workload that was
 * removed before may still have log files: they are those of an id that nobody has now.
 */
int call_remove_workload(struct call *call, struct err *err)
{
	const Berth__Sandbox__V1__RemoveWorkload *wish = call->request->remove_workload;
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__RemoveResult result = BERTH__SANDBOX__V1__REMOVE_RESULT__INIT;
	struct workload *workload = call->workload;
	size_t running = workload ? workload_count_running(workload) : 0;
	int r;

	if (!workload && !wish->remove_logs)
		return err_set(err, ERR_NOT_FOUND, ENOENT, "no workload %s", wish->workload);
	if (running > 0)
		return err_set(err, ERR_PRECONDITION, EBUSY,
			       "workload %s has %zu containers that have not ended", workload->id,
			       running);
	FAILPOINT("sandboxd.remove.begin");
	call->removed = &result;
	/* The record goes last: as long as it is there berthd is told of the workload, and asks again. */
	r = wish->remove_logs ? removal_logs(call->host, wish->workload, err) : 0;
	if (r < 0)
		note_pending(err->text, call);
	FAILPOINT("sandboxd.remove.logs");
	if (workload)
		removal_workload(call->host, workload, note_pending, call);
	call->workload = NULL;
	FAILPOINT("sandboxd.remove.answer");
	reply.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_REMOVE;
	reply.remove = &result;
	agent_link_reply(call->host->link, call->asker, &reply, NULL, 0);
	return 1;
}
