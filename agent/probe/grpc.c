/*
 * grpc.health.v1.Health/Check over HTTP/2 without TLS, with the client that berthctl has: one connection,
 * one call, and little room for what comes back. The client gets a duplicate of the socket, so that the
 * socket itself outlives it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/grpc/client.h"
#include "agent/probe/try.h"
#include "grpc/health/v1/health.pb-c.h"
#include "proto/cleanup.h"

#define MESSAGE_MAX    1024
#define DECODED_MAX    4096
#define CONNECTION_MAX (64U * 1024)
/* Only that the client has one: who asks gives up long before. */
#define CONNECT_USEC UINT64_C(86400000000)

struct probe_grpc {
	struct probe_try *try;
	struct grpc_client *client;
	sd_event_source *ender; /* a client is not freed from its own callbacks */
	bool heard;
	bool serving;
	char why[PROBE_TEXT_MAX];
};

static const char *status_name(Grpc__Health__V1__HealthCheckResponse__ServingStatus status)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(
		&grpc__health__v1__health_check_response__serving_status__descriptor, (int)status);

	return value ? value->name : "a status that the protocol does not know";
}

static void on_message(struct grpc_client_call *call, const ProtobufCMessage *message, void *user)
{
	const Grpc__Health__V1__HealthCheckResponse *response = (const void *)message;
	struct probe_grpc *grpc = user;

	if (grpc->heard)
		return; /* one answer is all that a unary call has */
	grpc->heard = true;
	grpc->serving = response->status ==
			GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
	(void)snprintf(grpc->why, sizeof(grpc->why), "answered %s", status_name(response->status));
}

static void on_end(struct grpc_client_call *call, const struct grpc_outcome *outcome, void *user)
{
	struct probe_grpc *grpc = user;

	if (outcome->code != GRPC_OK) {
		grpc->serving = false;
		(void)snprintf(grpc->why, sizeof(grpc->why), "%s: %.256s",
			       grpc_code_name(outcome->code), outcome->message);
	} else if (!grpc->heard) {
		(void)snprintf(grpc->why, sizeof(grpc->why), "OK, but without an answer");
	}
	if (grpc->ender)
		(void)sd_event_source_set_enabled(grpc->ender, SD_EVENT_ONESHOT);
}

static const struct grpc_client_events events = { .on_message = on_message, .on_end = on_end };

static int on_over(sd_event_source *source, void *userdata)
{
	struct probe_grpc *grpc = userdata;
	struct probe_try *try = grpc->try;

	if (grpc->serving)
		try_succeeded(try);
	else
		try_failed(try, "%s", grpc->why);
	return 0;
}

void probe_grpc_free(struct probe_grpc *grpc)
{
	if (!grpc)
		return;
	grpc->ender = sd_event_source_disable_unref(grpc->ender);
	grpc_client_free(grpc->client);
	free(grpc);
}

static int make_client(struct probe_try *try, struct err *err)
{
	char target[64];
	struct grpc_client_socket socket = {
		.fd = fcntl(try->fd, F_DUPFD_CLOEXEC, 3),
		.address = (const struct sockaddr *)&try->address,
		.address_bytes = try->address_bytes,
	};
	const struct grpc_client_options options = { .target = target,
						     .connect_timeout_usec = CONNECT_USEC,
						     .max_receive_bytes = MESSAGE_MAX,
						     .max_decoded_bytes = DECODED_MAX,
						     .max_connection_bytes = CONNECTION_MAX,
						     .socket = &socket };

	if (socket.fd < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot duplicate a socket: %m");
	(void)snprintf(target, sizeof(target), "%s:%u",
		       try->probe->grpc->ipv6 ? "[::1]" : "127.0.0.1", try->probe->grpc->port);
	return grpc_client_new(try->prober->event, &options, &try->grpc->client, err);
}

int probe_grpc_start(struct probe_try *try, struct err *err)
{
	Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	struct probe_grpc *grpc = calloc(1, sizeof(*grpc));
	int r;

	if (!grpc)
		return err_oom(err);
	try->grpc = grpc;
	grpc->try = try;
	r = make_client(try, err);
	if (r < 0)
		return r;
	r = sd_event_add_defer(try->prober->event, &grpc->ender, on_over, grpc);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot wait for an answer: %m");
	(void)sd_event_source_set_enabled(grpc->ender, SD_EVENT_OFF);
	request.service = try->probe->grpc->service;
	return grpc_client_start(grpc->client, "/grpc.health.v1.Health/Check", &request.base,
				 &grpc__health__v1__health_check_response__descriptor,
				 (uint64_t)try->probe->timeout_ms * 1000, &events, grpc, NULL, err);
}
