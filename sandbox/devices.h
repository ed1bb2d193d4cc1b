/*
 * The /dev of a container: always a new tmpfs with nodes that we made, never a directory or a node of the
 * image.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/err.h"

/*
 * As root of the host, with umask 0: the detached mount, its nodes and links, all owned by the ids
 * @host_root (uid and gid). Returns the descriptor or a negative errno with @err.
 */
int devices_prepare(uint32_t host_root, struct err *err);

/* As root of the workload, once @dev_fd is attached: devpts, shared memory of @shm_bytes, message queues. */
int devices_attach_kernel(int dev_fd, uint64_t shm_bytes, struct err *err);

/* The container's own /dev/null in the mount @dev_fd, attached or not. Descriptor or negative errno. */
int devices_open_null(int dev_fd, int flags);
