#include "sandbox/launch_assemble.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "sandbox/devices.h"
#include "sandbox/mounts.h"
#include "sandbox/proc_mask.h"
#include "sandbox/rootfs.h"

static int begin(void *context, struct err *err)
{
	struct assemble *assemble = context;
	int r = process_begin(&assemble->process, err);

	FAILPOINT_RETURN("first.launch.begin", err);
	return r < 0 ? r : process_raise_limits(&assemble->process, err);
}

/* By ourselves, which is quick, and first of all: from here on what we use counts. */
static int enter_group(void *context, struct err *err)
{
	FAILPOINT_RETURN("first.launch.attach", err);
	return taskgroup_enter(((struct assemble *)context)->group, err);
}

static int join(int fd, int type, const char *name, struct err *err)
{
	if (fd >= 0 && setns(fd, type) < 0)
		return err_set(err, ERR_INTERNAL, errno,
			       "cannot join the workload's %s namespace: %m", name);
	return 0;
}

/* procfs and sysfs are made by root of the host: root of a user namespace may not make new ones where
 * it cannot see a whole one already, and these stay owned by the host. */
static int make_proc_and_sys(void *context, struct err *err)
{
	struct assemble *assemble = context;
	int r;

	FAILPOINT_RETURN("first.launch.proc-sys", err);
	assemble->proc_fd = proc_mask_new_proc(assemble->spec->strict_proc, err);
	if (assemble->proc_fd < 0)
		return assemble->proc_fd;
	r = join(assemble->spec->namespaces.net_fd, CLONE_NEWNET, "network", err);
	if (r < 0)
		return r;
	assemble->sys_fd = proc_mask_new_sys(err);
	return assemble->sys_fd < 0 ? assemble->sys_fd : 0;
}

static int join_namespaces(void *context, struct err *err)
{
	struct assemble *assemble = context;
	const struct launch_namespaces *namespaces = &assemble->spec->namespaces;
	int r = join(namespaces->ipc_fd, CLONE_NEWIPC, "IPC", err);

	FAILPOINT_RETURN("first.launch.namespaces", err);
	if (r >= 0)
		r = join(namespaces->uts_fd, CLONE_NEWUTS, "UTS", err);
	if (r >= 0)
		r = join(namespaces->user_fd, CLONE_NEWUSER, "user", err);
	return r < 0 ? r : process_become_root(err);
}

static int attach_at(int mount_fd, int root_fd, const char *path, struct err *err)
{
	cleanup_fd int target_fd = rootfs_target(root_fd, path, true, err);

	return target_fd < 0 ? target_fd : rootfs_attach(mount_fd, target_fd, path, err);
}

static int assemble_mounts(void *context, struct err *err)
{
	struct assemble *assemble = context;
	const struct launch_spec *spec = assemble->spec;
	uint64_t shm_bytes = spec->shm_bytes ? spec->shm_bytes : 64u << 20;
	int r;

	FAILPOINT_RETURN("first.launch.mounts", err);
	r = rootfs_enter(assemble->mask_fd, assemble->root_fd, err);
	if (r >= 0)
		r = attach_at(assemble->proc_fd, assemble->root_fd, "/proc", err);
	if (r >= 0)
		r = attach_at(assemble->sys_fd, assemble->root_fd, "/sys", err);
	if (r >= 0)
		r = attach_at(assemble->dev_fd, assemble->root_fd, "/dev", err);
	if (r >= 0)
		r = devices_attach_kernel(assemble->dev_fd, shm_bytes, err);
	if (r >= 0)
		r = mounts_attach(spec->mounts, spec->mount_count, assemble->volume_fds,
				  assemble->root_fd, err);
	return r;
}

static int mask(void *context, struct err *err)
{
	struct assemble *assemble = context;

	FAILPOINT_RETURN("first.launch.masks", err);
	return proc_mask_apply(assemble->mask_fd, assemble->proc_fd, assemble->sys_fd,
			       assemble->spec->strict_proc, assemble->cpus, err);
}

static int pivot(void *context, struct err *err)
{
	FAILPOINT_RETURN("first.launch.pivot", err);
	return rootfs_pivot(((struct assemble *)context)->root_fd, err);
}

static int settle(void *context, struct err *err)
{
	FAILPOINT_RETURN("first.launch.settle", err);
	return process_settle(&((struct assemble *)context)->process, err);
}

static int wait_gate(void *context, struct err *err)
{
	FAILPOINT_RETURN("first.launch.gate", err);
	return process_wait_gate(&((struct assemble *)context)->process, err);
}

static int take_identity(void *context, struct err *err)
{
	FAILPOINT_RETURN("first.launch.identity", err);
	return process_take_identity(&((struct assemble *)context)->process, err);
}

static int exec_program(void *context, struct err *err)
{
	FAILPOINT_RETURN("first.launch.exec", err);
	return process_exec(&((struct assemble *)context)->process, err);
}

static const struct process_step steps[] = {
	{ "begin", begin },
	{ "attach", enter_group },
	{ "proc-sys", make_proc_and_sys },
	{ "namespaces", join_namespaces },
	{ "mounts", assemble_mounts },
	{ "masks", mask },
	{ "pivot", pivot },
	{ "settle", settle },
	{ "gate", wait_gate },
	{ "identity", take_identity },
	{ "exec", exec_program },
};

void assemble_run(void *context)
{
	struct assemble *assemble = context;

	process_run(assemble->process.gate, steps, ARRAY_SIZE(steps), assemble);
}
