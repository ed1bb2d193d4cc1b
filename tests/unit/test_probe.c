/* Asking over real sockets of loopback, and the head of an answer byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "agent/probe/http_head.h"
#include "agent/probe/output.h"
#include "agent/probe/prober.h"
#include "proto/cleanup.h"

/* ---- the head ------------------------------------------------------------------------------------- */

static int take_in_pieces(struct http_head *head, const char *text, size_t piece, struct err *err)
{
	size_t n = strlen(text);

	*head = (struct http_head){ 0 };
	for (size_t at = 0; at < n && !head->done; at += piece) {
		size_t length = n - at < piece ? n - at : piece;
		ssize_t taken = http_head_take(head, text + at, length, err);

		if (taken < 0)
			return (int)taken;
		assert_true(head->done || (size_t)taken == length);
	}
	return 0;
}

static void good_heads_are_taken_however_they_come(void **state)
{
	static const struct {
		const char *text;
		unsigned int status;
		const char *reason;
		int64_t length;
	} rows[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "OK", 5 },
		{ "HTTP/1.0 503 Service Unavailable\r\n\r\n", 503, "Service Unavailable", -1 },
		{ "HTTP/1.1 204\r\n\r\n", 204, "", -1 },
		{ "HTTP/1.1 404 \r\nX: \r\n\r\n", 404, "", -1 },
		{ "HTTP/1.1 200 OK\ncontent-LENGTH:\t7 \n\n", 200, "OK", 7 },
		{ "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 301 Moved\r\n\r\n",
		  301, "Moved", -1 },
		{ "HTTP/1.1 101 Switching\r\n\r\n", 101, "Switching", -1 },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 200, "OK",
		  5 },
	};
	struct http_head head;
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t piece = 1; piece < 100; piece++) {
			assert_int_equal(take_in_pieces(&head, rows[i].text, piece, &err), 0);
			assert_true(head.done);
			assert_int_equal(head.status, rows[i].status);
			assert_string_equal(head.reason, rows[i].reason);
			assert_int_equal(head.has_length ? (int64_t)head.length : -1,
					 rows[i].length);
		}
}

static void bad_heads_are_refused(void **state)
{
	static const struct {
		const char *text;
		const char *why;
	} rows[] = {
		{ "SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP" },
		{ "\x16\x03\x01", "does not speak HTTP" },
		{ "HTTP/2 200\r\n\r\n", "does not speak HTTP" },
		{ "\r\nHTTP/1.1 200 OK\r\n\r\n", "does not speak HTTP" },
		{ "HTTP/1.1 20 OK\r\n\r\n", "status line" },
		{ "HTTP/1.1 2000 OK\r\n\r\n", "status line" },
		{ "HTTP/1.1  200 OK\r\n\r\n", "status line" },
		{ "HTTP/1.x 200 OK\r\n\r\n", "status line" },
		{ "HTTP/1.1 600 OK\r\n\r\n", "100 to 599" },
		{ "HTTP/1.1 099 OK\r\n\r\n", "100 to 599" },
		{ "HTTP/1.1 200 OK\r\n: x\r\n\r\n", "no name" },
		{ "HTTP/1.1 200 OK\r\nA B: x\r\n\r\n", "no name" },
		{ "HTTP/1.1 200 OK\r\nnothing\r\n\r\n", "no name" },
		{ "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n", "no name" },
		{ "HTTP/1.1 200 O\x01K\r\n\r\n", "control" },
		{ "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", "control" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "Content-Length" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		  "Content-Length" },
		{ "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "Content-Length" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "two" },
	};
	struct http_head head;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (size_t piece = 1; piece < 60; piece += 29) {
			struct err err = { 0 };

			if (take_in_pieces(&head, rows[i].text, piece, &err) == 0)
				fail_msg("taken: %s", rows[i].text);
			if (!strstr(err.text, rows[i].why))
				fail_msg("\"%s\" is refused with %s", rows[i].text, err.text);
		}
}

static void a_head_without_an_end_is_given_up(void **state)
{
	struct http_head head = { 0 };
	struct err err = { 0 };
	char text[HTTP_HEAD_MAX + 1];

	memset(text, 'x', sizeof(text));
	memcpy(text, "HTTP/1.1 200 ", 13);
	assert_int_equal(http_head_take(&head, text, HTTP_HEAD_MAX, &err), HTTP_HEAD_MAX);
	assert_true(http_head_take(&head, text, 1, &err) < 0);
	assert_non_null(strstr(err.text, "8 KiB"));
}

static void interim_heads_are_not_without_an_end_either(void **state)
{
	static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct http_head head = { 0 };
	struct err err = { 0 };
	size_t taken = 0;

	while (http_head_take(&head, interim, sizeof(interim) - 1, &err) > 0)
		taken += sizeof(interim) - 1;
	assert_true(taken <= HTTP_HEAD_MAX);
	assert_int_equal(err.kind, ERR_INVALID);
}

/* ---- a server, as it is told ---------------------------------------------------------------------- */

struct server {
	sd_event *event;
	int fd;
	uint16_t port;
	const char *answer; /* NULL: none */
	size_t n_answer;
	bool endless; /* again and again */
	bool stays;   /* leaves the connection open */
	int client;
	char request[4096];
	size_t n_request;
	sd_event_source *listener, *reader;
	unsigned int connections;
};

struct asked {
	bool over;
	struct probe_result result;
	int fd;
};

static int on_request(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct server *server = userdata;
	ssize_t n = 0;

	if (revents & EPOLLIN)
		n = read(fd, server->request + server->n_request,
			 sizeof(server->request) - 1 - server->n_request);
	if (n > 0)
		server->n_request += (size_t)n;
	server->request[server->n_request] = '\0';
	if (!strstr(server->request, "\r\n\r\n"))
		return 0;
	if (server->answer)
		(void)send(fd, server->answer, server->n_answer, MSG_NOSIGNAL);
	if (server->endless)
		return 0; /* EPOLLOUT comes again */
	(void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
	if (!server->stays)
		fd_close(&server->client);
	return 0;
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct server *server = userdata;

	server->connections++;
	sd_event_source_disable_unref(server->reader);
	fd_close(&server->client);
	server->n_request = 0;
	server->client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(server->client >= 0);
	return sd_event_add_io(server->event, &server->reader, server->client,
			       EPOLLIN | (server->endless ? EPOLLOUT : 0), on_request, server) < 0;
}

static int open_server(void **state)
{
	struct server *server = calloc(1, sizeof(*server));
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(address);

	server->client = -1;
	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(server->fd, (struct sockaddr *)&address, n), 0);
	assert_int_equal(listen(server->fd, 16), 0);
	assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &n), 0);
	server->port = ntohs(address.sin_port);
	assert_true(sd_event_new(&server->event) >= 0);
	assert_true(sd_event_add_io(server->event, &server->listener, server->fd, EPOLLIN,
				    on_client, server) >= 0);
	*state = server;
	return 0;
}

static int close_server(void **state)
{
	struct server *server = *state;

	sd_event_source_disable_unref(server->reader);
	sd_event_source_disable_unref(server->listener);
	fd_close(&server->client);
	fd_close(&server->fd);
	sd_event_unref(server->event);
	free(server);
	return 0;
}

static void serve(struct server *server, const char *answer)
{
	server->answer = answer;
	server->n_answer = answer ? strlen(answer) : 0;
}

static void on_done(void *userdata, struct probe_result *result)
{
	struct asked *asked = userdata;

	assert_false(asked->over);
	asked->over = true;
	asked->fd = take_fd(&result->fd);
	asked->result = *result;
}

static void on_timeout_check(sd_event *event)
{
	assert_int_equal(sd_event_run(event, 10000000), 1); /* something happens in ten seconds */
}

/* Over @fd, or a new socket where that is -1. */
static void ask_over(struct server *server, const Berth__V1__Probe *probe, int fd,
		     struct asked *asked)
{
	struct prober *prober = NULL;
	struct probe_try *try = NULL;
	struct err err = { 0 };

	*asked = (struct asked){ .fd = -1 };
	if (fd < 0)
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(prober_new(server->event, &prober, &err), 0);
	assert_int_equal(prober->ops->begin(prober, probe, fd, on_done, asked, &try, &err), 0);
	while (!asked->over)
		on_timeout_check(server->event);
	prober_free(prober);
}

/* The same until the server has its request; then the time is over. */
static void ask_in_vain(struct server *server, const Berth__V1__Probe *probe,
			struct probe_result *ret)
{
	struct asked asked = { .fd = -1 };
	struct prober *prober = NULL;
	struct probe_try *try = NULL;
	struct err err = { 0 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(prober_new(server->event, &prober, &err), 0);
	assert_int_equal(prober->ops->begin(prober, probe, fd, on_done, &asked, &try, &err), 0);
	while (!strstr(server->request, "\r\n\r\n"))
		on_timeout_check(server->event);
	while (sd_event_run(server->event, 20000) > 0) /* what is on its way arrives */
		;
	assert_false(asked.over);
	prober->ops->cancel(prober, try, ret);
	assert_int_equal(ret->fd, -1);
	prober_free(prober);
}

static Berth__V1__Probe *http_probe(const struct server *server)
{
	static Berth__V1__Probe probe;
	static Berth__V1__HttpProbe http;

	berth__v1__probe__init(&probe);
	berth__v1__http_probe__init(&http);
	probe.action_case = BERTH__V1__PROBE__ACTION_HTTP;
	probe.http = &http;
	http.port = server->port;
	http.path = (char *)"/healthz?x=1";
	http.status_first = 200;
	http.status_last = 399;
	return &probe;
}

static void a_good_answer_is_a_success(void **state)
{
	struct server *server = *state;
	Berth__V1__Probe *probe = http_probe(server);
	Berth__V1__HttpHeader header = BERTH__V1__HTTP_HEADER__INIT;
	Berth__V1__HttpHeader *headers[] = { &header };
	struct asked asked;

	header.name = (char *)"host";
	header.value = (char *)"example.test";
	probe->http->headers = headers;
	probe->http->n_headers = 1;
	serve(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
	ask_over(server, probe, -1, &asked);
	assert_true(asked.result.success);
	assert_string_equal(asked.result.text, "");
	assert_non_null(strstr(server->request, "GET /healthz?x=1 HTTP/1.1\r\n"));
	assert_non_null(strstr(server->request, "\r\nhost: example.test\r\n"));
	assert_null(strstr(server->request, "Host: 127"));
	assert_non_null(strstr(server->request, "\r\nUser-Agent: berth-probe\r\n"));
	assert_non_null(strstr(server->request, "\r\nConnection: close\r\n\r\n"));
	fd_close(&asked.fd);
}

static void a_socket_serves_again_and_again(void **state)
{
	struct server *server = *state;
	struct asked asked = { .fd = -1 };

	serve(server, "HTTP/1.1 200 OK\r\n\r\nok");
	for (int i = 0; i < 50; i++) {
		int fd = asked.fd;

		ask_over(server, http_probe(server), fd, &asked);
		assert_true(asked.result.success);
		assert_true(asked.fd >= 0);
		assert_true(fd < 0 || asked.fd == fd);
	}
	assert_int_equal(server->connections, 50);
	fd_close(&asked.fd);
}

static void a_bad_status_is_told_with_what_was_said(void **state)
{
	struct server *server = *state;
	struct asked asked;
	char want[128];

	serve(server, "HTTP/1.1 503 Service Unavailable\r\n\r\nno \x1b]0;database\x07");
	ask_over(server, http_probe(server), -1, &asked);
	assert_false(asked.result.success);
	assert_int_equal(asked.fd, -1);
	(void)snprintf(
		want, sizeof(want),
		"GET 127.0.0.1:%u/healthz?x=1: answered 503 Service Unavailable: no ?]0;database?",
		server->port);
	assert_string_equal(asked.result.text, want);
}

static void the_range_of_statuses_can_be_chosen(void **state)
{
	struct server *server = *state;
	Berth__V1__Probe *probe = http_probe(server);
	struct asked asked;

	serve(server, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
	ask_over(server, probe, -1, &asked);
	assert_false(asked.result.success);
	probe->http->status_last = 401;
	probe->http->status_first = 401;
	ask_over(server, probe, -1, &asked);
	assert_true(asked.result.success);
	fd_close(&asked.fd);
}

static void expect_failure(struct server *server, const char *answer, const char *why)
{
	struct asked asked;

	serve(server, answer);
	ask_over(server, http_probe(server), -1, &asked);
	assert_false(asked.result.success);
	if (!strstr(asked.result.text, why))
		fail_msg("%s", asked.result.text);
}

static void hostile_answers_fail(void **state)
{
	struct server *server = *state;

	expect_failure(server, "", "without an answer");
	expect_failure(server, "HTTP/1.1 200 OK\r\nX: y\r\n", "ends in its head");
	expect_failure(server, "220 mail ESMTP\r\n", "does not speak HTTP");
	expect_failure(server, "HTTP/1.1 200 OK\r\n\x01\r\n\r\n", "control");
}

static void an_answer_that_never_ends_is_ended(void **state)
{
	struct server *server = *state;
	struct asked asked;

	server->endless = true;
	serve(server, "HTTP/1.1 200 OK\r\nX-Very-Long: yes\r\n");
	ask_over(server, http_probe(server), -1, &asked); /* the same line, without an end */
	assert_false(asked.result.success);
	assert_non_null(strstr(asked.result.text, "no name")); /* the second status line */
	serve(server, "HTTP/1.1 200 OK\r\n\r\nand a body without an end");
	ask_over(server, http_probe(server), -1, &asked);
	assert_true(asked.result.success);
	fd_close(&asked.fd);
}

static void what_it_waited_for_is_told(void **state)
{
	struct server *server = *state;
	struct probe_result result;

	server->stays = true;
	serve(server, NULL);
	ask_in_vain(server, http_probe(server), &result);
	assert_false(result.success);
	assert_non_null(strstr(result.text, ": no answer in time"));
	server->request[0] = '\0';
	serve(server, "HTTP/1.1 200 OK\r\n");
	ask_in_vain(server, http_probe(server), &result);
	assert_non_null(strstr(result.text, ": no whole answer in time"));
	server->request[0] = '\0';
	serve(server, "HTTP/1.1 500 Oh\r\n\r\n");
	ask_in_vain(server, http_probe(server), &result);
	assert_non_null(strstr(result.text, ": answered 500 Oh"));
	/* It said what was to be said. Only that it does not close, as it was asked to. */
	server->request[0] = '\0';
	serve(server, "HTTP/1.1 200 OK\r\n\r\n");
	ask_in_vain(server, http_probe(server), &result);
	assert_true(result.success);
}

static void a_connection_is_enough_for_tcp(void **state)
{
	struct server *server = *state;
	Berth__V1__Probe probe = BERTH__V1__PROBE__INIT;
	Berth__V1__TcpProbe tcp = BERTH__V1__TCP_PROBE__INIT;
	struct asked asked = { .fd = -1 };

	probe.action_case = BERTH__V1__PROBE__ACTION_TCP;
	probe.tcp = &tcp;
	tcp.port = server->port;
	for (int i = 0; i < 10; i++) {
		ask_over(server, &probe, asked.fd, &asked);
		assert_true(asked.result.success);
	}
	sd_event_source_disable_unref(server->listener);
	server->listener = NULL;
	fd_close(&server->fd);
	ask_over(server, &probe, asked.fd, &asked);
	assert_false(asked.result.success);
	assert_non_null(strstr(asked.result.text, "cannot connect: Connection refused"));
	fd_close(&asked.fd);
}

static void a_socket_that_is_connected_to_itself_is_no_server(void **state)
{
	struct server *server = *state;
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(address);
	Berth__V1__Probe probe = BERTH__V1__PROBE__INIT;
	Berth__V1__TcpProbe tcp = BERTH__V1__TCP_PROBE__INIT;
	struct asked asked;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* What the kernel may choose by itself, chosen. */
	assert_int_equal(bind(fd, (struct sockaddr *)&address, n), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	probe.action_case = BERTH__V1__PROBE__ACTION_TCP;
	probe.tcp = &tcp;
	tcp.port = ntohs(address.sin_port);
	ask_over(server, &probe, fd, &asked);
	assert_false(asked.result.success);
}

static void a_server_that_is_no_grpc_server_fails_grpc(void **state)
{
	struct server *server = *state;
	Berth__V1__Probe probe = BERTH__V1__PROBE__INIT;
	Berth__V1__GrpcProbe grpc = BERTH__V1__GRPC_PROBE__INIT;
	struct asked asked;

	probe.action_case = BERTH__V1__PROBE__ACTION_GRPC;
	probe.grpc = &grpc;
	probe.timeout_ms = 5000;
	grpc.port = server->port;
	grpc.service = (char *)"x";
	serve(server, "HTTP/1.1 400 Bad Request\r\n\r\n");
	ask_over(server, &probe, -1, &asked);
	assert_false(asked.result.success);
	assert_non_null(strstr(asked.result.text, "gRPC health of \"x\" at 127.0.0.1:"));
	assert_non_null(strstr(asked.result.text, "UNAVAILABLE"));
	server->endless = true; /* settings, for ever */
	server->answer = "\0\0\0\4\0\0\0\0\0";
	server->n_answer = 9;
	ask_over(server, &probe, -1, &asked);
	assert_false(asked.result.success);
	sd_event_source_disable_unref(server->listener);
	server->listener = NULL;
	fd_close(&server->fd);
	ask_over(server, &probe, -1, &asked);
	assert_false(asked.result.success);
	assert_non_null(strstr(asked.result.text, "Connection refused"));
}

/* ---- output --------------------------------------------------------------------------------------- */

static void the_end_of_the_output_is_kept(void **state)
{
	uint8_t tail[PROBE_OUTPUT_MAX];
	char text[3000];
	int out[2], error[2], fds[2];

	assert_int_equal(pipe2(out, O_NONBLOCK), 0);
	assert_int_equal(pipe2(error, O_NONBLOCK), 0);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	assert_int_equal(write(out[1], text, sizeof(text)), sizeof(text));
	assert_int_equal(write(error[1], "end", 3), 3);
	fds[0] = out[0];
	fds[1] = error[0];
	assert_int_equal(probe_output_end(probe_output_new(NULL, fds, 2), tail), PROBE_OUTPUT_MAX);
	assert_memory_equal(tail + PROBE_OUTPUT_MAX - 3, "end", 3);
	assert_memory_equal(tail, text + sizeof(text) - (PROBE_OUTPUT_MAX - 3),
			    PROBE_OUTPUT_MAX - 3);
	assert_int_equal(fds[0], -1);
	(void)close(out[1]);
	(void)close(error[1]);
	assert_int_equal(probe_output_end(NULL, tail), 0);
}

static void who_writes_without_end_is_not_listened_to(void **state)
{
	static char text[65536];
	struct probe_output *output;
	uint8_t tail[PROBE_OUTPUT_MAX];
	sd_event *event = NULL;
	size_t written = 0;
	int out[2];

	assert_true(sd_event_new(&event) >= 0);
	assert_int_equal(pipe2(out, O_NONBLOCK), 0);
	output = probe_output_new(event, out, 1);
	for (;;) {
		ssize_t n = write(out[1], text, sizeof(text));

		if (n < 0 && errno == EPIPE)
			break;
		written += n > 0 ? (size_t)n : 0;
		assert_true(written < 4U << 20);
		(void)sd_event_run(event, 0);
	}
	(void)probe_output_end(output, tail);
	(void)close(out[1]);
	sd_event_unref(event);
}

int main(void)
{
#define SERVED(name) cmocka_unit_test_setup_teardown(name, open_server, close_server)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_heads_are_taken_however_they_come),
		cmocka_unit_test(bad_heads_are_refused),
		cmocka_unit_test(a_head_without_an_end_is_given_up),
		cmocka_unit_test(interim_heads_are_not_without_an_end_either),
		SERVED(a_good_answer_is_a_success),
		SERVED(a_socket_serves_again_and_again),
		SERVED(a_bad_status_is_told_with_what_was_said),
		SERVED(the_range_of_statuses_can_be_chosen),
		SERVED(hostile_answers_fail),
		SERVED(an_answer_that_never_ends_is_ended),
		SERVED(what_it_waited_for_is_told),
		SERVED(a_connection_is_enough_for_tcp),
		SERVED(a_socket_that_is_connected_to_itself_is_no_server),
		SERVED(a_server_that_is_no_grpc_server_fails_grpc),
		cmocka_unit_test(the_end_of_the_output_is_kept),
		cmocka_unit_test(who_writes_without_end_is_not_listened_to),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
