#include "agent/grpc/health.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "grpc/health/v1/health.pb-c.h"
#include "proto/cleanup.h"

struct health_service {
	LIST_ENTRY(health_service) entry;
	Grpc__Health__V1__HealthCheckResponse__ServingStatus status;
	char name[];
};

struct health_watch {
	LIST_ENTRY(health_watch) entry;
	struct grpc_health *health;
	struct grpc_call *call;
	bool told;
	Grpc__Health__V1__HealthCheckResponse__ServingStatus last_status;
};

struct grpc_health {
	LIST_HEAD(, health_service) services;
	LIST_HEAD(, health_watch) watches;
};

static struct health_service *find(struct grpc_health *health, const char *name)
{
	struct health_service *service;

	LIST_FOREACH (service, &health->services, entry) {
		if (strcmp(service->name, name) == 0)
			return service;
	}
	return NULL;
}

static const char *asked_service(const struct grpc_call *call)
{
	return ((const Grpc__Health__V1__HealthCheckRequest *)grpc_call_request(call))->service;
}

static void handle_check(struct grpc_call *call, const ProtobufCMessage *request, void *user)
{
	Grpc__Health__V1__HealthCheckResponse response =
		GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
	const struct health_service *service = find(user, asked_service(call));

	if (!service) {
		grpc_call_failf(call, GRPC_NOT_FOUND, "this server has no service \"%.200s\"",
				asked_service(call));
		return;
	}
	response.status = service->status;
	(void)grpc_call_reply(call, &response.base);
}

/* --- watching --- */

static void watch_end(struct health_watch *watch)
{
	LIST_REMOVE(watch, entry);
	free(watch);
}

/* The latest status, not every one: a watcher that was slow sees what is so now. */
static void on_watch_writable(struct grpc_call *call, void *user)
{
	Grpc__Health__V1__HealthCheckResponse response =
		GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
	struct health_watch *watch = user;
	const struct health_service *service = find(watch->health, asked_service(call));

	response.status =
		service ? service->status
			: GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
	if (watch->told && watch->last_status == response.status)
		return;
	if (grpc_call_send(call, &response.base) < 0)
		return;
	watch->told = true;
	watch->last_status = response.status;
}

static void on_watch_cancel(struct grpc_call *call, enum grpc_cancel why, void *user)
{
	watch_end(user);
	grpc_call_fail(call, GRPC_CANCELLED, "cancelled", NULL);
}

static const struct grpc_call_events watch_events = { .on_writable = on_watch_writable,
						      .on_cancel = on_watch_cancel };

static void handle_watch(struct grpc_call *call, const ProtobufCMessage *request, void *user)
{
	struct grpc_health *health = user;
	struct health_watch *watch = calloc(1, sizeof(*watch));

	if (!watch) {
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "out of memory", NULL);
		return;
	}
	watch->health = health;
	watch->call = call;
	LIST_INSERT_HEAD(&health->watches, watch, entry);
	grpc_call_set_events(call, &watch_events, watch);
}

static const struct grpc_method methods[] = {
	{ .path = "/grpc.health.v1.Health/Check",
	  .kind = GRPC_UNARY,
	  .request = &grpc__health__v1__health_check_request__descriptor,
	  .response = &grpc__health__v1__health_check_response__descriptor,
	  .handler = handle_check },
	{ .path = "/grpc.health.v1.Health/Watch",
	  .kind = GRPC_SERVER_STREAM,
	  .request = &grpc__health__v1__health_check_request__descriptor,
	  .response = &grpc__health__v1__health_check_response__descriptor,
	  .handler = handle_watch,
	  .flags = GRPC_METHOD_ENDLESS },
};

int grpc_health_new(struct grpc_server *server, struct grpc_health **ret_health, struct err *err)
{
	struct grpc_health *health = calloc(1, sizeof(*health));
	int r;

	if (!health)
		return err_oom(err);
	r = grpc_server_add_methods(server, methods, ARRAY_SIZE(methods), health, err);
	if (r < 0) {
		free(health);
		return r;
	}
	*ret_health = health;
	return 0;
}

void grpc_health_free(struct grpc_health *health)
{
	if (!health)
		return;
	while (!LIST_EMPTY(&health->services)) {
		struct health_service *service = LIST_FIRST(&health->services);

		LIST_REMOVE(service, entry);
		free(service);
	}
	free(health); /* the server went first, and took the watches with it */
}

int grpc_health_set(struct grpc_health *health, const char *name, bool serving)
{
	struct health_service *service = find(health, name);
	struct health_watch *watch;

	if (!service) {
		service = calloc(1, sizeof(*service) + strlen(name) + 1);
		if (!service)
			return -ENOMEM;
		(void)stpcpy(service->name, name);
		LIST_INSERT_HEAD(&health->services, service, entry);
	}
	service->status =
		serving ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
			: GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
	LIST_FOREACH (watch, &health->watches, entry) {
		if (strcmp(asked_service(watch->call), name) == 0)
			grpc_call_wake(watch->call);
	}
	return 0;
}
