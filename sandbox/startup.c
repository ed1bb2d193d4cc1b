#include "sandbox/startup.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "proto/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/confine.h"
#include "sandbox/departures.h"
#include "sandbox/descriptor_store.h"
#include "sandbox/descriptors.h"
#include "sandbox/device_filter.h"
#include "sandbox/features.h"
#include "sandbox/filter.h"
#include "sandbox/hierarchy.h"
#include "sandbox/idrange.h"
#include "sandbox/launch.h"
#include "sandbox/launcher.h"
#include "sandbox/layer_jobs.h"
#include "sandbox/layer_probe.h"
#include "sandbox/leftovers.h"
#include "sandbox/namespace_pool.h"
#include "sandbox/reaper.h"
#include "sandbox/recovery.h"
#include "sandbox/recovery_groups.h"
#include "sandbox/requests.h"
#include "sandbox/rootfs.h"
#include "sandbox/slow_write.h"

#define FILTERS_KEPT    64
#define OOM_SCORE       "-900" /* a workload goes before berthd, and berthd before this */
#define DESCRIPTORS_MIN 65536

static int make_parents(const char *path, mode_t mode, struct err *err)
{
	cleanup_free char *copy = strdup(path);

	if (!copy)
		return err_oom(err);
	for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, mode) < 0 && errno != EEXIST)
			return err_set(err, ERR_INTERNAL, errno, "cannot make %s: %m", copy);
		*slash = '/';
	}
	return 0;
}

static int open_dir(const char *path, mode_t mode, struct err *err)
{
	int r = make_parents(path, 0755, err);
	int fd;

	if (r < 0)
		return r;
	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return err_set(err, ERR_INTERNAL, errno, "cannot make %s: %m", path);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open %s: %m", path);
	return fd;
}

static int check_owner(int fd, const char *path, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_uid != 0 || (st.st_mode & 022))
		return err_set(err, ERR_DENIED, EPERM,
			       "%s must be root's, and nobody else's to write", path);
	return 0;
}

/* The steps. Each takes what it needs from what the ones before it made. */

static int take_descriptors(const struct startup_options *options, struct sandboxd *host,
			    struct err *err)
{
	descriptor_store_begin();
	return 0;
}

static int load_policy(const struct startup_options *options, struct sandboxd *host,
		       struct err *err)
{
	host->policy_path = options->policy_path;
	return policy_load(options->policy_path,
			   options->policy_must_exist ? CONFIG_MUST_EXIST : CONFIG_MAY_BE_MISSING,
			   &host->policy, err);
}

static int probe_kernel(const struct startup_options *options, struct sandboxd *host,
			struct err *err)
{
	return features_probe(err);
}

static int find_agent(const struct startup_options *options, struct sandboxd *host, struct err *err)
{
	const struct passwd *user = getpwnam(host->policy.agent_user);

	if (!user) {
		log_event(LOG_WARNING, NULL,
			  "there is no user %s (AgentUser): only root may use the socket",
			  host->policy.agent_user);
		return 0;
	}
	host->agent_uid = user->pw_uid;
	host->agent_gid = user->pw_gid;
	return 0;
}

static int open_places(const struct startup_options *options, struct sandboxd *host,
		       struct err *err)
{
	int r;

	host->run_fd = open_dir(host->policy.run_directory, 0700, err);
	if (host->run_fd < 0)
		return host->run_fd;
	if (fchmod(host->run_fd, 0700) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot close %s to others: %m",
			       host->policy.run_directory);
	r = check_owner(host->run_fd, host->policy.run_directory, err);
	if (r < 0)
		return r;
	host->log_fd = open_dir(host->policy.log_directory, 0750, err);
	if (host->log_fd < 0)
		return host->log_fd;
	r = check_owner(host->log_fd, host->policy.log_directory, err);
	if (r < 0)
		return r;
	if (fchown(host->log_fd, 0, host->agent_gid) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot give %s to berthd's group: %m",
			       host->policy.log_directory);
	/* One of our own: the host's may have other mounts on it, by ProtectKernelTunables= or by hand. */
	r = rootfs_new_mount("proc", NULL, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
			     err);
	if (r < 0)
		return r;
	host->proc_fd = r;
	return 0;
}

static int read_boot_id(const struct startup_options *options, struct sandboxd *host,
			struct err *err)
{
	cleanup_fd int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, host->boot_id, 36) != 36)
		return err_set(err, ERR_INTERNAL, errno, "cannot read the boot id: %m");
	return 0;
}

/* Best effort: a host that does not let us is told of by features_probe(). */
static int set_limits(const struct startup_options *options, struct sandboxd *host, struct err *err)
{
	cleanup_fd int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	struct rlimit files;

	if (fd >= 0)
		(void)!write(fd, OOM_SCORE, strlen(OOM_SCORE));
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		return 0;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
	if (files.rlim_max < DESCRIPTORS_MIN)
		log_event(
			LOG_NOTICE, NULL,
			"at most %llu descriptors: enough for some %llu containers (LimitNOFILE=)",
			(unsigned long long)files.rlim_max,
			(unsigned long long)files.rlim_max / DESCRIPTORS_PER_WORKLOAD);
	return 0;
}

static int find_groups(const struct startup_options *options, struct sandboxd *host,
		       struct err *err)
{
	const bool automatic = strcmp(host->policy.cgroup_parent, "auto") == 0;
	const struct hierarchy_options where = {
		.base = automatic ? NULL : host->policy.cgroup_parent,
		.trust_base = !automatic,
	};
	int r = hierarchy_discover(&where, &host->hierarchy, err);

	if (r < 0)
		return r;
	host->groups_lock_fd = hierarchy_lock(host->hierarchy, err);
	if (host->groups_lock_fd < 0)
		return host->groups_lock_fd;
	host->monitors_fd = hierarchy_open_monitors(host->hierarchy);
	return host->monitors_fd < 0 && host->monitors_fd != -EOPNOTSUPP
		       ? err_set(err, ERR_INTERNAL, -host->monitors_fd,
				 "cannot open the cgroup of monitors: %m")
		       : 0;
}

static int prepare_devices(const struct startup_options *options, struct sandboxd *host,
			   struct err *err)
{
	int r = device_filters_new(&host->device_filters, err);

	if (r == 0)
		r = device_filters_prepare(host->device_filters, host->hierarchy,
					   device_filter_default, device_filter_default_count, err);
	if (r < 0 && err->kind == ERR_UNSUPPORTED) {
		log_failure(LOG_WARNING, NULL, err);
		device_filters_free(host->device_filters);
		host->device_filters = NULL;
		return 0;
	}
	return r;
}

/* Compiling takes libseccomp 20 ms and some MiB, which a child takes instead. */
static int compile_in_child(const struct filter_request *request, struct err *err)
{
	cleanup(filter_free_p) struct filter *filter = NULL;
	int r = filter_compile(request, &filter, err);

	return r < 0 ? r : filter_serialize(filter, err);
}

static int prepare_filters(const struct startup_options *options, struct sandboxd *host,
			   struct err *err)
{
	const struct filter_request request = { .source = FILTER_DEFAULT, .listener = true };
	int image_fd;

	host->filters = filter_cache_new(FILTERS_KEPT);
	if (!host->filters)
		return err_oom(err);
	image_fd = compile_in_child(&request, err);
	return image_fd < 0 ? image_fd : filter_cache_put(host->filters, &request, image_fd, err);
}

static int open_monitor(const struct startup_options *options, struct sandboxd *host,
			struct err *err)
{
	int r;

	host->monitor_program_fd = launch_open_monitor_program(options->monitor_path, err);
	if (host->monitor_program_fd < 0)
		return host->monitor_program_fd;
	r = launch_check_monitor_program(host->monitor_program_fd, options->monitor_path, err);
	if (r == 0)
		return 0;
	/* What runs has monitors, and is looked after; nothing new is begun. Successors go on in the fork. */
	(void)snprintf(host->monitor_mismatch, sizeof(host->monitor_mismatch), "%s", err->text);
	log_failure(LOG_ERR, NULL, err);
	fd_close(&host->monitor_program_fd);
	*err = (struct err){ 0 };
	return 0;
}

/* Without it no layer comes; all else goes on. */
static int open_unpacker(const struct startup_options *options, struct sandboxd *host,
			 struct err *err)
{
	host->unpack_program_fd = open(options->unpack_path, O_RDONLY | O_CLOEXEC);
	if (host->unpack_program_fd < 0)
		log_event(LOG_WARNING, NULL, "no layer of an image can be unpacked: %s: %m",
			  options->unpack_path);
	return 0;
}

static int start_loop(const struct startup_options *options, struct sandboxd *host, struct err *err)
{
	int r = sd_event_new(&host->event);

	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot make an event loop: %m");
	r = reaper_new(host->event, &host->reaper, err);
	if (r == 0)
		r = departures_new(host->event, &host->departures, err);
	if (r < 0)
		return r;
	host->slow_writes = slow_writes_new(host);
	if (!host->slow_writes)
		return err_oom(err);
	host->ranges = idranges_new((uint32_t)host->policy.id_range_first,
				    (uint32_t)host->policy.id_range_count);
	if (!host->ranges)
		return err_oom(err);
	return leftovers_new(host->event, host->ranges, &host->leftovers, err);
}

static int recover(const struct startup_options *options, struct sandboxd *host, struct err *err)
{
	size_t n;

	recovery_run(host);
	n = descriptor_store_discard();
	host->orphans.descriptors = n;
	if (n > 0)
		log_event(LOG_NOTICE, NULL,
			  "%zu descriptors that systemd kept are of nothing that is here", n);
	recovery_remove_strangers(host);
	return 0;
}

/* Layers that were unpacked or removed by half. A store that cannot be opened now is told of to whoever asks
 * for a layer. */
static int open_layers(const struct startup_options *options, struct sandboxd *host,
		       struct err *err)
{
	struct err why = { 0 };

	host->layer_jobs = layer_jobs_new(host, host->unpack_program_fd);
	if (!host->layer_jobs)
		return err_oom(err);
	if (layer_store_open(&host->layers, host->policy.layer_directory, false, &why) < 0)
		log_failure(LOG_ERR, NULL, &why);
	host->orphans.layers = host->layers.n_strangers;
	if (host->orphans.layers > 0)
		log_event(LOG_NOTICE, NULL, "%zu layers were unpacked or removed by half",
			  host->orphans.layers);
	return layer_jobs_sweep(host->layer_jobs, err);
}

static int fill_pool(const struct startup_options *options, struct sandboxd *host, struct err *err)
{
	return namespace_pool_new(host->event, host->ranges, host->departures, host->proc_fd,
				  host->policy.namespace_pool, &host->pool, err);
}

static int try_layers(const struct startup_options *options, struct sandboxd *host, struct err *err)
{
	layer_probe(host);
	return 0;
}

static int listen_for_agent(const struct startup_options *options, struct sandboxd *host,
			    struct err *err)
{
	int fd;
	size_t n = descriptor_store_sockets(&fd);

	if (n > 1)
		return err_set(err, ERR_INVALID, EINVAL,
			       "systemd passed %zu sockets, and one is expected", n);
	if (n == 1 && (sd_is_socket(fd, AF_UNIX, SOCK_SEQPACKET, 1) <= 0 ||
		       fcntl(fd, F_SETFL, O_NONBLOCK) < 0))
		return err_set(
			err, ERR_INVALID, EINVAL,
			"what systemd passed is no listening SOCK_SEQPACKET socket: ListenSequentialPacket=");
	if (n == 0) {
		int r = make_parents(options->socket_path, 0755, err);

		if (r < 0)
			return r;
		fd = agent_link_listen(options->socket_path, host->agent_gid, err);
		if (fd < 0)
			return fd;
	}
	return agent_link_new(host->event, fd, host->agent_uid, requests_handle, host, &host->link,
			      err);
}

static int confine_self(const struct startup_options *options, struct sandboxd *host,
			struct err *err)
{
	return confine_apply(&host->policy, err);
}

/* After confine_self(), whose rights it keeps. */
static int start_launcher(const struct startup_options *options, struct sandboxd *host,
			  struct err *err)
{
	if (host->monitor_mismatch[0])
		return 0; /* nothing is launched */
	return launcher_new(host->monitor_program_fd, host->hierarchy, host->monitors_fd,
			    host->device_filters != NULL, host->reaper, &host->launcher, err);
}

static int (*const steps[])(const struct startup_options *options, struct sandboxd *host,
			    struct err *err) = {
	take_descriptors, load_policy,  probe_kernel,  find_agent,   open_places,
	read_boot_id,     set_limits,   find_groups,   start_loop,   prepare_devices,
	prepare_filters,  open_monitor, open_unpacker, confine_self, start_launcher,
	recover,          fill_pool,    open_layers,   try_layers,   listen_for_agent,
};

int startup_open(const struct startup_options *options, struct sandboxd *host, struct err *err)
{
	host->run_fd = -1;
	host->log_fd = -1;
	host->proc_fd = -1;
	host->monitors_fd = -1;
	host->groups_lock_fd = -1;
	host->monitor_program_fd = -1;
	host->unpack_program_fd = -1;
	layer_store_init(&host->layers);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int r = steps[i](options, host, err);

		if (r < 0)
			return r;
	}
	return 0;
}

void startup_close(struct sandboxd *host)
{
	agent_link_free(host->link);
	host->link = NULL;
	slow_writes_free(host->slow_writes);
	layer_jobs_free(host->layer_jobs);
	layer_store_done(&host->layers);
	registry_clear(&host->registry);
	namespace_pool_free(host->pool);
	launcher_free(host->launcher);
	leftovers_free(host->leftovers);
	idranges_free(host->ranges);
	departures_free(host->departures);
	reaper_free(host->reaper);
	filter_cache_free(host->filters);
	device_filters_free(host->device_filters);
	hierarchy_free(host->hierarchy);
	fd_close(&host->run_fd);
	fd_close(&host->log_fd);
	fd_close(&host->proc_fd);
	fd_close(&host->monitors_fd);
	fd_close(&host->groups_lock_fd);
	fd_close(&host->monitor_program_fd);
	fd_close(&host->unpack_program_fd);
	sd_event_unref(host->event);
	policy_done(&host->policy);
}

static void keep_text(const char *key, char **fresh, char **old)
{
	char *swap = *fresh;

	if (strcmp(*fresh, *old) != 0)
		log_event(LOG_WARNING, NULL, "%s cannot change while the daemon runs: still %s",
			  key, *old);
	*fresh = *old;
	*old = swap; /* freed with the old policy */
}

static void keep_number(const char *key, uint64_t *fresh, uint64_t old)
{
	if (*fresh != old)
		log_event(LOG_WARNING, NULL, "%s cannot change while the daemon runs: still %llu",
			  key, (unsigned long long)old);
	*fresh = old;
}

int startup_reload(struct sandboxd *host, struct err *err)
{
	struct policy *old = &host->policy;
	struct policy fresh = { 0 };
	int r = policy_load(host->policy_path, CONFIG_MAY_BE_MISSING, &fresh, err);

	if (r < 0)
		return r;
	keep_text("RunDirectory", &fresh.run_directory, &old->run_directory);
	keep_text("LogDirectory", &fresh.log_directory, &old->log_directory);
	keep_text("LayerDirectory", &fresh.layer_directory, &old->layer_directory);
	keep_text("CgroupParent", &fresh.cgroup_parent, &old->cgroup_parent);
	keep_text("AgentUser", &fresh.agent_user, &old->agent_user);
	keep_number("IdRangeFirst", &fresh.id_range_first, old->id_range_first);
	keep_number("IdRangeCount", &fresh.id_range_count, old->id_range_count);
	keep_number("NamespacePool", &fresh.namespace_pool, old->namespace_pool);
	policy_done(old);
	*old = fresh;
	return 0;
}
