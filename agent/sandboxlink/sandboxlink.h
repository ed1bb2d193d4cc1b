/*
 * The agent's end of the conversation with berth-sandboxd: requests with replies, facts that come by
 * themselves, descriptors beside both. The messages are those of berth/sandbox/v1.
 *
 * What speaks is behind `struct sandboxlink_ops`: sandboxlink_socket_new() is the real one; tests play
 * their own.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "berth/sandbox/v1/sandbox.pb-c.h"
#include "proto/err.h"

#define SANDBOXLINK_PROTOCOL        1
#define SANDBOXLINK_OUTSTANDING_MAX 8192 /* requests without a reply */

struct sandboxlink;

/* How a request ended. */
struct sandboxlink_reply {
	/* NULL when the connection broke before the answer: whether it was done is unknown, and the
	 * inventory of the next connection will tell. */
	const Berth__Sandbox__V1__Reply *message;
	/* kind ERR_NONE: it was done. ERR_UNAVAILABLE with @message NULL: the connection broke. */
	const struct err *err;
	int *fds; /* take with take_fd(); what is left is closed */
	size_t n_fds;
};

/* What to do with the reply. Copied, so that nobody has to keep it; @key is the asker's own. */
struct sandboxlink_call {
	void (*done)(void *userdata, const struct sandboxlink_call *call,
		     struct sandboxlink_reply *reply);
	void *userdata;
	uint64_t key[4];
};

struct sandboxlink_listener {
	/* The handshake is done. @hello is valid during the call. */
	void (*up)(void *userdata, const Berth__Sandbox__V1__HelloResult *hello);
	/* The connection broke, or could not be made for the first time; every call was answered before
	 * this. Told once until `up` comes again. */
	void (*down)(void *userdata, const struct err *err);
	/* Take descriptors with take_fd(); what is left is closed. */
	void (*fact)(void *userdata, const Berth__Sandbox__V1__Fact *fact, int *fds, size_t n_fds);
	void *userdata;
};

struct sandboxlink_ops {
	/*
	 * Send @request (its id is set here), with the descriptor @fd where that is not -1, which stays the
	 * caller's, and answer by @call, which may be NULL for a request whose failure is nobody's news.
	 * `done` is never called from within. Returns 0, or a negative errno
	 * with @err, and then `done` is never called:
	 *   ERR_UNAVAILABLE  not connected
	 *   ERR_EXHAUSTED    too many requests are outstanding
	 *   ERR_INTERNAL     the request is larger than a packet
	 */
	int (*send)(struct sandboxlink *link, Berth__Sandbox__V1__Request *request, int fd,
		    const struct sandboxlink_call *call, struct err *err);
	void (*free)(struct sandboxlink *link);
};

/* Embedded first in what implements it. */
struct sandboxlink {
	const struct sandboxlink_ops *ops;
	const struct sandboxlink_listener
		*listener; /* set by its one user before anything happens */
};

static inline int sandboxlink_send(struct sandboxlink *link, Berth__Sandbox__V1__Request *request,
				   const struct sandboxlink_call *call, struct err *err)
{
	return link->ops->send(link, request, -1, call, err);
}

static inline int sandboxlink_send_fd(struct sandboxlink *link,
				      Berth__Sandbox__V1__Request *request, int fd,
				      const struct sandboxlink_call *call, struct err *err)
{
	return link->ops->send(link, request, fd, call, err);
}

static inline void sandboxlink_free(struct sandboxlink *link)
{
	if (link)
		link->ops->free(link);
}

struct sandboxlink_socket_config {
	const char *path;          /* of the socket, copied: "/run/berth/sandboxd.sock" */
	const char *version;       /* ours, for Hello; copied */
	uint64_t retry_initial_ms; /* 0: 50 */
	uint64_t retry_max_ms;     /* 0: 5000 */
};

/*
 * A link over the seqpacket socket at config->path. It connects once the loop runs, says Hello, and
 * when the connection breaks or cannot be made tries again, after waits that double up to the
 * maximum. Whatever arrives that is no proper answer ends the connection. Descriptors of a pending
 * connection are never waited for: nothing here blocks.
 *
 * Returns 0, or a negative errno with @err: ERR_INVALID for a path that does not fit an address.
 */
int sandboxlink_socket_new(sd_event *event, const struct sandboxlink_socket_config *config,
			   struct sandboxlink **ret_link, struct err *err);
