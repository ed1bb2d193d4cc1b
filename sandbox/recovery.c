#include "sandbox/recovery.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "proto/failpoint.h"
#include "proto/log.h"
#include "proto/names.h"
#include "sandbox/monitors.h"
#include "sandbox/page_file.h"
#include "sandbox/prepare.h"
#include "sandbox/record.h"
#include "sandbox/removal.h"
#include "sandbox/sandboxd.h"

#define PIDS_MAX 512

/* Containers */

static int open_below(int dir_fd, const char *name)
{
	return openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Some of a group's processes: one that lives is enough. */
static size_t read_pids(int procs_fd, pid_t pids[static PIDS_MAX])
{
	char text[PIDS_MAX * 8];
	ssize_t length = pread(procs_fd, text, sizeof(text) - 1, 0);
	char *at = text;
	size_t n = 0;

	text[length > 0 ? length : 0] = '\0';
	while (n < PIDS_MAX && *at) {
		char *end;
		long pid = strtol(at, &end, 10);

		if (end == at || *end != '\n')
			break; /* cut */
		pids[n++] = (pid_t)pid;
		at = end + 1;
	}
	return n;
}

static bool group_has_pid(int procs_fd, pid_t wanted)
{
	pid_t pids[PIDS_MAX];
	size_t n = read_pids(procs_fd, pids);

	for (size_t i = 0; i < n; i++)
		if (pids[i] == wanted)
			return true;
	return false;
}

static int open_procs(const struct taskgroup *group)
{
	int dirs[TASKGROUP_DIR_COUNT];
	int fd = -1;

	if (taskgroup_open_dirs(group, dirs, NULL) < 0)
		return -1;
	for (size_t i = 0; i < TASKGROUP_DIR_COUNT; i++) {
		if (fd < 0 && dirs[i] >= 0)
			fd = openat(dirs[i], "cgroup.procs", O_RDONLY | O_CLOEXEC);
		fd_close(&dirs[i]);
	}
	return fd;
}

/* Whether it is the first of its pid namespace. */
static bool is_first(pid_t pid)
{
	char path[64], text[4096];
	const char *line;
	cleanup_fd int fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	line = strstr(text, "\nNSpid:");
	if (!line)
		return false;
	line = memrchr(line, '\t', strcspn(line + 1, "\n") + 1);
	return line && strncmp(line, "\t1\n", 3) == 0;
}

/* The first process by its number in the page, should the monitor die before it can give it to us: held
 * by a pidfd, then seen in the container's group as the first one, of which there is no other. */
static int hold_first(const struct container *container, pid_t pid)
{
	cleanup_fd int procs_fd = container->group ? open_procs(container->group) : -1;
	cleanup_fd int pidfd = procs_fd < 0 || pid <= 0 ? -1 : pidfd_open(pid, 0);

	if (pidfd < 0 || !group_has_pid(procs_fd, pid) || !is_first(pid) ||
	    pidfd_send_signal(pidfd, 0, NULL, 0) < 0)
		return -1;
	return take_fd(&pidfd);
}

/* An exec session goes on: its monitor is waiting for somebody who takes its record. */
static void take_session_back(struct container *container, const char *socket_name)
{
	struct session *session;
	uint64_t id;
	int end = 0;

	if (sscanf(socket_name, "exec-%" SCNu64 ".sock%n", &id, &end) != 1 || end == 0 ||
	    socket_name[end] || container->n_sessions >= REGISTRY_SESSIONS_MAX)
		return;
	session = session_new(container, id, false);
	if (session && monitors_reconnect(&session->monitor, socket_name, NULL) < 0) {
		session_free(session);
		(void)unlinkat(container->run_fd, socket_name, 0);
	}
}

static void take_sessions_back(struct container *container)
{
	int fd = open_below(container->run_fd, ".");
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir)
		fd_close(&fd);
	while (dir && (entry = readdir(dir)))
		take_session_back(container, entry->d_name);
	if (dir)
		(void)closedir(dir);
}

/* The monitor tells by itself how things stand: STARTED, and EXITED if so. Until it does the container
 * is taken as what its page says. */
static void take_container_back(struct sandboxd *host, struct container *container,
				const struct record_container *record)
{
	struct log_about about = { .workload = container->workload->id,
				   .container = container->name };
	struct monitor *monitor = &container->monitor;
	struct container_page page = { 0 };
	struct err err = { 0 };

	container->group_id = record->group_id;
	(void)page_file_read(container->run_fd, &page, NULL);
	if (record->group_id || page.state == PAGE_RUNNING || page.state == PAGE_EXITED) {
		/* Without an id it is whatever has the name, below a group whose id was compared. */
		monitors_open_group(container);
		if (container->group && record->group_id)
			taskgroup_mark(container->group);
		container->state = PAGE_RUNNING;
		monitor->started_wall_ns = page.started_wall_ns;
		monitor->started_boot_ns = page.started_boot_ns;
		monitor->first_pidfd = hold_first(container, page.pid);
		monitor->first_pid = page.pid;
		lifeline_restore(container, &page);
	}
	FAILPOINT("sandboxd.recovery.container");
	take_sessions_back(container);
	if (monitors_reconnect(monitor, MONITOR_SOCKET_NAME, &err) == 0) {
		log_event(LOG_INFO, &about, "taken back, with its monitor");
		return;
	}
	monitor->started = container->state == PAGE_RUNNING;
	monitors_lost(monitor, err.text);
}

static void find_container(struct sandboxd *host, struct workload *workload, const char *path,
			   const char *name)
{
	struct container_settings settings = { 0 };
	struct record_container record = { 0 };
	cleanup_free char *own = NULL;
	struct container *container;
	struct err err = { 0 };
	int run_fd = open_below(workload->run_fd, name);
	int r;

	if (run_fd < 0 || asprintf(&own, "%s/%s", path, name) < 0)
		return;
	r = record_read_container(own, run_fd, &record, &settings, &err);
	container = r < 0 ? NULL
			  : container_new(host, workload, record.container,
					  (uint32_t)record.attempt);
	if (!container) {
		log_event(LOG_WARNING, NULL, "%s: not taken back: %s", own, err.text);
		free(settings.json);
		free(settings.layers);
		fd_close(&run_fd);
		host->orphans.directories++;
		record_remove_dir(workload->run_fd, name);
	} else {
		container->settings = settings;
		container->run_fd = run_fd;
		take_container_back(host, container, &record);
	}
	record_container_done(&record);
}

static void find_containers(struct sandboxd *host, struct workload *workload, const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && strchr(entry->d_name, '.') &&
		    !strstr(entry->d_name, ".new"))
			find_container(host, workload, path, entry->d_name);
	if (dir)
		(void)closedir(dir);
}

/* Workloads */

static int open_namespace(pid_t pid, const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* The process is held by a pidfd and seen in the group after that, so that the number is its own until
 * the pidfd says that it has ended. */
static bool take_namespaces_of(const struct workload *workload, int procs_fd, pid_t pid,
			       uint32_t id_first, struct namespace_set *ret_set)
{
	cleanup(namespace_set_done) struct namespace_set set = NAMESPACE_SET_EMPTY;
	cleanup_fd int pidfd = pidfd_open(pid, 0);

	if (pidfd < 0 || !group_has_pid(procs_fd, pid))
		return false;
	set.id_first = id_first;
	set.ipc_fd = open_namespace(pid, "ipc");
	set.uts_fd = open_namespace(pid, "uts");
	set.net_fd = open_namespace(pid, "net");
	if (!workload->host_ids)
		set.user_fd = open_namespace(pid, "user");
	if (set.ipc_fd < 0 || set.uts_fd < 0 || set.net_fd < 0 ||
	    (!workload->host_ids && set.user_fd < 0) || pidfd_send_signal(pidfd, 0, NULL, 0) < 0)
		return false;
	*ret_set = set;
	set = (struct namespace_set)NAMESPACE_SET_EMPTY;
	return true;
}

static bool take_from_container(struct workload *workload, const struct container *container,
				uint32_t id_first)
{
	cleanup_fd int procs_fd = container->group ? open_procs(container->group) : -1;
	pid_t pids[PIDS_MAX];
	size_t n = procs_fd < 0 ? 0 : read_pids(procs_fd, pids);

	for (size_t i = 0; i < n; i++)
		if (take_namespaces_of(workload, procs_fd, pids[i], id_first,
				       &workload->namespaces))
			return true;
	return false;
}

static int make_namespaces_again(struct sandboxd *host, struct workload *workload,
				 struct record_workload *record, struct err *err)
{
	struct launch_sysctl sysctls[PREPARE_SYSCTLS_MAX];
	size_t n = 0;
	int r = namespace_pool_make(host->departures, host->proc_fd, (uint32_t)record->id_first,
				    workload->host_network, workload->host_ids,
				    &workload->namespaces, err);

	for (size_t i = 0; i < record->sysctls.n && n < PREPARE_SYSCTLS_MAX; i++) {
		char *equals = strchr(record->sysctls.items[i], '=');

		if (!equals)
			continue;
		*equals = '\0';
		sysctls[n++] = (struct launch_sysctl){ record->sysctls.items[i], equals + 1 };
	}
	return r < 0 ? r : prepare_namespaces_of(host, workload, record->hostname, sysctls, n, err);
}

/* From a process that is in them. Where none is left, nobody can tell them from new ones. */
static int take_namespaces_back(struct sandboxd *host, struct workload *workload,
				struct record_workload *record, struct err *err)
{
	const struct container *container;

	FAILPOINT_RETURN("sandboxd.recovery.namespaces", err);
	LIST_FOREACH (container, &workload->containers, link)
		if (take_from_container(workload, container, (uint32_t)record->id_first))
			return 0;
	return make_namespaces_again(host, workload, record, err);
}

static void take_volumes_back(struct sandboxd *host, struct workload *workload,
			      struct record_workload *record)
{
	struct log_about about = { .workload = workload->id };

	for (size_t i = 0; i < record->volumes.n; i++) {
		struct volume_wish wish;
		struct err err = { 0 };
		bool lost = false;
		int r = record_parse_volume(record->volumes.items[i], &wish, &err);

		if (r == 0)
			r = volumes_add_known(&workload->volumes, &host->policy, workload->run_fd,
					      workload->namespaces.id_first, &wish, &lost, &err);
		if (r < 0)
			log_failure(LOG_WARNING, &about, &err);
		else if (lost)
			log_event(LOG_WARNING, &about,
				  "volume %s is empty: its tmpfs ended with the daemon", wish.name);
	}
}

static int open_workload_group(struct sandboxd *host, struct workload *workload, uint64_t id,
			       struct err *err)
{
	char name[REMOVAL_NAME_MAX];
	char path[TASKGROUP_PATH_MAX];
	int r;

	removal_workload_name(workload, name);
	r = taskgroup_path(path, workload->band, name, NULL, err);
	return r < 0 ? r
		     : taskgroup_open(host->hierarchy, path, TASKGROUP_WORKLOAD, id,
				      &workload->group, err);
}

static int take_workload_back(struct sandboxd *host, struct workload *workload,
			      struct record_workload *record, const char *path, struct err *err)
{
	uint32_t id_first = (uint32_t)record->id_first;
	int r = open_workload_group(host, workload, record->group_id, err);

	if (r == 0 && !workload->host_ids)
		r = idranges_take_this(host->ranges, id_first, err);
	if (r < 0)
		return r;
	taskgroup_mark(workload->group);
	workload->namespaces.id_first = workload->host_ids ? 0 : id_first; /* is its now */
	find_containers(host, workload, path);
	r = take_namespaces_back(host, workload, record, err);
	if (r == 0)
		take_volumes_back(host, workload, record);
	return r;
}

static int adopt_workload(struct sandboxd *host, const char *path, const char *name,
			  struct record_workload *record, struct err *err)
{
	struct workload *workload;
	int r = names_check_workload_id(record->workload, err);

	FAILPOINT_RETURN("sandboxd.recovery.workload", err);
	if (r < 0)
		return r;
	if (strcmp(record->boot_id, host->boot_id) != 0)
		return err_set(err, ERR_PRECONDITION, ESTALE, "it is from before the last boot");
	workload = registry_add(&host->registry, record->workload, record->instance);
	if (!workload)
		return err_set(err, ERR_EXISTS, EEXIST, "there is another one of this name");
	workload->host = host;
	workload->band = (enum hierarchy_band)record->band;
	workload->host_network = record->host_network;
	workload->host_ids = record->host_ids;
	workload->run_fd = open_below(host->run_fd, name);
	r = workload->run_fd < 0 ? -errno : take_workload_back(host, workload, record, path, err);
	if (r < 0)
		removal_workload(host, workload, NULL, NULL);
	return r;
}

/* The directory of a workload that is not taken back: all that a daemon makes in one. */
static void discard(struct sandboxd *host, const char *name)
{
	int fd = open_below(host->run_fd, name);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	FAILPOINT("sandboxd.recovery.discard");
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		host->orphans.mounts += volume_discard(fd, entry->d_name);
		record_remove_dir(fd, entry->d_name);
	}
	(void)closedir(dir);
	record_remove_dir(host->run_fd, name);
}

static void find_workload(struct sandboxd *host, const char *name)
{
	struct record_workload record = { 0 };
	cleanup_free char *path = NULL;
	struct err err = { 0 };
	int r;

	if (asprintf(&path, "%s/%s", host->policy.run_directory, name) < 0)
		return;
	r = record_read_workload(path, &record, &err);
	if (r == 0)
		r = adopt_workload(host, path, name, &record, &err);
	if (r < 0) {
		log_event(LOG_WARNING, NULL, "%s: not taken back: %s", path, err.text);
		host->orphans.directories++;
		discard(host, name);
	}
	record_workload_done(&record);
}

void recovery_run(struct sandboxd *host)
{
	DIR *dir = opendir(host->policy.run_directory);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && strchr(entry->d_name, '.'))
			find_workload(host, entry->d_name);
	if (dir)
		(void)closedir(dir);
	FAILPOINT("sandboxd.recovery.done");
	if (host->registry.n_workloads)
		log_event(LOG_NOTICE, NULL, "%zu workloads are here from before",
			  host->registry.n_workloads);
}
