/* The client of berth-sandboxd over a real socket, whose other end is the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/sandboxlink/calls.h"
#include "agent/sandboxlink/sandboxlink.h"
#include "proto/cleanup.h"
#include "proto/packet.h"

struct stage {
	sd_event *event;
	struct sandboxlink *link;
	struct sandboxlink_listener listener;
	char dir[32];
	char path[64];
	int listen_fd;
	int fd;
	int ups;
	int downs;
	int facts;
	int answers;
	int fact_fds;
	struct err last;
	char refuses_starts[256]; /* as the last Hello had it */
	bool broken;              /* the last answer had no message */
};

static void on_up(void *userdata, const Berth__Sandbox__V1__HelloResult *hello)
{
	struct stage *stage = userdata;

	stage->ups++;
	(void)snprintf(stage->refuses_starts, sizeof(stage->refuses_starts), "%s",
		       hello->refuses_starts);
}

static void on_down(void *userdata, const struct err *err)
{
	struct stage *stage = userdata;

	stage->downs++;
	stage->last = *err;
}

static void on_fact(void *userdata, const Berth__Sandbox__V1__Fact *fact, int *fds, size_t n_fds)
{
	struct stage *stage = userdata;

	stage->facts++;
	stage->fact_fds = (int)n_fds;
	for (size_t i = 0; i < n_fds; i++)
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
}

static void on_answer(void *userdata, const struct sandboxlink_call *call,
		      struct sandboxlink_reply *reply)
{
	struct stage *stage = userdata;

	stage->answers++;
	stage->last = *reply->err;
	stage->broken = !reply->message;
}

static void listen_on(struct stage *stage)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)unlink(stage->path);
	strcpy(address.sun_path, stage->path);
	stage->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(stage->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(stage->listen_fd, 4), 0);
}

static int setup(void **state)
{
	struct stage *stage = calloc(1, sizeof(*stage));
	struct sandboxlink_socket_config config = { .version = "test",
						    .retry_initial_ms = 1,
						    .retry_max_ms = 2 };
	struct err err = { 0 };

	strcpy(stage->dir, "/tmp/link.XXXXXX");
	assert_non_null(mkdtemp(stage->dir));
	(void)snprintf(stage->path, sizeof(stage->path), "%s/s", stage->dir);
	stage->fd = -1;
	stage->listen_fd = -1;
	assert_true(sd_event_new(&stage->event) >= 0);
	config.path = stage->path;
	assert_int_equal(sandboxlink_socket_new(stage->event, &config, &stage->link, &err), 0);
	stage->listener = (struct sandboxlink_listener){
		.up = on_up, .down = on_down, .fact = on_fact, .userdata = stage
	};
	stage->link->listener = &stage->listener;
	*state = stage;
	return 0;
}

static int teardown(void **state)
{
	struct stage *stage = *state;

	sandboxlink_free(stage->link);
	fd_close(&stage->fd);
	fd_close(&stage->listen_fd);
	(void)unlink(stage->path);
	(void)rmdir(stage->dir);
	sd_event_unref(stage->event);
	free(stage);
	return 0;
}

static void turn(struct stage *stage)
{
	assert_true(sd_event_run(stage->event, 1000000) >= 0);
}

static void reply(struct stage *stage, Berth__Sandbox__V1__Reply *message)
{
	Berth__Sandbox__V1__ToAgent to = BERTH__SANDBOX__V1__TO_AGENT__INIT;
	struct err err = { 0 };

	to.message_case = BERTH__SANDBOX__V1__TO_AGENT__MESSAGE_REPLY;
	to.reply = message;
	assert_int_equal(packet_send(stage->fd, NULL, &to.base, NULL, 0, &err), 0);
}

/* The next request; the loop runs until it is there. */
static Berth__Sandbox__V1__Request *receive(struct stage *stage)
{
	static uint8_t buffer[PACKET_BYTES_MAX];
	Berth__Sandbox__V1__Request *request;
	ssize_t n;

	while ((n = recv(stage->fd, buffer, sizeof(buffer), MSG_DONTWAIT)) < 0 && errno == EAGAIN)
		turn(stage);
	assert_true(n > 0);
	request = berth__sandbox__v1__request__unpack(NULL, (size_t)n, buffer);
	assert_non_null(request);
	return request;
}

static void accept_and_greet_as(struct stage *stage, uint32_t protocol)
{
	Berth__Sandbox__V1__Reply message = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__HelloResult hello = BERTH__SANDBOX__V1__HELLO_RESULT__INIT;
	Berth__Sandbox__V1__Request *request;
	int ups = stage->ups;

	if (stage->listen_fd < 0)
		listen_on(stage);
	(void)fcntl(stage->listen_fd, F_SETFL, O_NONBLOCK);
	while ((stage->fd = accept4(stage->listen_fd, NULL, NULL, SOCK_CLOEXEC)) < 0)
		turn(stage);
	request = receive(stage);
	assert_int_equal(request->verb_case, BERTH__SANDBOX__V1__REQUEST__VERB_HELLO);
	hello.protocol = protocol;
	hello.version = (char *)"9.9";
	message.id = request->id;
	message.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_HELLO;
	message.hello = &hello;
	reply(stage, &message);
	berth__sandbox__v1__request__free_unpacked(request, NULL);
	while (stage->ups == ups)
		turn(stage);
}

static void accept_and_greet(struct stage *stage)
{
	accept_and_greet_as(stage, SANDBOXLINK_PROTOCOL);
}

static int ask(struct stage *stage)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Inventory inventory = BERTH__SANDBOX__V1__INVENTORY__INIT;
	const struct sandboxlink_call call = { .done = on_answer, .userdata = stage };

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_INVENTORY;
	request.inventory = &inventory;
	return sandboxlink_send(stage->link, &request, &call, &stage->last);
}

static void it_connects_when_the_daemon_comes_and_says_it_is_away_once(void **state)
{
	struct stage *stage = *state;

	assert_true(ask(stage) < 0);
	assert_int_equal(stage->last.kind, ERR_UNAVAILABLE);
	while (stage->downs == 0)
		turn(stage);
	for (int i = 0; i < 5; i++)
		turn(stage);
	assert_int_equal(stage->downs, 1);
	accept_and_greet(stage);
	assert_int_equal(stage->ups, 1);
}

static void replies_find_their_call_in_any_order(void **state)
{
	struct stage *stage = *state;
	Berth__Sandbox__V1__Reply message = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__Failure failure = BERTH__SANDBOX__V1__FAILURE__INIT;
	Berth__Sandbox__V1__Request *first;
	Berth__Sandbox__V1__Request *second;

	accept_and_greet(stage);
	assert_int_equal(ask(stage), 0);
	assert_int_equal(ask(stage), 0);
	first = receive(stage);
	second = receive(stage);
	assert_true(first->id != second->id);
	message.id = second->id;
	message.failure = &failure;
	failure.kind = ERR_EXISTS;
	failure.errnum = EEXIST;
	failure.text = (char *)"taken";
	reply(stage, &message);
	while (stage->answers == 0)
		turn(stage);
	assert_int_equal(stage->last.kind, ERR_EXISTS);
	assert_string_equal(stage->last.text, "taken");
	message.id = first->id;
	message.failure = NULL;
	reply(stage, &message);
	while (stage->answers == 1)
		turn(stage);
	assert_int_equal(stage->last.kind, ERR_NONE);
	berth__sandbox__v1__request__free_unpacked(first, NULL);
	berth__sandbox__v1__request__free_unpacked(second, NULL);
}

static void a_broken_connection_answers_every_call_and_comes_back(void **state)
{
	struct stage *stage = *state;

	accept_and_greet(stage);
	assert_int_equal(ask(stage), 0);
	assert_int_equal(ask(stage), 0);
	fd_close(&stage->fd);
	while (stage->downs == 0)
		turn(stage);
	assert_int_equal(stage->answers, 2);
	assert_true(stage->broken);
	assert_int_equal(stage->last.kind, ERR_UNAVAILABLE);
	accept_and_greet(stage);
	assert_int_equal(stage->ups, 2);
	assert_int_equal(ask(stage), 0);
}

static void an_answer_that_nobody_asked_for_ends_the_connection(void **state)
{
	struct stage *stage = *state;
	Berth__Sandbox__V1__Reply message = BERTH__SANDBOX__V1__REPLY__INIT;

	accept_and_greet(stage);
	message.id = 12345;
	reply(stage, &message);
	while (stage->downs == 0)
		turn(stage);
	assert_non_null(strstr(stage->last.text, "12345"));
}

static void garbage_ends_the_connection(void **state)
{
	struct stage *stage = *state;

	accept_and_greet(stage);
	assert_int_equal(send(stage->fd, "\xff\xff\xff", 3, 0), 3);
	while (stage->downs == 0)
		turn(stage);
	assert_int_equal(stage->facts, 0);
}

static void facts_bring_their_descriptors(void **state)
{
	struct stage *stage = *state;
	Berth__Sandbox__V1__ToAgent to = BERTH__SANDBOX__V1__TO_AGENT__INIT;
	Berth__Sandbox__V1__Fact fact = BERTH__SANDBOX__V1__FACT__INIT;
	Berth__Sandbox__V1__Started started = BERTH__SANDBOX__V1__STARTED__INIT;
	int fds[2] = { 0, 1 };
	struct err err = { 0 };

	accept_and_greet(stage);
	to.message_case = BERTH__SANDBOX__V1__TO_AGENT__MESSAGE_FACT;
	to.fact = &fact;
	fact.fact_case = BERTH__SANDBOX__V1__FACT__FACT_STARTED;
	fact.started = &started;
	assert_int_equal(packet_send(stage->fd, NULL, &to.base, fds, 2, &err), 0);
	while (stage->facts == 0)
		turn(stage);
	assert_int_equal(stage->fact_fds, 2);
}

static void an_id_is_never_used_twice_and_the_table_has_an_end(void **state)
{
	struct call_table table = { 0 };
	struct sandboxlink_call call;
	struct err err = { 0 };
	uint64_t first;
	uint64_t id;

	assert_int_equal(call_table_add(&table, NULL, &first, &err), 0);
	assert_true(call_table_take(&table, first, &call));
	assert_false(call_table_take(&table, first, &call));
	assert_int_equal(call_table_add(&table, NULL, &id, &err), 0);
	assert_true(id != first);
	for (int i = 1; i < SANDBOXLINK_OUTSTANDING_MAX; i++)
		assert_int_equal(call_table_add(&table, NULL, &id, &err), 0);
	assert_true(call_table_add(&table, NULL, &id, &err) < 0);
	assert_int_equal(err.kind, ERR_EXHAUSTED);
	call_table_done(&table);
}

/* It is up all the same, older or newer: only nothing new is to be begun. */
static void another_protocol_is_spoken_with_and_said(void **state)
{
	struct stage *stage = *state;

	accept_and_greet_as(stage, SANDBOXLINK_PROTOCOL + 1);
	assert_non_null(strstr(stage->refuses_starts, "berth-sandboxd 9.9 speaks 2"));
	assert_int_equal(ask(stage), 0);
	fd_close(&stage->fd);
	accept_and_greet(stage);
	assert_string_equal(stage->refuses_starts, "");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(it_connects_when_the_daemon_comes_and_says_it_is_away_once),
		T(replies_find_their_call_in_any_order),
		T(a_broken_connection_answers_every_call_and_comes_back),
		T(an_answer_that_nobody_asked_for_ends_the_connection),
		T(garbage_ends_the_connection),
		T(facts_bring_their_descriptors),
		T(another_protocol_is_spoken_with_and_said),
		cmocka_unit_test(an_id_is_never_used_twice_and_the_table_has_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
