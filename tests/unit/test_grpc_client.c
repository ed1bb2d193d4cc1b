/*
 * Our client against servers by hand, where the order of what happens matters: the client connects within
 * grpc_client_start(), and does nothing more until the loop runs. tests/interop/grpc has the rest.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/grpc/client.h"
#include "echo.pb-c.h"
#include "proto/cleanup.h"

#define SEC  1000000ULL
#define PATH "/berth.test.v1.Echo/Echo"

struct fixture {
	char directory[64];
	struct sockaddr_un address;
	int listen_fd;
	sd_event *event;
	struct grpc_client *client;
	bool ended;
	enum grpc_code code;
	char text[512];
};

static void on_end(struct grpc_client_call *call, const struct grpc_outcome *outcome, void *user)
{
	struct fixture *f = user;

	assert_false(f->ended);
	f->ended = true;
	f->code = outcome->code;
	(void)snprintf(f->text, sizeof(f->text), "%s", outcome->message);
}

static const struct grpc_client_events events = { .on_end = on_end };

static int begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct grpc_client_options options = { 0 };
	char target[128];
	struct err err = { 0 };

	assert_non_null(f);
	(void)strcpy(f->directory, "/tmp/grpc-client-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	f->address.sun_family = AF_UNIX;
	(void)snprintf(f->address.sun_path, sizeof(f->address.sun_path), "%s/s", f->directory);
	(void)snprintf(target, sizeof(target), "unix://%s", f->address.sun_path);
	f->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(f->listen_fd, (struct sockaddr *)&f->address, sizeof(f->address)), 0);
	assert_int_equal(listen(f->listen_fd, 8), 0);
	assert_int_equal(sd_event_new(&f->event), 0);
	options.target = target;
	assert_int_equal(grpc_client_new(f->event, &options, &f->client, &err), 0);
	*state = f;
	return 0;
}

static int finish(void **state)
{
	struct fixture *f = *state;

	grpc_client_free(f->client);
	sd_event_unref(f->event);
	fd_close(&f->listen_fd);
	(void)unlink(f->address.sun_path);
	(void)rmdir(f->directory);
	free(f);
	return 0;
}

/* A call that has connected, and not said anything yet: the server's side of the connection. */
static int start_call(struct fixture *f)
{
	Berth__Test__V1__EchoRequest request = BERTH__TEST__V1__ECHO_REQUEST__INIT;
	struct err err = { 0 };
	int fd;

	assert_int_equal(grpc_client_start(f->client, PATH, &request.base,
					   &berth__test__v1__echo_response__descriptor, 20 * SEC,
					   &events, f, NULL, &err),
			 0);
	fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void say(int fd, const char *bytes, size_t n)
{
	assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
}

static void run_to_end(struct fixture *f)
{
	while (!f->ended)
		assert_true(sd_event_run(f->event, 5 * SEC) > 0);
}

static void nobody_else_has_connected(struct fixture *f)
{
	assert_int_equal(accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC), -1);
	assert_int_equal(errno, EAGAIN);
}

static void a_server_that_speaks_first_and_no_http2_ends_the_call(void **state)
{
	static const char banner[] = "SSH-2.0-OpenSSH_9.2\r\n";
	struct fixture *f = *state;
	cleanup_fd int server_fd = start_call(f);

	say(server_fd, banner, sizeof(banner) - 1);
	run_to_end(f);
	assert_int_equal(f->code, GRPC_UNAVAILABLE);
	assert_non_null(strstr(f->text, f->address.sun_path));
	assert_non_null(
		strstr(f->text, "the server broke HTTP/2: PROTOCOL_ERROR, SETTINGS expected"));
	nobody_else_has_connected(f);
}

/* SETTINGS, then GOAWAY that has seen no stream. */
static const char goes_away[] = "\0\0\0\4\0\0\0\0\0"
				"\0\0\10\7\0\0\0\0\0\0\0\0\0\0\0\0\0";

static void a_call_that_a_server_on_its_way_out_did_not_see_is_made_once_more(void **state)
{
	struct fixture *f = *state;
	cleanup_fd int first_fd = start_call(f);
	cleanup_fd int second_fd = -1;

	say(first_fd, goes_away, sizeof(goes_away) - 1);
	while (second_fd < 0) {
		assert_true(sd_event_run(f->event, 5 * SEC) > 0);
		assert_false(f->ended);
		second_fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	}
	say(second_fd, goes_away, sizeof(goes_away) - 1);
	run_to_end(f);
	assert_int_equal(f->code, GRPC_UNAVAILABLE);
	nobody_else_has_connected(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_server_that_speaks_first_and_no_http2_ends_the_call, begin, finish),
		cmocka_unit_test_setup_teardown(
			a_call_that_a_server_on_its_way_out_did_not_see_is_made_once_more, begin,
			finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
