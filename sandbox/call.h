/*
 * A request on its way through the verb table (sandbox/requests.c) to its handler, and the handlers.
 *
 * A handler is called with what the table promises: Hello has come, the names in the request are names,
 * the workload and the container that it is about exist and are in a state that permits the verb. All other
 * fields are as they came, from a peer that may be hostile.
 *
 * It returns 0 when it is done and a plain answer is to be sent, 1 when it has answered or will, or a
 * negative errno with @err, which is sent as the answer.
 */
#pragma once

#include "berth/sandbox/v1/sandbox.pb-c.h"
#include "proto/arena.h"
#include "proto/err.h"
#include "sandbox/registry.h"

struct packet;
struct sandboxd;

struct call {
	struct sandboxd *host;
	struct asker asker;
	struct arena *arena; /* of the request; answers are built in it too */
	const Berth__Sandbox__V1__Request *request;
	struct packet *packet; /* its descriptors are as many as the verb has */
	struct workload *workload;
	struct container *container;
	Berth__Sandbox__V1__RemoveResult *removed; /* what the Remove verbs collect */
};

typedef int call_handler(struct call *call, struct err *err);

call_handler call_hello, call_inventory;                                 /* requests_host.c */
call_handler call_create_workload, call_remove_workload, call_freeze;    /* requests_workload.c */
call_handler call_launch;                                                /* requests_launch.c */
call_handler call_open_gate, call_signal, call_kill, call_update_limits; /* requests_container.c */
call_handler call_attach, call_remove_container;                         /* requests_container.c */
call_handler call_watch_pressure, call_limit_workloads;                  /* requests_pressure.c */
call_handler call_reclaim, call_squeeze;                                 /* requests_pressure.c */
call_handler call_exec;                                                  /* requests_exec.c */
call_handler call_socket;                                                /* requests_socket.c */
call_handler call_unpack_layer, call_list_layers;                        /* requests_layer.c */
call_handler call_remove_layer, call_verify_layer;                       /* requests_layer.c */
