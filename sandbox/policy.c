/*
 * The key table of the policy, and the questions that requests ask of it. Prefixes are compared by
 * path_open_host() with what the kernel says was opened, never with what the asker wrote.
 */
#include "sandbox/policy.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/names.h"
#include "sandbox/identity.h"
#include "sandbox/path.h"
#include "sandbox/writable_layer.h"

static int check_directory(const char *value, struct err *err)
{
	return names_check_path(value, err);
}

int policy_split_host_directory(const char *item, char path[static NAME_PATH_MAX + 1],
				bool *ret_read_only, struct err *err)
{
	const char *colon = strrchr(item, ':');
	char quoted[NAME_QUOTED_MAX];

	if (!colon || (strcmp(colon, ":ro") != 0 && strcmp(colon, ":rw") != 0) ||
	    colon - item > NAME_PATH_MAX)
		return err_set(
			err, ERR_INVALID, EINVAL,
			"%s: write a directory and how it may be mounted, as /srv/data:ro or /srv/data:rw",
			names_quote(item, quoted));
	memcpy(path, item, (size_t)(colon - item));
	path[colon - item] = '\0';
	*ret_read_only = strcmp(colon, ":ro") == 0;
	return names_check_path(path, err);
}

static int check_host_directory(const char *value, struct err *err)
{
	char path[NAME_PATH_MAX + 1];
	bool read_only;

	return policy_split_host_directory(value, path, &read_only, err);
}

static int check_capability(const char *value, struct err *err)
{
	uint64_t set = 0;

	return identity_add_capability(value, &set, err);
}

static int check_sysctl_name(const char *value, struct err *err)
{
	return names_check_sysctl(value, "0", NULL, err);
}

static int check_cgroup_parent(const char *value, struct err *err)
{
	if (strcmp(value, "auto") == 0)
		return 0;
	if (value[0] != '/' || value[1] == '\0')
		return err_set(err, ERR_INVALID, EINVAL,
			       "must be auto, or an absolute path below the cgroup mounts");
	return names_check_path(value, err);
}

static int check_user(const char *value, struct err *err)
{
	if (strlen(value) > 32 ||
	    strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789_-") != strlen(value))
		return err_set(err, ERR_INVALID, EINVAL,
			       "must be a user's name: at most 32 of a-z, 0-9, _ and -");
	return 0;
}

#define MEMBER(name) offsetof(struct policy, name)

static const struct config_key keys[] = {
	{ "Policy", "AllowRootDirectories", CONFIG_LIST, MEMBER(root_directories),
	  "/var/lib/berth/rootfs",
	  "Directories at or below which a container's root file system may lie.", .max = 64,
	  .check = check_directory },
	{ "Policy", "AllowWritableRoot", CONFIG_LIST, MEMBER(writable_root), "",
	  "Those of them that a container may also write to. What it writes counts in no quota, and is seen by all who use the directory. A workload's root can leave setuid programs of the host's root there: let a directory above be closed to other users of the host.",
	  .max = 64, .check = check_directory },
	{ "Policy", "AllowHostDirectories", CONFIG_LIST, MEMBER(host_directories), "",
	  "Directories of the host at or below which volumes may lie, each with :ro or :rw behind it: /srv/models:ro /srv/scratch:rw. What is written there counts in no quota. A workload's root can leave setuid programs of the host's root in a :rw one: let a directory above be closed to other users of the host.",
	  .max = 64, .check = check_host_directory },
	{ "Policy", "AllowHostNetwork", CONFIG_BOOL, MEMBER(allow_host_network), "no",
	  "Whether a workload may use the host's network instead of one of its own." },
	{ "Policy", "AllowHostIds", CONFIG_BOOL, MEMBER(allow_host_ids), "no",
	  "Whether a workload may run without a user namespace: its root is then the host's." },
	{ "Policy", "AllowUnconfined", CONFIG_BOOL, MEMBER(allow_unconfined), "no",
	  "Whether a container may run without a system call filter." },
	{ "Policy", "GrantableCapabilities", CONFIG_LIST, MEMBER(grantable_capabilities),
	  "CAP_NET_BIND_SERVICE CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETUID CAP_SETGID CAP_KILL",
	  "Capabilities that a container may ask for; they hold in its own user namespace. By default it has none.",
	  .max = 64, .check = check_capability },
	{ "Policy", "AllowedSysctls", CONFIG_LIST, MEMBER(allowed_sysctls),
	  "kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.tcp_syncookies net.ipv4.ping_group_range net.ipv4.ip_unprivileged_port_start net.ipv4.ip_local_reserved_ports net.ipv4.tcp_keepalive_time net.ipv4.tcp_fin_timeout net.ipv4.tcp_keepalive_intvl net.ipv4.tcp_keepalive_probes",
	  "Kernel settings, of the workload's own namespaces, that it may ask for.", .max = 64,
	  .check = check_sysctl_name },

	{ "Defaults", "DefaultMemory", CONFIG_BYTES, MEMBER(default_memory_bytes), "512Mi",
	  "Memory limit of a container that names none.", .min = 1 << 20 },
	{ "Defaults", "DefaultPids", CONFIG_UINT, MEMBER(default_pids), "512",
	  "Processes and threads of a container that names no limit.", .min = 1, .max = 4194304 },
	{ "Defaults", "DefaultCpuMillis", CONFIG_CPU_MILLIS, MEMBER(default_cpu_millis), "1",
	  "Processors of a container that names no limit.", .min = 10, .max = 1000000 },
	{ "Defaults", "DefaultOpenFiles", CONFIG_UINT, MEMBER(default_open_files), "1024",
	  "Open files of a process (RLIMIT_NOFILE), unless the container names a limit.", .min = 16,
	  .max = 1048576 },
	{ "Defaults", "DefaultProcesses", CONFIG_UINT, MEMBER(default_processes), "0",
	  "Processes of one user (RLIMIT_NPROC) unless the container names a limit. 0 leaves it to DefaultPids.",
	  .max = 4194304 },
	{ "Defaults", "DefaultLogFileSize", CONFIG_BYTES, MEMBER(default_log_file_bytes), "10Mi",
	  "A container's log file is rotated at this size, unless it names one.", .min = 4096,
	  .max = (uint64_t)1 << 40 },
	{ "Defaults", "DefaultLogFiles", CONFIG_UINT, MEMBER(default_log_files), "5",
	  "Log files kept of a container, unless it names a number.", .min = 1, .max = 1000 },
	{ "Defaults", "DefaultWritableLayer", CONFIG_BYTES, MEMBER(default_writable_layer_bytes),
	  "1Gi",
	  "What a container may write to its root, where that is made of layers and writable, unless it names a number.",
	  .min = WRITABLE_LAYER_BYTES_MIN, .max = WRITABLE_LAYER_BYTES_MAX },

	{ "Host", "AgentUser", CONFIG_STRING, MEMBER(agent_user), "berth",
	  "Who may use the socket, beside root: the user of berthd.", .check = check_user },
	{ "Host", "CgroupParent", CONFIG_STRING, MEMBER(cgroup_parent), "auto",
	  "The cgroup below which workloads live. auto: the unit's own under systemd, /berth elsewhere.",
	  .check = check_cgroup_parent },
	{ "Host", "LogDirectory", CONFIG_PATH, MEMBER(log_directory), "/var/log/berth/workloads",
	  "Where the output of containers is written: <workload>/<container>/<number>.log." },
	{ "Host", "RunDirectory", CONFIG_PATH, MEMBER(run_directory), "/run/berth/sandbox",
	  "What has to outlive a restart of the daemon, but not of the host: on tmpfs." },
	{ "Host", "LayerDirectory", CONFIG_PATH, MEMBER(layer_directory), "/var/lib/berth/layers",
	  "Where layers of images are unpacked to: on a file system whose mounts can map ids (ext4, xfs, btrfs), as root's alone. It is made when the first layer comes." },
	{ "Host", "MaxLayerSize", CONFIG_BYTES, MEMBER(max_layer_bytes), "32Gi",
	  "A layer of an image that is larger, uncompressed, is not unpacked.", .min = 1 << 20,
	  .max = (uint64_t)1 << 44 },
	{ "Host", "MaxLayerEntries", CONFIG_UINT, MEMBER(max_layer_entries), "1000000",
	  "A layer of an image that has more files, directories and links is not unpacked.",
	  .min = 1, .max = 4000000 },
	{ "Host", "MaxWritableLayer", CONFIG_BYTES, MEMBER(max_writable_layer_bytes), "64Gi",
	  "What a container may write to a root of layers at most. It takes space in LayerDirectory as it is written, until the container ends.",
	  .min = WRITABLE_LAYER_BYTES_MIN, .max = WRITABLE_LAYER_BYTES_MAX },
	{ "Host", "IdRangeFirst", CONFIG_UINT, MEMBER(id_range_first), "1342177280",
	  "First of the host's user and group ids that workloads are mapped to; a multiple of 65536.",
	  .min = POLICY_ID_FIRST_LOWEST, .max = 0xffff0000 - POLICY_ID_RANGE },
	{ "Host", "IdRangeCount", CONFIG_UINT, MEMBER(id_range_count), "536870912",
	  "How many ids there are from IdRangeFirst on; each workload takes 65536.",
	  .min = POLICY_ID_RANGE, .max = 0xffff0000 },
	{ "Host", "NamespacePool", CONFIG_UINT, MEMBER(namespace_pool), "8",
	  "Sets of namespaces kept ready, so that a workload need not wait for its own.",
	  .max = 256 },
	{ "Host", "MaxWorkloads", CONFIG_UINT, MEMBER(max_workloads), "4096",
	  "Workloads that this host holds at most.", .min = 1, .max = 8192 },
	{ "Host", "UnkillableAfter", CONFIG_DURATION_MS, MEMBER(unkillable_after_ms), "10s",
	  "Processes that live on for so long after SIGKILL are reported as unkillable.",
	  .min = 100, .max = 3600000 },
};

static int check_id_range(const void *settings, size_t ret_members[static 2], struct err *err)
{
	const struct policy *policy = settings;

	ret_members[0] = policy->id_range_first % POLICY_ID_RANGE ? MEMBER(id_range_first)
								  : MEMBER(id_range_count);
	ret_members[1] = MEMBER(id_range_first);
	if (policy->id_range_first % POLICY_ID_RANGE || policy->id_range_count % POLICY_ID_RANGE)
		return err_set(err, ERR_INVALID, EINVAL,
			       "IdRangeFirst=%llu and IdRangeCount=%llu must be multiples of 65536",
			       (unsigned long long)policy->id_range_first,
			       (unsigned long long)policy->id_range_count);
	/* 0xffffffff is (uid_t)-1, and 0xfffe is the overflow id's range of many tools */
	if (policy->id_range_first + policy->id_range_count > 0xffff0000ULL)
		return err_set(err, ERR_INVALID, EINVAL,
			       "IdRangeFirst=%llu and IdRangeCount=%llu reach beyond 4294901760",
			       (unsigned long long)policy->id_range_first,
			       (unsigned long long)policy->id_range_count);
	return 0;
}

static const struct config_table table = CONFIG_TABLE_CHECKED(
	"What berth-sandboxd permits on this host. berthd cannot change or exceed it.",
	struct policy, keys, check_id_range);

static int policy_derive(struct policy *policy, struct err *err)
{
	policy->capabilities = 0;
	for (size_t i = 0; i < policy->grantable_capabilities.n; i++) {
		int r = identity_add_capability(policy->grantable_capabilities.items[i],
						&policy->capabilities, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int policy_adopt(struct policy *fresh, struct policy *ret, struct err *err)
{
	int r = policy_derive(fresh, err);

	if (r < 0)
		return r;
	policy_done(ret);
	*ret = *fresh;
	memset(fresh, 0, sizeof(*fresh));
	return 0;
}

int policy_load(const char *path, enum config_presence presence, struct policy *ret,
		struct err *err)
{
	cleanup_policy struct policy fresh = { 0 };
	int r = config_load(&table, path, presence, &fresh, err);

	if (r < 0)
		return r;
	r = policy_adopt(&fresh, ret, err);
	return r < 0 ? err_prefix(err, r, "%s", path) : 0;
}

int policy_load_text(const char *text, struct policy *ret, struct err *err)
{
	cleanup_policy struct policy fresh = { 0 };
	int r = config_load_text(&table, "policy", text, strlen(text), &fresh, err);

	return r < 0 ? r : policy_adopt(&fresh, ret, err);
}

void policy_done(struct policy *policy)
{
	config_free(&table, policy);
}

int policy_print_defaults(FILE *file)
{
	return config_print_defaults(&table, file);
}

int policy_print(const struct policy *policy, FILE *file)
{
	return config_print_settings(&table, policy, file);
}

static int open_below(const struct config_list *list, const char *key, const char *path,
		      struct err *err)
{
	int fd = path_open_host(path, (const char *const *)list->items, list->n, err);

	if (fd == -EACCES || fd == -EPERM || fd == -EXDEV || fd == -ELOOP)
		return err_prefix(err, fd, "%s of this host's policy", key);
	return fd;
}

static bool is_same_directory(int a_fd, int b_fd)
{
	struct stat a;
	struct stat b;

	return fstat(a_fd, &a) == 0 && fstat(b_fd, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

int policy_open_root(const struct policy *policy, const char *path, bool writable, struct err *err)
{
	cleanup_fd int fd = -1;
	int r = names_check_path(path, err);

	if (r < 0)
		return err_prefix(err, r, "root_directory");
	fd = open_below(&policy->root_directories, "AllowRootDirectories", path, err);
	if (fd < 0)
		return fd;
	if (writable) {
		cleanup_fd int again = open_below(&policy->writable_root, "AllowWritableRoot", path,
						  err);

		if (again < 0)
			return again;
		if (!is_same_directory(fd, again))
			return err_set(err, ERR_DENIED, EXDEV,
				       "directory %s was replaced while it was looked at", path);
	}
	return take_fd(&fd);
}

/* The first entry that the path is at or below decides; ":rw" ones are asked first, so that a
 * directory inside both kinds may be written. */
static int open_of_kind(const struct policy *policy, const char *path, bool read_only,
			struct err *err)
{
	int fd = err_set(
		err, ERR_DENIED, EACCES,
		"directory %s is not below any of AllowHostDirectories of this host's policy",
		path);

	for (size_t i = 0; i < policy->host_directories.n; i++) {
		char prefix[NAME_PATH_MAX + 1];
		const char *const prefixes[] = { prefix };
		bool is_read_only;

		if (policy_split_host_directory(policy->host_directories.items[i], prefix,
						&is_read_only, NULL) < 0 ||
		    is_read_only != read_only)
			continue;
		fd = path_open_host(path, prefixes, 1, err);
		if (fd >= 0)
			return fd;
	}
	return fd;
}

int policy_open_host_directory(const struct policy *policy, const char *path, bool *ret_read_only,
			       struct err *err)
{
	int r = names_check_path(path, err);
	int fd;

	if (r < 0)
		return err_prefix(err, r, "host_directory");
	fd = open_of_kind(policy, path, false, err);
	if (fd >= 0) {
		*ret_read_only = false;
		return fd;
	}
	fd = open_of_kind(policy, path, true, err);
	if (fd >= 0)
		*ret_read_only = true;
	return fd;
}

int policy_add_capability(const struct policy *policy, const char *name, uint64_t *set,
			  struct err *err)
{
	uint64_t one = 0;
	int r = identity_add_capability(name, &one, err);

	if (r < 0)
		return r;
	if (one & ~policy->capabilities)
		return err_set(
			err, ERR_DENIED, EPERM,
			"capability %s is not among GrantableCapabilities of this host's policy",
			name);
	*set |= one;
	return 0;
}

static bool list_has(const struct config_list *list, const char *word)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->items[i], word) == 0)
			return true;
	return false;
}

int policy_check_sysctl(const struct policy *policy, const char *name, const char *value,
			bool host_network, struct err *err)
{
	enum sysctl_namespace whose;
	int r = names_check_sysctl(name, value, &whose, err);

	if (r < 0)
		return r;
	if (!list_has(&policy->allowed_sysctls, name))
		return err_set(err, ERR_DENIED, EPERM,
			       "sysctl %s is not among AllowedSysctls of this host's policy", name);
	if (host_network && whose == SYSCTL_NET)
		return err_set(
			err, ERR_DENIED, EPERM,
			"sysctl %s would change the host's network, which the workload shares",
			name);
	return 0;
}
