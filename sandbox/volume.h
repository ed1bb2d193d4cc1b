/*
 * The volumes of a workload: what its containers share, until the workload is removed.
 *
 * A directory of the host is opened once, by the policy, and from then on the descriptor is used. A
 * tmpfs is made with its size and owned by the workload's root, and mounted below the workload's own
 * run directory, which only root can enter; containers get clones of that mount.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"
#include "proto/names.h"
#include "sandbox/policy.h"

#define VOLUMES_MAX 32

struct volume {
	char name[NAME_ID_MAX + 1];
	int fd; /* O_PATH directory */
	bool read_only;
	bool is_tmpfs;
	char *host_directory; /* NULL for a tmpfs */
	uint64_t tmpfs_bytes;
	uint64_t tmpfs_inodes;
};

struct volumes {
	struct volume *list;
	size_t n;
};

/* What is asked for. */
struct volume_wish {
	const char *name;
	const char *host_directory; /* NULL or "": a tmpfs */
	uint64_t tmpfs_bytes;
	uint64_t tmpfs_inodes; /* 0: one for each 16 KiB */
};

/*
 * Make the volume and add it. @run_fd is the workload's run directory, @id_first the host's id of the
 * workload's root.
 *
 *   ERR_INVALID, ERR_DENIED, ERR_NOT_FOUND  as policy_open_host_directory() and names.h say
 *   ERR_EXISTS      another one has the name
 *   ERR_EXHAUSTED   more than VOLUMES_MAX
 */
int volumes_add(struct volumes *volumes, const struct policy *policy, int run_fd, uint32_t id_first,
		const struct volume_wish *wish, struct err *err);

/* A volume of a workload from before: a tmpfs is taken as it is still mounted, or made anew and empty where
 * it is not, which *ret_lost tells. */
int volumes_add_known(struct volumes *volumes, const struct policy *policy, int run_fd,
		      uint32_t id_first, const struct volume_wish *wish, bool *ret_lost,
		      struct err *err);

/* NULL where there is none of the name. */
const struct volume *volumes_find(const struct volumes *volumes, const char *name);

/* Close all; the mounts stay, for a daemon that comes back. */
void volumes_done(struct volumes *volumes);

/* Close all and take the mounts down. */
void volumes_remove(struct volumes *volumes, int run_fd);

/* Take the mount @place of a directory down if it is a volume's, of a workload that nobody knows; whether there
 * was one. */
bool volume_discard(int run_fd, const char *place);
