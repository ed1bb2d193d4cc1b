/*
 * grpc.health.v1.Health: Check, and Watch with one answer per change.
 */
#pragma once

#include <stdbool.h>

#include "agent/grpc/server.h"

struct grpc_health;

/* Serve it on @server. The caller frees it after the server. */
int grpc_health_new(struct grpc_server *server, struct grpc_health **ret_health, struct err *err);
void grpc_health_free(struct grpc_health *health);

/* @service "" is the server as a whole. Watchers are told. A service never set is NOT_FOUND to Check and
 * SERVICE_UNKNOWN to Watch. Returns 0 or -ENOMEM. */
int grpc_health_set(struct grpc_health *health, const char *service, bool serving);
