#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "agent/service/roles.h"

static int setup(void **state)
{
	static struct settings settings;
	static const char text[] =
		"[Access]\nSchedulers=sched.example\nOperators=spiffe://fleet/ops\n"
		"Observers=watch.example sched.example\n";
	struct err err = { 0 };

	assert_int_equal(
		config_load_text(&settings_table, "test", text, sizeof(text) - 1, &settings, &err),
		0);
	*state = &settings;
	return 0;
}

static int teardown(void **state)
{
	config_free(&settings_table, *state);
	return 0;
}

static unsigned int roles_of_names(const struct settings *settings, const char *dns,
				   const char *uri, const char *common_name)
{
	char *dns_names[] = { (char *)dns }, *uri_names[] = { (char *)uri };
	const struct grpc_peer peer = { .kind = GRPC_PEER_TLS,
					.common_name = (char *)common_name,
					.dns_names = dns_names,
					.n_dns_names = dns ? 1 : 0,
					.uri_names = uri_names,
					.n_uri_names = uri ? 1 : 0 };

	return roles_of_peer(settings, &peer);
}

static void names_in_certificates_give_roles(void **state)
{
	const struct settings *settings = *state;

	assert_int_equal(roles_of_names(settings, "sched.example", NULL, ""),
			 ROLE_SCHEDULER | ROLE_OBSERVER);
	assert_int_equal(roles_of_names(settings, NULL, "spiffe://fleet/ops", ""), ROLE_OPERATOR);
	assert_int_equal(roles_of_names(settings, "other.example", NULL, ""), 0);
}

static void a_common_name_counts_only_without_other_names(void **state)
{
	const struct settings *settings = *state;

	assert_int_equal(roles_of_names(settings, NULL, NULL, "watch.example"), ROLE_OBSERVER);
	assert_int_equal(roles_of_names(settings, "other.example", NULL, "watch.example"), 0);
}

static void on_the_unix_socket_root_and_we_ourselves_are_operators(void **state)
{
	const struct grpc_peer root = { .kind = GRPC_PEER_UNIX, .uid = 0 };
	const struct grpc_peer self = { .kind = GRPC_PEER_UNIX, .uid = geteuid() };
	const struct grpc_peer nobody = { .kind = GRPC_PEER_UNIX, .uid = 65534, .gid = 65534 };

	assert_int_equal(roles_of_peer(*state, &root), ROLE_OPERATOR);
	assert_int_equal(roles_of_peer(*state, &self), ROLE_OPERATOR);
	assert_int_equal(roles_of_peer(*state, &nobody), 0);
}

static void a_refusal_names_the_method_and_both_sides_roles(void **state)
{
	const struct grpc_method exec = { .path = "/berth.v1.NodeAgent/Exec",
					  .flags = ROLES(ROLE_OPERATOR) };
	const struct grpc_method health = { .path = "/grpc.health.v1.Health/Check" };
	struct err err = { 0 };

	assert_int_equal(roles_permit(ROLE_OPERATOR, &exec, &err), 0);
	assert_int_equal(roles_permit(0, &health, &err), 0);
	assert_true(roles_permit(ROLE_SCHEDULER | ROLE_OBSERVER, &exec, &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
	assert_non_null(strstr(err.text, "Exec is for the roles operator"));
	assert_non_null(strstr(err.text, "has scheduler,observer"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_in_certificates_give_roles),
		cmocka_unit_test(a_common_name_counts_only_without_other_names),
		cmocka_unit_test(on_the_unix_socket_root_and_we_ourselves_are_operators),
		cmocka_unit_test(a_refusal_names_the_method_and_both_sides_roles),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
