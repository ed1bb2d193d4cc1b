/*
 * What a container sees of /proc and /sys: mounts of its own pid and network namespace, with the files that
 * tell of the host or let it be changed hidden under empty read-only mounts of ours, or read-only.
 *
 * Whether to hide is never decided by trying (security of the host's root, who can write anything): the
 * lists are fixed, and only what does not exist is passed over.
 */
#pragma once

#include <stdbool.h>

#include "proto/err.h"

/* As root of the host: a detached read-only file system with an empty file and an empty directory, what
 * hidden things are covered with. */
int proc_mask_prepare(struct err *err);

/* As root of the host, in the new pid namespace. @strict: processes only, and of those only one's own. */
int proc_mask_new_proc(bool strict, struct err *err);

/* As root of the host, in the workload's network namespace. */
int proc_mask_new_sys(struct err *err);

/* In the container's mount namespace, where all three are attached, the masks by rootfs_enter(). Changes the working
 * directory. @cpus: how many the host has. */
int proc_mask_apply(int mask_fd, int proc_fd, int sys_fd, bool strict, int cpus, struct err *err);
