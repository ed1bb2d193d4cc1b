/* The service of echo.proto on a grpc_server. */
#pragma once

#include "agent/grpc/server.h"

struct echo;

/* Serve it. The caller frees it after the server. */
int echo_new(sd_event *event, struct grpc_server *server, struct echo **ret_echo, struct err *err);
void echo_free(struct echo *echo);

extern const struct grpc_method echo_methods[];
extern const size_t n_echo_methods;

/* The descriptors of echo.proto and of the services every server has; embedded. */
extern const uint8_t echo_descriptors[];
extern const size_t echo_descriptors_size;
