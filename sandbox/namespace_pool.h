/*
 * Sets of namespaces for workloads, made before they are wanted: user (with its 65,536 ids mapped),
 * network (loopback up), IPC and UTS. Making a network namespace is the slowest step of a launch, so
 * that some are kept ready and replaced while the loop is idle.
 *
 * A set is made by a short-lived child that is born in the new namespaces, waits until its ids are
 * mapped, forbids nested user namespaces, brings loopback up and says so; the daemon then opens the namespaces and lets it go. The
 * descriptors alone keep a set alive, and its end needs nothing but closing them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "sandbox/departures.h"
#include "sandbox/idrange.h"

/* -1: the host's. */
struct namespace_set {
	int user_fd;
	int net_fd;
	int ipc_fd;
	int uts_fd;
	uint32_t id_first; /* taken from the ranges; 0 with user_fd -1 */
};

#define NAMESPACE_SET_EMPTY       \
	{                         \
		-1, -1, -1, -1, 0 \
	}

/* Close the descriptors. The range of ids stays taken. */
void namespace_set_done(struct namespace_set *set);

struct namespace_pool;

/*
 * Keep up to @target sets ready; the first are made once the loop runs, others while no workload has
 * come for a moment: making one would take from the launches under way. @ranges, @departures, for the
 * children, and @proc_fd, the host's /proc, outlive the pool. ERR_INTERNAL without memory.
 */
int namespace_pool_new(sd_event *event, struct idranges *ranges, struct departures *departures,
		       int proc_fd, size_t target, struct namespace_pool **ret_pool,
		       struct err *err);

/* Gives its ids back and ends its children. Accepts NULL. */
void namespace_pool_free(struct namespace_pool *pool);
DEFINE_CLEANUP(struct namespace_pool *, namespace_pool_free)

/*
 * A set of the caller's own: a ready one, else it is made now, which takes a millisecond. With
 * @host_network and @host_ids it lacks those namespaces.
 *
 *   ERR_EXHAUSTED    no ids, processes, namespaces (user.max_*_namespaces) or descriptors
 *   ERR_UNSUPPORTED  this kernel has no user namespaces for us
 */
int namespace_pool_take(struct namespace_pool *pool, bool host_network, bool host_ids,
			struct namespace_set *ret_set, struct err *err);

/* The same with the ids from @id_first on, which the caller has taken already: for a workload from
 * before whose namespaces died with the last process in them. The child goes to @departures, or NULL. */
int namespace_pool_make(struct departures *departures, int proc_fd, uint32_t id_first,
			bool host_network, bool host_ids, struct namespace_set *ret_set,
			struct err *err);

size_t namespace_pool_ready(const struct namespace_pool *pool);
