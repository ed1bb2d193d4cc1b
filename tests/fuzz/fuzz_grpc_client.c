/* What a server says to the client, from its first byte to its last: a workload that is asked for its
 * grpc.health.v1 is a server that nobody trusts. Whatever it is, the call ends. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "agent/grpc/client.h"
#include "grpc/health/v1/health.pb-c.h"

#define CONNECTION_MAX 65536

static sd_event *event;
static int listener;
static struct sockaddr_un address;
static socklen_t address_bytes = sizeof(address);

static void prepare(void)
{
	const struct sockaddr_un any = { .sun_family = AF_UNIX };

	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sd_event_new(&event) < 0 || listener < 0 ||
	    bind(listener, (const struct sockaddr *)&any, sizeof(any.sun_family)) < 0 ||
	    listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &address_bytes) < 0)
		abort();
}

static void on_end(struct grpc_client_call *call, const struct grpc_outcome *outcome, void *user)
{
	assert(outcome->message);
	*(bool *)user = true;
}

static const struct grpc_client_events events = { .on_end = on_end };

static struct grpc_client *connect_client(void)
{
	const struct grpc_client_socket given = {
		.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
		.address = (const struct sockaddr *)&address,
		.address_bytes = address_bytes,
	};
	const struct grpc_client_options options = { .target = "127.0.0.1:1",
						     .max_receive_bytes = 1024,
						     .max_decoded_bytes = 4096,
						     .max_connection_bytes = CONNECTION_MAX,
						     .socket = &given };
	struct grpc_client *client = NULL;

	if (grpc_client_new(event, &options, &client, NULL) < 0)
		abort();
	return client;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
	struct grpc_client *client;
	bool over = false;
	int peer;

	if (!event)
		prepare();
	if (size > CONNECTION_MAX)
		return 0;
	client = connect_client();
	if (grpc_client_start(client, "/grpc.health.v1.Health/Check", &request.base,
			      &grpc__health__v1__health_check_response__descriptor, 0, &events,
			      &over, NULL, NULL) < 0)
		abort();
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (peer < 0)
		abort();
	(void)send(peer, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)shutdown(peer, SHUT_WR);
	while (!over)
		if (sd_event_run(event, 5000000) <= 0)
			abort(); /* it waits for what does not come */
	(void)close(peer);
	grpc_client_free(client);
	return 0;
}
