/*
 * The face berth.v1.NodeAgent: decodes nothing and decides nothing. A handler hands the request to the
 * engine, the logs or the telemetry, and turns what they answer into messages and statuses.
 */
#pragma once

#include "agent/grpc/server.h"
#include "agent/settings.h"
#include "agent/workload/engine.h"

struct images;
struct telemetry;

struct service {
	sd_event *event;
	struct engine *engine;
	struct telemetry *telemetry;
	struct images *images;           /* NULL: none are kept */
	const struct settings *settings; /* replaced as a whole on reload */
};

/* The table of the methods, with the roles that may call each; @n of them. `user` of the handlers is the
 * struct service. */
const struct grpc_method *service_methods(size_t *ret_n);

/* grpc_server_options.authorise with the struct service as its user: roles_permit() for the peer, and a log
 * line for a refusal. Who may call is heard of (engine_call_began()) until service_log_call(). */
int service_authorise(struct grpc_call *call, void *user, struct err *err);

/* grpc_server_options.on_call_end: the access log, at debug; failures of the host at warning. */
void service_log_call(struct grpc_call *call, const struct grpc_call_end *end, void *user);
