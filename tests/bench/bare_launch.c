/*
 * bare_launch [RUNS]: the kernel calls of a launch with nothing around them: no monitor, no undo, no checks of
 * the image, no messages; to the workload's first byte. What launch_direct is measured against.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/launch_bed.h"

#define SAFE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

static struct bed bed;
static int device_program_fd;

/* A call that fails makes the figure worthless. */
#define MUST(call)                                                               \
	({                                                                       \
		long must_ = (long)(call);                                       \
		if (must_ < 0) {                                                 \
			(void)dprintf(2, "bare_launch: line %d: %s\n", __LINE__, \
				      strerrordesc_np(errno));                   \
			_exit(1);                                                \
		}                                                                \
		must_;                                                           \
	})

struct launch_fds {
	int root, dev, mask, volume, out[2], err[2], ready;
};

static void launch_fds_close(const struct launch_fds *fds)
{
	const int all[] = { fds->root,   fds->dev,    fds->mask,   fds->volume, fds->out[0],
			    fds->out[1], fds->err[0], fds->err[1], fds->ready };

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		(void)close(all[i]);
}

/* ---- cgroups: one directory in each hierarchy, with the limits that launch_direct sets ---- */

static void write_at(int dir_fd, const char *group, const char *file, const char *value)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", group, file);
	fd = (int)MUST(openat(dir_fd, path, O_WRONLY | O_CLOEXEC));
	MUST(write(fd, value, strlen(value)));
	(void)close(fd);
}

static bool holds(const struct hierarchy_mount *mount, enum hierarchy_controller controller)
{
	return mount->in_use & (1u << controller);
}

static void set_limits(const struct hierarchy_mount *mount, const char *group)
{
	int fd = mount->base_fd;
	const struct hierarchy *hierarchy = bed.harness.hierarchy;

	if (holds(mount, CONTROLLER_MEMORY))
		write_at(fd, group, mount->v2 ? "memory.max" : "memory.limit_in_bytes", "67108864");
	if (holds(mount, CONTROLLER_PIDS))
		write_at(fd, group, "pids.max", "64");
	if (holds(mount, CONTROLLER_CPU) && mount->v2)
		write_at(fd, group, "cpu.max", "100000 100000");
	if (holds(mount, CONTROLLER_CPU) && !mount->v2) {
		write_at(fd, group, "cpu.cfs_period_us", "100000");
		write_at(fd, group, "cpu.cfs_quota_us", "100000");
	}
	if (holds(mount, CONTROLLER_CPUSET) && !mount->v2) {
		write_at(fd, group, "cpuset.cpus", hierarchy->cpuset_cpus);
		write_at(fd, group, "cpuset.mems", hierarchy->cpuset_mems);
	}
}

static void attach_device_program(int group_fd)
{
	union bpf_attr attr = { .target_fd = (uint32_t)group_fd,
				.attach_bpf_fd = (uint32_t)device_program_fd,
				.attach_type = BPF_CGROUP_DEVICE };

	MUST(syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)));
}

static int make_groups(const char *group)
{
	const struct hierarchy *hierarchy = bed.harness.hierarchy;
	int unified_fd = -1;

	for (size_t i = 0; i < hierarchy->mount_count; i++) {
		const struct hierarchy_mount *mount = &hierarchy->mounts[i];

		MUST(mkdirat(mount->base_fd, group, 0755));
		set_limits(mount, group);
		if (mount->v2) {
			unified_fd = (int)MUST(
				openat(mount->base_fd, group, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
			attach_device_program(unified_fd);
		}
	}
	return unified_fd;
}

static void attach_pid(const char *group, pid_t pid)
{
	const struct hierarchy *hierarchy = bed.harness.hierarchy;
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", pid);
	for (size_t i = 0; i < hierarchy->mount_count; i++) {
		if (!hierarchy->mounts[i].v2)
			write_at(hierarchy->mounts[i].base_fd, group, "cgroup.procs", text);
	}
}

static bool needs_attach(void)
{
	return bed.harness.hierarchy->layout != HIERARCHY_UNIFIED;
}

static void remove_groups(const char *group)
{
	const struct hierarchy *hierarchy = bed.harness.hierarchy;

	for (size_t i = 0; i < hierarchy->mount_count; i++)
		MUST(unlinkat(hierarchy->mounts[i].base_fd, group, AT_REMOVEDIR));
}

/* Allows everything: attaching is what costs. */
static int load_device_program(void)
{
	struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
				.insn_cnt = 2,
				.insns = (uint64_t)(uintptr_t)program,
				.license = (uint64_t)(uintptr_t) "GPL" };

	return (int)MUST(syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)));
}

/* ---- mounts ---- */

static int new_mount(const char *type, const char *const (*options)[2], unsigned int attributes)
{
	int fs_fd = (int)MUST(fsopen(type, FSOPEN_CLOEXEC));
	int fd;

	for (; options && (*options)[0]; options++)
		MUST(fsconfig(fs_fd, FSCONFIG_SET_STRING, (*options)[0], (*options)[1], 0));
	MUST(fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	fd = (int)MUST(fsmount(fs_fd, FSMOUNT_CLOEXEC, attributes));
	(void)close(fs_fd);
	return fd;
}

static int clone_mount(int source_fd, int user_fd, uint64_t more)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | more,
				   .propagation = MS_PRIVATE };
	int fd = (int)MUST(
		open_tree(source_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));

	if (user_fd >= 0) {
		attr.attr_set |= MOUNT_ATTR_IDMAP;
		attr.userns_fd = (uint64_t)user_fd;
	}
	MUST(mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)));
	return fd;
}

static int make_dev(unsigned int owner)
{
	static const struct {
		const char *name;
		int major, minor;
	} nodes[] = { { "null", 1, 3 },   { "zero", 1, 5 },    { "full", 1, 7 },
		      { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 } };
	static const char *const links[][2] = { { "fd", "/proc/self/fd" },
						{ "stdin", "/proc/self/fd/0" },
						{ "stdout", "/proc/self/fd/1" },
						{ "stderr", "/proc/self/fd/2" },
						{ "ptmx", "pts/ptmx" } };
	static const char *const directories[] = { "pts", "shm", "mqueue" };
	char id[16];
	const char *const options[][2] = { { "size", "65536" }, { "nr_inodes", "128" },
					   { "mode", "0755" },  { "uid", id },
					   { "gid", id },       { NULL, NULL } };
	int fd;

	(void)snprintf(id, sizeof(id), "%u", owner);
	fd = new_mount("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		MUST(mknodat(fd, nodes[i].name, S_IFCHR | 0666,
			     makedev(nodes[i].major, nodes[i].minor)));
		MUST(fchownat(fd, nodes[i].name, owner, owner, AT_SYMLINK_NOFOLLOW));
	}
	for (size_t i = 0; i < ARRAY_SIZE(links); i++)
		MUST(symlinkat(links[i][1], fd, links[i][0]));
	for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
		MUST(mkdirat(fd, directories[i], 0755));
	return fd;
}

static int make_mask(void)
{
	static const char *const options[][2] = { { "size", "4096" },
						  { "nr_inodes", "8" },
						  { NULL, NULL } };
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	int fd = new_mount("tmpfs", options, SAFE);

	(void)close((int)MUST(openat(fd, "file", O_CREAT | O_RDONLY | O_CLOEXEC, 0444)));
	MUST(mkdirat(fd, "dir", 0555));
	MUST(mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)));
	return fd;
}

static void attach(int mount_fd, int dir_fd, const char *path)
{
	MUST(move_mount(mount_fd, "", dir_fd, path, MOVE_MOUNT_F_EMPTY_PATH));
}

static void cover(const char *with, const char *path)
{
	if (mount(with, path, NULL, MS_BIND, NULL) < 0 && errno != ENOENT)
		MUST(-1);
}

static void make_read_only(const char *path)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | SAFE };

	if (mount(path, path, NULL, MS_BIND, NULL) < 0 && errno == ENOENT)
		return;
	MUST(mount_setattr(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &attr, sizeof(attr)));
}

static void hide(int proc_fd, int sys_fd)
{
	static const char *const read_only[] = { "bus", "fs", "irq", "sys", "sysrq-trigger" };
	static const char *const files[] = {
		"kcore",       "kallsyms",   "kpagecount",    "kpageflags", "kpagecgroup",
		"vmallocinfo", "slabinfo",   "pagetypeinfo",  "config.gz",  "kmsg",
		"keys",        "key-users",  "latency_stats", "timer_list", "timer_stats",
		"sched_debug", "interrupts",
	};
	static const char *const directories[] = { "acpi", "asound", "scsi" };
	static const char *const sys_directories[] = { "firmware",       "devices/virtual/powercap",
						       "class/powercap", "kernel/debug",
						       "kernel/tracing", "kernel/security" };

	MUST(fchdir(proc_fd));
	for (size_t i = 0; i < ARRAY_SIZE(read_only); i++)
		make_read_only(read_only[i]);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		cover("/proc/file", files[i]);
	for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
		cover("/proc/dir", directories[i]);
	MUST(fchdir(sys_fd));
	for (size_t i = 0; i < ARRAY_SIZE(sys_directories); i++)
		cover("/proc/dir", sys_directories[i]);
}

/* ---- the process ---- */

static void enter(const struct launch_fds *fds)
{
	static const char *const pts[][2] = {
		{ "mode", "0620" }, { "ptmxmode", "0666" }, { "gid", "5" }, { NULL, NULL }
	};
	static const char *const shm[][2] = {
		{ "mode", "1777" }, { "size", "67108864" }, { "nr_inodes", "16400" }, { NULL, NULL }
	};
	const struct namespace_set *set = &bed.harness.namespaces;
	struct mount_attr private = { .propagation = MS_PRIVATE };
	int proc_fd = new_mount("proc", NULL, SAFE), sys_fd;
	uint64_t count;

	MUST(setns(set->net_fd, CLONE_NEWNET));
	sys_fd = new_mount("sysfs", NULL, SAFE | MOUNT_ATTR_RDONLY);
	MUST(setns(set->ipc_fd, CLONE_NEWIPC));
	MUST(setns(set->uts_fd, CLONE_NEWUTS));
	MUST(setns(set->user_fd, CLONE_NEWUSER));
	MUST(syscall(SYS_setgroups, 0, NULL));
	MUST(syscall(SYS_setresgid, 0, 0, 0));
	MUST(syscall(SYS_setresuid, 0, 0, 0));
	if (needs_attach())
		MUST(read(fds->ready, &count, sizeof(count)));
	MUST(unshare(CLONE_NEWNS | CLONE_NEWCGROUP));
	MUST(mount_setattr(AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof(private)));
	attach(fds->mask, AT_FDCWD, "/proc");
	attach(fds->root, AT_FDCWD, "/");
	attach(proc_fd, fds->root, "proc");
	attach(sys_fd, fds->root, "sys");
	attach(fds->dev, fds->root, "dev");
	attach(new_mount("devpts", pts, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC), fds->dev, "pts");
	attach(new_mount("tmpfs", shm, SAFE), fds->dev, "shm");
	attach(new_mount("mqueue", NULL, SAFE), fds->dev, "mqueue");
	attach(fds->volume, fds->root, "data");
	hide(proc_fd, sys_fd);
	MUST(fchdir(fds->root));
	MUST(syscall(SYS_pivot_root, ".", "."));
	MUST(umount2(".", MNT_DETACH));
	MUST(chdir("/"));
}

static void drop_and_exec(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 } };
	const struct filter *filter = bed.harness.filter;
	struct sock_fprog program = { (unsigned short)filter->instruction_count,
				      filter->instructions };
	static char *const env[] = { (char *)"PATH=/bin", NULL };

	(void)umask(022);
	(void)syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
		MUST(prctl(PR_CAPBSET_DROP, cap));
	MUST(syscall(SYS_capset, &header, data));
	MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	MUST(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
		     &program));
	MUST(execve(bed_argv[0], (char *const *)bed_argv, env));
}

static void process(const struct launch_fds *fds)
{
	MUST(prctl(PR_SET_DUMPABLE, 0));
	MUST(setsid());
	MUST(dup2(fds->out[1], 1));
	MUST(dup2(fds->err[1], 2));
	enter(fds);
	drop_and_exec();
}

static uint64_t launch(const char *group)
{
	uint64_t began_ns = bed_now_ns(), took_ns;
	const struct namespace_set *set = &bed.harness.namespaces;
	struct launch_fds fds;
	struct clone_args args = { .flags = CLONE_NEWPID | CLONE_PIDFD, .exit_signal = SIGCHLD };
	uint64_t one = 1;
	int pidfd = -1, group_fd, status;
	pid_t pid;

	fds.root = clone_mount(bed.harness.root_fd, set->user_fd, MOUNT_ATTR_RDONLY);
	fds.volume = clone_mount(bed.volume_fd, -1, 0);
	fds.dev = make_dev(set->id_first);
	fds.mask = make_mask();
	fds.ready = (int)MUST(eventfd(0, EFD_CLOEXEC));
	MUST(pipe2(fds.out, O_CLOEXEC));
	MUST(pipe2(fds.err, O_CLOEXEC));
	group_fd = make_groups(group);
	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	if (group_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)group_fd;
	}
	pid = (pid_t)MUST(syscall(SYS_clone3, &args, sizeof(args)));
	if (pid == 0) {
		process(&fds);
		_exit(1);
	}
	if (needs_attach()) {
		attach_pid(group, pid);
		MUST(write(fds.ready, &one, sizeof(one)));
	}
	bed_wait_byte(&bed);
	took_ns = bed_now_ns() - began_ns;
	(void)waitpid(pid, &status, 0);
	launch_fds_close(&fds);
	(void)close(pidfd);
	(void)close(group_fd);
	return took_ns;
}

int main(int argc, char **argv)
{
	size_t runs = argc > 1 ? (size_t)atol(argv[1]) : 200;
	uint64_t *ns = calloc(runs, sizeof(*ns));

	if (!ns || !runs || !harness_possible())
		return 77;
	bed_begin(&bed);
	device_program_fd = load_device_program();
	(void)umask(0);
	for (size_t i = 0; i < runs; i++) {
		char group[TASKGROUP_PATH_MAX + 32];

		(void)snprintf(group, sizeof(group), "%s/bare%zu", bed.harness.workload_path, i);
		ns[i] = launch(group);
		remove_groups(group);
	}
	bed_report("bare_launch", ns, runs);
	bed_end(&bed);
	free(ns);
	return 0;
}
