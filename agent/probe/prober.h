/*
 * Asking a workload how it is, over a socket in its network namespace: one try of a probe of kind http, tcp
 * or grpc. What answers may be hostile: all that is taken from it is bounded.
 *
 * Nothing here blocks, and nothing here knows of time: who asks cancels what takes too long.
 *
 * What asks is behind `struct prober_ops`: prober_new() is the real one; tests play their own.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

#include "berth/v1/types.pb-c.h"
#include "proto/err.h"

#define PROBE_TEXT_MAX 384

struct prober;
struct probe_try;

struct probe_result {
	bool success;
	/* Why not: one line without control characters, with what was asked in front. "" for a success. */
	char text[PROBE_TEXT_MAX];
	/* The socket, to be used again for another try; take it with take_fd(), or it is closed. -1 where
	 * it is good for nothing any more. */
	int fd;
};

struct prober_ops {
	/*
	 * Ask what @probe asks. @fd is a stream socket of the right family, non-blocking and not
	 * connected: the prober's from here on, also on failure. @probe is canonical and stays the
	 * caller's; it must live until the end of the try. @done is called once, from the loop,
	 * unless cancel() came first; the try is gone then.
	 * Returns 0, or a negative errno with @err where this host cannot ask.
	 */
	int (*begin)(struct prober *prober, const Berth__V1__Probe *probe, int fd,
		     void (*done)(void *userdata, struct probe_result *result), void *userdata,
		     struct probe_try **ret_try, struct err *err);
	/* Give it up, and say in @ret what it waited for, as a failure. @ret->fd is -1. @ret may be
	 * NULL. */
	void (*cancel)(struct prober *prober, struct probe_try *try, struct probe_result *ret);
	void (*free)(struct prober *prober);
};

/* Embedded first in what implements it. */
struct prober {
	const struct prober_ops *ops;
};

int prober_new(sd_event *event, struct prober **ret_prober, struct err *err);

static inline void prober_free(struct prober *prober)
{
	if (prober)
		prober->ops->free(prober);
}

/* "GET 127.0.0.1:8080/healthz", "TCP [::1]:5432", "gRPC health of 127.0.0.1:9000", "exec /bin/check": what
 * @probe, which is canonical, asks. Writes into @buffer and returns it. */
#define PROBE_WHAT_MAX 160
const char *probe_what(const Berth__V1__Probe *probe, char buffer[static PROBE_WHAT_MAX]);
