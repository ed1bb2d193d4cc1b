/*
 * Whose a new user namespace is. The kernel counts what is used in one (inotify instances, queued signals,
 * locked memory, message queues: ucounts, kernel/ucount.c) a second time, against the limits of the
 * user who made it. Made by root, all workloads would share root's limits with each other and with the
 * host's own daemons, and one of them could use them up for all.
 */
#pragma once

#include <linux/sched.h>
#include <sys/types.h>

/*
 * clone3(2) with @args, which has CLONE_NEWUSER, as the user @owner: the namespace is then its, and counts
 * against its limits. The caller must be root and have one thread; it is as before afterwards. The child
 * has @owner's effective uid, and all capabilities in the new namespace.
 *
 * Returns the child's number, 0 in the child, or a negative errno.
 */
pid_t userns_owner_clone(struct clone_args *args, uid_t owner);
