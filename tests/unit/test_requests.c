/* The verb table without a host below it: what is refused before anything would be touched. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "berth/sandbox/v1/sandbox.pb-c.h"
#include "sandbox/agent_link.h"
#include "sandbox/requests.h"
#include "sandbox/sandboxd.h"

static struct sandboxd host;
static bool ready;
static struct err answer; /* of the last request; ERR_NONE: done */
static int answers;

void __wrap_agent_link_reply(struct agent_link *link, struct asker asker,
			     Berth__Sandbox__V1__Reply *reply, const int *fds, size_t n_fds)
{
	answer = (struct err){ 0 };
	answers++;
}

void __wrap_agent_link_reply_failure(struct agent_link *link, struct asker asker,
				     const struct err *err)
{
	answer = *err;
	answers++;
}

bool __wrap_agent_link_is_ready(const struct agent_link *link)
{
	return ready;
}

static int set_up(void **state)
{
	struct workload *workload;

	host = (struct sandboxd){ .run_fd = -1, .log_fd = -1 };
	assert_int_equal(policy_load_text("", &host.policy, NULL), 0);
	ready = true;
	answers = 0;
	workload = registry_add(&host.registry, "w-1", 5);
	assert_non_null(workload);
	workload->host = &host;
	assert_non_null(container_new(&host, workload, "main", 2));
	return 0;
}

static int tear_down(void **state)
{
	registry_clear(&host.registry);
	policy_done(&host.policy);
	return 0;
}

/* With @n_fds descriptors beside it, which are nobody's in the end. */
static int handle(const uint8_t *bytes, size_t length, size_t n_fds, struct err *err)
{
	cleanup_packet struct packet packet = { .bytes = bytes, .length = length, .n_fds = n_fds };

	for (size_t i = 0; i < n_fds; i++)
		packet.fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return requests_handle(1, &packet, &host, err);
}

static enum err_kind ask(const Berth__Sandbox__V1__Request *request)
{
	uint8_t bytes[4096];
	size_t length = berth__sandbox__v1__request__get_packed_size(request);
	struct err err = { 0 };
	int before = answers;

	assert_true(length <= sizeof(bytes));
	(void)berth__sandbox__v1__request__pack(request, bytes);
	assert_int_equal(handle(bytes, length, 0, &err), 0);
	assert_int_equal(answers, before + 1);
	return answer.kind;
}

static enum err_kind signal_it(const char *workload, uint64_t instance, const char *container,
			       uint32_t attempt)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Signal signal = BERTH__SANDBOX__V1__SIGNAL__INIT;
	Berth__Sandbox__V1__ContainerRef ref = BERTH__SANDBOX__V1__CONTAINER_REF__INIT;

	ref.workload = (char *)workload;
	ref.instance = instance;
	ref.container = (char *)container;
	ref.attempt = attempt;
	signal.ref = &ref;
	signal.signal = 15;
	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_SIGNAL;
	request.signal = &signal;
	return ask(&request);
}

static void garbage_ends_the_connection(void **state)
{
	static const uint8_t garbage[] = { 0xff, 0xff, 0xff, 0xff, 0x01 };
	static const uint8_t no_verb[] = { 0x08, 0x07 };
	struct err err = { 0 };

	assert_true(handle(garbage, sizeof(garbage), 0, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_true(handle(no_verb, sizeof(no_verb), 0, &err) < 0);
	assert_int_equal(answers, 0);
}

static void descriptors_come_with_the_verb_that_has_them_or_end_the_connection(void **state)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Hello hello = BERTH__SANDBOX__V1__HELLO__INIT;
	Berth__Sandbox__V1__UnpackLayer unpack = BERTH__SANDBOX__V1__UNPACK_LAYER__INIT;
	uint8_t bytes[256];
	struct err err = { 0 };
	size_t length;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_HELLO;
	request.hello = &hello;
	length = berth__sandbox__v1__request__pack(&request, bytes);
	assert_true(handle(bytes, length, 1, &err) < 0);
	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_UNPACK_LAYER;
	request.unpack_layer = &unpack;
	length = berth__sandbox__v1__request__pack(&request, bytes);
	assert_true(handle(bytes, length, 0, &err) < 0);
	assert_true(handle(bytes, length, 2, &err) < 0);
	assert_int_equal(answers, 0);
	assert_int_equal(handle(bytes, length, 1, &err), 0);
	assert_int_equal(answers, 1);
	assert_int_equal(answer.kind, ERR_INVALID);
	assert_non_null(strstr(answer.text, "digest"));
}

static void nothing_is_done_before_hello(void **state)
{
	ready = false;
	assert_int_equal(signal_it("w-1", 5, "main", 2), ERR_PRECONDITION);
	assert_non_null(strstr(answer.text, "Hello"));
}

static void names_are_checked_before_they_are_looked_up(void **state)
{
	static const char *const bad[] = { "", "..", ".", "a/b", "-x", "A", "w\n", "\xc3\xa9" };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(signal_it(bad[i], 5, "main", 2), ERR_INVALID);
		assert_int_equal(signal_it("w-1", 5, bad[i], 2), ERR_INVALID);
	}
	assert_int_equal(signal_it("w-1", 0, "main", 2), ERR_INVALID);
}

static void what_is_not_here_is_not_found(void **state)
{
	assert_int_equal(signal_it("w-2", 5, "main", 2), ERR_NOT_FOUND);
	assert_int_equal(signal_it("w-1", 6, "main", 2), ERR_NOT_FOUND);
	assert_non_null(strstr(answer.text, "instance 5"));
	assert_int_equal(signal_it("w-1", 5, "main", 1), ERR_NOT_FOUND);
	assert_int_equal(signal_it("w-1", 5, "other", 2), ERR_NOT_FOUND);
}

static void the_state_must_permit_the_verb(void **state)
{
	struct container *container = LIST_FIRST(&registry_find(&host.registry, "w-1")->containers);

	assert_int_equal(signal_it("w-1", 5, "main", 2), ERR_PRECONDITION);
	assert_non_null(strstr(answer.text, "is starting"));
	container->state = PAGE_EXITED;
	assert_int_equal(signal_it("w-1", 5, "main", 2), ERR_PRECONDITION);
	assert_non_null(strstr(answer.text, "has ended"));
}

static void a_ref_may_be_missing_altogether(void **state)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__Kill kill = BERTH__SANDBOX__V1__KILL__INIT;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_KILL;
	request.kill = &kill;
	assert_int_equal(ask(&request), ERR_INVALID);
}

static enum err_kind create(Berth__Sandbox__V1__CreateWorkload *wish)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_CREATE_WORKLOAD;
	request.create_workload = wish;
	return ask(&request);
}

static void a_workload_is_refused_before_anything_is_made(void **state)
{
	Berth__Sandbox__V1__CreateWorkload wish = BERTH__SANDBOX__V1__CREATE_WORKLOAD__INIT;

	wish.workload = (char *)"w-1";
	wish.instance = 6;
	wish.band = 2;
	assert_int_equal(create(&wish), ERR_EXISTS);
	wish.workload = (char *)"w-2";
	wish.band = 0;
	assert_int_equal(create(&wish), ERR_INVALID);
	wish.band = 5;
	assert_int_equal(create(&wish), ERR_INVALID);
	wish.band = 2;
	wish.host_network = true;
	assert_int_equal(create(&wish), ERR_DENIED);
	wish.host_network = false;
	wish.host_ids = true;
	assert_int_equal(create(&wish), ERR_DENIED);
	wish.host_ids = false;
	host.policy.max_workloads = 1;
	assert_int_equal(create(&wish), ERR_EXHAUSTED);
	assert_null(registry_find(&host.registry, "w-2"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(garbage_ends_the_connection),
		TEST(descriptors_come_with_the_verb_that_has_them_or_end_the_connection),
		TEST(nothing_is_done_before_hello),
		TEST(names_are_checked_before_they_are_looked_up),
		TEST(what_is_not_here_is_not_found),
		TEST(the_state_must_permit_the_verb),
		TEST(a_ref_may_be_missing_altogether),
		TEST(a_workload_is_refused_before_anything_is_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
