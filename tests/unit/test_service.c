#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "agent/grpc/descriptors.h"
#include "agent/service/roles.h"
#include "agent/service/service.h"
#include "agent/service/status.h"

static void the_table_is_the_contract(void **state)
{
	struct grpc_descriptors *descriptors = NULL;
	struct err err = { 0 };
	size_t count;
	const struct grpc_method *methods = service_methods(&count);

	assert_int_equal(grpc_descriptors_new(grpc_public_descriptors, grpc_public_descriptors_size,
					      &descriptors, &err),
			 0);
	if (grpc_descriptors_check_methods(descriptors, methods, count, &err) < 0)
		fail_msg("%s", err.text);
	if (grpc_descriptors_check_recursion(descriptors, &err) < 0)
		fail_msg("%s", err.text);
	grpc_descriptors_free(descriptors);
}

static void every_method_names_its_roles_and_operators_may_all(void **state)
{
	size_t count;
	const struct grpc_method *methods = service_methods(&count);

	for (size_t i = 0; i < count; i++)
		assert_true(ROLES_OF_FLAGS(methods[i].flags) & ROLE_OPERATOR);
}

static void kinds_become_codes(void **state)
{
	static const struct {
		enum err_kind kind;
		const char *reason;
		enum grpc_code code;
	} rows[] = { { ERR_INVALID, NULL, GRPC_INVALID_ARGUMENT },
		     { ERR_NOT_FOUND, NULL, GRPC_NOT_FOUND },
		     { ERR_EXISTS, FAULT_SPEC_DIFFERS, GRPC_ALREADY_EXISTS },
		     { ERR_DENIED, FAULT_POLICY, GRPC_PERMISSION_DENIED },
		     { ERR_EXHAUSTED, FAULT_NO_ROOM, GRPC_RESOURCE_EXHAUSTED },
		     { ERR_PRECONDITION, FAULT_STALE_EPOCH, GRPC_FAILED_PRECONDITION },
		     { ERR_PRECONDITION, FAULT_EVENTS_TOO_OLD, GRPC_OUT_OF_RANGE },
		     { ERR_UNSUPPORTED, FAULT_HOST_CANNOT, GRPC_FAILED_PRECONDITION },
		     { ERR_UNAVAILABLE, FAULT_DRAINING, GRPC_UNAVAILABLE },
		     { ERR_INTERNAL, NULL, GRPC_INTERNAL },
		     { (enum err_kind)99, NULL, GRPC_UNKNOWN } };
	struct engine_fault fault;

	engine_fault_init(&fault);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct err err = { .kind = rows[i].kind };

		fault.reason = rows[i].reason;
		assert_int_equal(status_code(&err, &fault), rows[i].code);
	}
	engine_fault_done(&fault);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_is_the_contract),
		cmocka_unit_test(every_method_names_its_roles_and_operators_may_all),
		cmocka_unit_test(kinds_become_codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
