/*
 * A whole server fed with a peer's bytes over a socket pair: frames, headers, messages, handlers. The input
 * is sent after a valid preface (first byte even) or instead of it.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/grpc/connection.h"
#include "agent/grpc/health.h"
#include "agent/grpc/server_private.h"
#include "proto/cleanup.h"
#include "tests/interop/grpc/echo.h"

#define TURNS_MAX 200 /* of the loop: handlers with a delay are not waited for */

static const uint8_t hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

static void quiet(int priority, const char *text, void *user)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const struct grpc_server_options options = { .log = quiet };
	struct grpc_server *server = NULL;
	struct grpc_health *health = NULL;
	struct echo *echo = NULL;
	sd_event *event = NULL;
	uint8_t sink[65536];
	int fds[2];

	if (n < 1 || n > 60000)
		return 0;
	assert(sd_event_new(&event) >= 0);
	assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	assert(grpc_server_new(event, &options, &server, NULL) == 0);
	assert(echo_new(event, server, &echo, NULL) == 0);
	assert(grpc_health_new(server, &health, NULL) == 0);
	assert(connection_new(server, take_fd(&fds[0]), NULL, NULL) == 0);
	if (data[0] % 2 == 0)
		(void)send(fds[1], hello, sizeof(hello) - 1, MSG_NOSIGNAL);
	(void)send(fds[1], data + 1, n - 1, MSG_NOSIGNAL);
	for (int i = 0; i < TURNS_MAX && sd_event_run(event, 0) > 0; i++) {
		while (recv(fds[1], sink, sizeof(sink), 0) > 0)
			;
	}
	fd_close(&fds[1]);
	while (sd_event_run(event, 0) > 0)
		;
	grpc_server_free(server);
	grpc_health_free(health);
	echo_free(echo);
	sd_event_unref(event);
	return 0;
}
