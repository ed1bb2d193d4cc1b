/*
 * The monitor of a launch, until it becomes small: a list of steps, each with its undo. What it holds
 * true: before MONITOR_STARTED every failure ends with nothing left but the page and the logs' directory; from
 * MONITOR_STARTED on the container is not ended by anything that fails here.
 */
#include "sandbox/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "proto/page.h"
#include "sandbox/device_filter.h"
#include "sandbox/devices.h"
#include "sandbox/launch_assemble.h"
#include "sandbox/launch_birth.h"
#include "sandbox/layer_root.h"
#include "sandbox/monitor/estate.h"
#include "sandbox/mounts.h"
#include "sandbox/path.h"
#include "sandbox/proc_mask.h"
#include "sandbox/rootfs.h"

/* How long an ended process may take to leave its group before the group is left behind. */
#define GROUP_EMPTY_MS 2000

struct launch {
	const struct launch_spec *spec;
	struct birth birth;
	struct assemble assemble;
	struct identity identity;
	struct taskgroup *group;
	struct filter *compiled;
	struct container_page *page;
	int *volume_fds;
	int layers_fd; /* the root file system, detached, where it is made of layers */
	char what[160];
};

void launch_spec_init(struct launch_spec *spec)
{
	*spec = (struct launch_spec){
		.namespaces = { -1, -1, -1, -1 },
		.monitors_fd = -1,
		.root_fd = -1,
		.store_fd = -1,
		.filter_image_fd = -1,
		.log = { .dir_fd = -1, .max_file_bytes = 10u << 20, .max_files = 3 },
		.page_fd = -1,
		.run_dir_fd = -1,
		.monitor_program_fd = -1,
	};
}

/* ---- the page ---- */

static int open_page(void *context, struct err *err)
{
	struct launch *launch = context;
	int page_fd = launch->spec->page_fd;

	FAILPOINT_RETURN("monitor.launch.page", err);
	launch->page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, page_fd, 0);
	if (launch->page == MAP_FAILED) {
		launch->page = NULL;
		return err_set(err, ERR_INTERNAL, errno, "cannot map the container's page: %m");
	}
	page_write_begin(launch->page);
	launch->page->magic = PAGE_MAGIC;
	launch->page->version = PAGE_VERSION;
	if (launch->page->state == 0) /* not from page_file_create() */
		launch->page->state = PAGE_STARTING;
	launch->page->attempt = launch->spec->attempt;
	launch->page->monitor_pid = getpid();
	page_write_end(launch->page);
	return 0;
}

static uint64_t inode_of(int fd)
{
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/*
 * All that a successor needs, before anybody is told that it started: we may die at the next instruction. A
 * daemon that came after the one that forked us may have told of a failed start already: it found no
 * socket of ours yet. Then this container must not be.
 */
static int claim_page(struct launch *launch, struct err *err)
{
	const struct monitor_setup *setup = &launch->birth.setup;
	struct container_page *page = launch->page;
	uint32_t state = PAGE_STARTING;
	bool ours;

	page_write_begin(page);
	page->pid = launch->birth.pid;
	page->stdout_inode = inode_of(setup->stdout_fd);
	page->stderr_inode = inode_of(setup->stderr_fd);
	page->started_wall_ns = setup->started.started_wall_ns;
	page->started_boot_ns = setup->started.started_boot_ns;
	ours = __atomic_compare_exchange_n(&page->state, &state, PAGE_RUNNING, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	page_write_end(page);
	return ours ? 0 : err_set(err, ERR_CANCELLED, ECANCELED, "a later daemon gave it up");
}

static void fail_page(void *context)
{
	struct container_page *page = ((struct launch *)context)->page;

	if (!page)
		return;
	page_write_begin(page);
	page->state = PAGE_FAILED;
	page_write_end(page);
}

/* ---- the group ---- */

static int make_group(void *context, struct err *err)
{
	struct launch *launch = context;
	const struct launch_spec *spec = launch->spec;
	int r;

	FAILPOINT_RETURN("monitor.launch.cgroup", err);
	r = taskgroup_create(spec->hierarchy, spec->group_path, TASKGROUP_CONTAINER, spec->limits,
			     &launch->group, err);
	if (r < 0 || !spec->device_filters)
		return r;
	return device_filters_apply(spec->device_filters, spec->hierarchy, launch->group,
				    device_filter_default, device_filter_default_count, err);
}

static void remove_group(void *context)
{
	struct launch *launch = context;

	FAILPOINT("monitor.undo.cgroup");
	if (!launch->group)
		return;
	(void)taskgroup_wait(launch->group, TASKGROUP_EMPTY, GROUP_EMPTY_MS);
	(void)taskgroup_remove(launch->group, NULL);
	taskgroup_free(launch->group);
	launch->group = NULL;
}

/* ---- what the container consists of ---- */

/* Before who the user is, which the image says. */
static int mount_layers(void *context, struct err *err)
{
	struct launch *launch = context;
	const struct launch_spec *spec = launch->spec;

	FAILPOINT_RETURN("monitor.launch.layers", err);
	if (spec->root_layers.count == 0)
		return 0;
	launch->layers_fd = layer_root_mount(spec->store_fd, &spec->root_layers,
					     spec->namespaces.user_fd,
					     &launch->birth.setup.layer_fd, err);
	return launch->layers_fd < 0 ? launch->layers_fd : 0;
}

static int root_of(const struct launch *launch)
{
	return launch->spec->root_layers.count ? launch->layers_fd : launch->spec->root_fd;
}

static int find_identity(void *context, struct err *err)
{
	struct launch *launch = context;
	const struct launch_spec *spec = launch->spec;
	int r;

	FAILPOINT_RETURN("monitor.launch.identity", err);
	r = path_check_rootfs(root_of(launch), err);
	if (r >= 0)
		r = identity_resolve(root_of(launch), spec->user, spec->groups, spec->group_count,
				     &launch->identity, err);
	if (r < 0)
		return r;
	launch->identity.capabilities = spec->capabilities;
	return 0;
}

static int clone_root(void *context, struct err *err)
{
	struct launch *launch = context;

	FAILPOINT_RETURN("monitor.launch.rootfs", err);
	if (launch->spec->root_layers.count) {
		launch->assemble.root_fd = take_fd(&launch->layers_fd);
		return 0;
	}
	launch->assemble.root_fd = rootfs_clone(
		launch->spec->root_fd, launch->spec->namespaces.user_fd,
		launch->spec->root_writable ? 0 : ROOTFS_READ_ONLY, "root file system", err);
	return launch->assemble.root_fd < 0 ? launch->assemble.root_fd : 0;
}

static int clone_volumes(void *context, struct err *err)
{
	struct launch *launch = context;
	const struct launch_spec *spec = launch->spec;

	FAILPOINT_RETURN("monitor.launch.volumes", err);
	launch->volume_fds = calloc(spec->mount_count + 1, sizeof(*launch->volume_fds));
	if (!launch->volume_fds)
		return err_oom(err);
	for (size_t i = 0; i < spec->mount_count; i++)
		launch->volume_fds[i] = -1;
	launch->assemble.volume_fds = launch->volume_fds;
	return mounts_prepare(spec->mounts, spec->mount_count, spec->store_fd,
			      spec->namespaces.user_fd, launch->volume_fds, err);
}

static int make_devices(void *context, struct err *err)
{
	struct launch *launch = context;

	FAILPOINT_RETURN("monitor.launch.devices", err);
	launch->assemble.dev_fd = devices_prepare(launch->spec->host_id_first, err);
	if (launch->assemble.dev_fd < 0)
		return launch->assemble.dev_fd;
	launch->assemble.mask_fd = proc_mask_prepare(err);
	return launch->assemble.mask_fd < 0 ? launch->assemble.mask_fd : 0;
}

static int make_streams(void *context, struct err *err)
{
	struct launch *launch = context;
	const struct launch_spec *spec = launch->spec;
	int null_fd = devices_open_null(launch->assemble.dev_fd, O_RDWR);
	int r;

	FAILPOINT_RETURN("monitor.launch.streams", err);
	if (null_fd < 0)
		return err_set(err, ERR_INTERNAL, -null_fd, "cannot open /dev/null: %m");
	if (spec->tty) {
		/* Until the process has its terminal. */
		for (int i = 0; i < 3; i++)
			launch->birth.streams[i] = fcntl(null_fd, F_DUPFD_CLOEXEC, 3);
		fd_close(&null_fd);
	} else {
		r = birth_make_pipes(&launch->birth, spec->stdin_open, null_fd,
				     spec->host_id_first + launch->identity.uid,
				     spec->host_id_first + launch->identity.gid, err);
		if (r < 0)
			return r;
		if (spec->stdin_open)
			fd_close(&null_fd);
	}
	return birth_place_streams(&launch->birth, err);
}

static int find_filter(void *context, struct err *err)
{
	struct launch *launch = context;
	const struct launch_spec *spec = launch->spec;

	FAILPOINT_RETURN("monitor.launch.filter", err);
	return birth_find_filter(&launch->birth, spec->filter, spec->filter_image_fd,
				 &spec->filter_request, spec->compile, &launch->compiled,
				 &launch->assemble.process.filter, err);
}

/* ---- the process ---- */

static int prepare_process(struct launch *launch, struct err *err)
{
	const struct launch_spec *spec = launch->spec;
	struct process *process = &launch->assemble.process;

	process->gate = &launch->birth.gate;
	process->argv = spec->argv;
	process->env = birth_environment(spec->env, &launch->identity, spec->tty);
	if (!process->env)
		return err_oom(err);
	process->working_dir = spec->working_dir && spec->working_dir[0] ? spec->working_dir : "/";
	process->identity = &launch->identity;
	process->limits = spec->rlimits;
	process->limit_count = spec->rlimit_count;
	process->tty = spec->tty;
	process->rows = spec->rows;
	process->columns = spec->columns;
	launch->assemble.cpus = (int)sysconf(_SC_NPROCESSORS_CONF);
	launch->assemble.spec = spec;
	launch->assemble.group = launch->group;
	return 0;
}

static int make_process(void *context, struct err *err)
{
	struct launch *launch = context;
	int r = prepare_process(launch, err);

	FAILPOINT_RETURN("monitor.launch.clone", err);
	if (r < 0)
		return r;
	return birth_clone(&launch->birth, CLONE_NEWPID, taskgroup_clone_fd(launch->group),
			   assemble_run, &launch->assemble, err);
}

static void kill_process(void *context)
{
	birth_kill(&((struct launch *)context)->birth);
}

/* What the small program keeps. While the process builds, so that none of it is waited for. */
static int prepare_monitor(void *context, struct err *err)
{
	struct launch *launch = context;
	struct monitor_setup *setup = &launch->birth.setup;
	int r;

	FAILPOINT_RETURN("monitor.launch.monitor", err);
	birth_set_oom_score(&launch->birth, launch->spec->oom_score_adj);
	r = birth_open_group(&launch->birth, launch->spec->hierarchy, launch->group, err);
	if (r < 0)
		return r;
	setup->page_fd = launch->spec->page_fd;
	setup->log_dir_fd = launch->spec->log.dir_fd;
	setup->run_dir_fd = launch->spec->run_dir_fd;
	setup->log_max_file_bytes = launch->spec->log.max_file_bytes;
	setup->log_max_files = launch->spec->log.max_files;
	setup->terminal = launch->spec->tty;
	setup->estate_fd = estate_make();
	if (setup->estate_fd < 0)
		return err_set(err, ERR_EXHAUSTED, -setup->estate_fd,
			       "cannot make memory for the container's output: %m");
	birth_listen(&launch->birth, MONITOR_SOCKET_NAME);
	return 0;
}

static void remove_socket(void *context)
{
	struct monitor_setup *setup = &((struct launch *)context)->birth.setup;

	if (setup->listen_fd >= 0)
		(void)unlinkat(setup->run_dir_fd, MONITOR_SOCKET_NAME, 0);
}

static int wait_program(void *context, struct err *err)
{
	struct launch *launch = context;
	int r;

	FAILPOINT_RETURN("monitor.launch.wait", err);
	r = birth_wait(&launch->birth, err);
	if (r < 0)
		return r;
	launch->birth.setup.terminal_fd = launch->birth.gate.page->terminal_fd;
	return 0;
}

static const struct birth_step steps[] = {
	{ "page", open_page, fail_page },
	{ "layers", mount_layers, NULL },
	{ "identity", find_identity, NULL },
	{ "rootfs", clone_root, NULL },
	{ "volumes", clone_volumes, NULL },
	{ "devices", make_devices, NULL },
	{ "streams", make_streams, NULL },
	{ "filter", find_filter, NULL },
	{ "cgroup", make_group, remove_group },
	{ "clone", make_process, kill_process },
	{ "monitor", prepare_monitor, remove_socket },
	{ "wait", wait_program, NULL },
};

int launch_monitor(const struct launch_spec *spec, int control_fd)
{
	struct launch launch = { .spec = spec, .layers_fd = -1 };
	struct err err = { 0 };
	size_t done = 0;
	int r;

	launch.assemble.process.low_fd = launch_low_fd();
	(void)snprintf(launch.what, sizeof(launch.what), "%s/%s", launch.spec->workload,
		       launch.spec->container);
	r = birth_init(&launch.birth, control_fd, &err);
	launch.birth.what = launch.what;
	launch.birth.gate_open = launch.spec->gate_open;
	launch.birth.program_fd = launch.spec->monitor_program_fd;
	if (r >= 0)
		r = birth_run(&launch.birth, steps, ARRAY_SIZE(steps), &launch, &done, &err);
	FAILPOINT("monitor.launch.claim");
	birth_stamp(&launch.birth);
	if (r >= 0)
		r = claim_page(&launch, &err);
	if (r < 0) {
		FAILPOINT("monitor.launch.undo");
		birth_undo(steps, done, &launch);
		birth_tell_failed(&launch.birth, &err);
		return 1;
	}
	FAILPOINT("monitor.launch.claimed");
	birth_tell_started(&launch.birth);
	FAILPOINT("monitor.launch.told");
	return birth_hand_over(&launch.birth);
}

static int monitor(const void *spec, int control_fd)
{
	return launch_monitor(spec, control_fd);
}

int launch_fork(const struct launch_spec *spec, struct launched *ret, struct err *err)
{
	return birth_fork(spec->monitors_fd, monitor, spec, ret, err);
}
