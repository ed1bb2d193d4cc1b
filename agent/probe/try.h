/* One try, between the files of this folder only. */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include "agent/probe/prober.h"

struct probe_http;
struct probe_grpc;

struct real_prober {
	struct prober prober; /* first */
	sd_event *event;
};

struct probe_try {
	struct real_prober *prober;
	const Berth__V1__Probe *probe;
	void (*done)(void *userdata, struct probe_result *result);
	void *userdata;
	int fd;
	sd_event_source *io;
	bool connected;
	struct sockaddr_storage address;
	socklen_t address_bytes;
	struct probe_http *http;
	struct probe_grpc *grpc;
};

/* It is over: tell, and free. */
void try_succeeded(struct probe_try *try);
void try_failed(struct probe_try *try, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* http.c: once it is connected; then what comes. Either may end the try. */
int probe_http_new(struct probe_try *try);
/* Send of the request what goes: 1 when that was all, 0 when not, or a negative errno. */
int probe_http_send(struct probe_try *try);
void probe_http_start(struct probe_try *try);
void probe_http_readable(struct probe_try *try);
/* What it comes to when its time is over: whether the answer was good, only that its end did not come; or
 * why not. */
bool probe_http_conclude(const struct probe_try *try, char why[static PROBE_TEXT_MAX]);
void probe_http_free(struct probe_http *http);

/* grpc.c */
int probe_grpc_start(struct probe_try *try, struct err *err);
void probe_grpc_free(struct probe_grpc *grpc);
