/*
 * What this host permits: /etc/berth/sandboxd.conf, root's to write. The requests of berthd are checked
 * against it, so that whoever takes berthd over gets nothing beyond it.
 *
 * A struct policy is loaded whole or not at all; a reload makes a second one and swaps, so that a bad
 * file changes nothing. What names a place or a size that is in use from start to end (RunDirectory,
 * LogDirectory, LayerDirectory, CgroupParent, IdRange*, NamespacePool, MaxWorkloads) stays as it was at start.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/cleanup.h"
#include "proto/config.h"
#include "proto/err.h"
#include "proto/names.h"

#define POLICY_FILE            "/etc/berth/sandboxd.conf"
#define POLICY_ID_RANGE        65536U      /* ids of one workload */
#define POLICY_ID_FIRST_LOWEST 0x00100000U /* below are the host's own users and systemd's */

struct policy {
	/* as in the file */
	struct config_list root_directories;
	struct config_list writable_root;
	struct config_list host_directories;
	bool allow_host_network;
	bool allow_host_ids;
	bool allow_unconfined;
	struct config_list grantable_capabilities;
	struct config_list allowed_sysctls;
	char *agent_user;
	char *cgroup_parent;
	char *log_directory;
	char *run_directory;
	char *layer_directory;
	uint64_t max_layer_bytes;
	uint64_t max_layer_entries;
	uint64_t max_writable_layer_bytes;
	uint64_t id_range_first;
	uint64_t id_range_count;
	uint64_t namespace_pool;
	uint64_t max_workloads;
	uint64_t unkillable_after_ms;
	uint64_t default_memory_bytes;
	uint64_t default_pids;
	uint64_t default_cpu_millis;
	uint64_t default_open_files;
	uint64_t default_processes;
	uint64_t default_log_file_bytes;
	uint64_t default_log_files;
	uint64_t default_writable_layer_bytes;
	/* from grantable_capabilities: bit CAP_x */
	uint64_t capabilities;
};

/*
 * Fill @ret, zeroed or loaded before, from the file @path and its drop-ins.
 *   ERR_INVALID, ERR_DENIED, ERR_NOT_FOUND, ERR_INTERNAL  as config_load(), @ret is unchanged
 */
int policy_load(const char *path, enum config_presence presence, struct policy *ret,
		struct err *err);
int policy_load_text(const char *text, struct policy *ret, struct err *err);
void policy_done(struct policy *policy);
#define cleanup_policy cleanup(policy_done)

/* The documented default file. */
int policy_print_defaults(FILE *file);
/* Key and value of all that holds. */
int policy_print(const struct policy *policy, FILE *file);

/*
 * Open the directory @path of the host, by policy, for a container's root: O_PATH, the caller's. No
 * symlink is followed on the way, and what was opened is what was compared with the policy.
 *   ERR_INVALID, ERR_NOT_FOUND, ERR_DENIED  the sentence says which key of the policy decides
 */
int policy_open_root(const struct policy *policy, const char *path, bool writable, struct err *err);

/* The same for a volume. *ret_read_only: the policy permits it for reading only. */
int policy_open_host_directory(const struct policy *policy, const char *path, bool *ret_read_only,
			       struct err *err);

/* An item of host_directories, "/srv/data:ro": its path, and whether it is read-only. ERR_INVALID. */
int policy_split_host_directory(const char *item, char path[static NAME_PATH_MAX + 1],
				bool *ret_read_only, struct err *err);

/* ERR_DENIED for a capability that is not GrantableCapabilities'; else its bit is or'ed into *set. */
int policy_add_capability(const struct policy *policy, const char *name, uint64_t *set,
			  struct err *err);

/* ERR_INVALID, or ERR_DENIED where the policy does not have it, or @host_network and it is of the
 * network namespace. */
int policy_check_sysctl(const struct policy *policy, const char *name, const char *value,
			bool host_network, struct err *err);
