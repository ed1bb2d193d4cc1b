#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/grpc/descriptors.h"
#include "proto/cleanup.h"
#include "tests/interop/grpc/echo.h"

static struct grpc_descriptors *load(const uint8_t *bytes, size_t n)
{
	struct grpc_descriptors *descriptors = NULL;
	struct err err = { 0 };
	int r = grpc_descriptors_new(bytes, n, &descriptors, &err);

	assert_string_equal(err.text, "");
	assert_int_equal(r, 0);
	return descriptors;
}

static void the_public_contract_has_no_message_within_itself(void **state)
{
	struct grpc_descriptors *descriptors = load(grpc_public_descriptors,
						    grpc_public_descriptors_size);
	struct err err = { 0 };

	(void)grpc_descriptors_check_recursion(descriptors, &err);
	assert_string_equal(err.text, "");
	grpc_descriptors_free(descriptors);
}

/* file { name: "r" message_type { name: "A" field { name: "b" type_name: ".B" } }
 *        message_type { name: "B" field { name: "a" type_name: ".A" } } } */
static const char circle[] = "\x0a\x1f\x0a\x01r"
			     "\x22\x0c\x0a\x01"
			     "A\x12\x07\x0a\x01"
			     "b\x32\x02.B"
			     "\x22\x0c\x0a\x01"
			     "B\x12\x07\x0a\x01"
			     "a\x32\x02.A";

static void a_circle_of_messages_is_found(void **state)
{
	struct grpc_descriptors *descriptors = load((const uint8_t *)circle, sizeof(circle) - 1);
	struct err err = { 0 };

	assert_int_equal(grpc_descriptors_check_recursion(descriptors, &err), -ELOOP);
	assert_non_null(strstr(err.text, "contains itself"));
	grpc_descriptors_free(descriptors);
}

static void a_method_table_is_compared_with_the_contract(void **state)
{
	struct grpc_descriptors *descriptors = load(echo_descriptors, echo_descriptors_size);
	struct grpc_method *rows = calloc(n_echo_methods, sizeof(*rows));
	struct err err = { 0 };

	assert_non_null(rows);
	memcpy(rows, echo_methods, n_echo_methods * sizeof(*rows));
	assert_int_equal(grpc_descriptors_check_methods(descriptors, rows, n_echo_methods, &err),
			 0);

	rows[0].kind = GRPC_SERVER_STREAM;
	assert_true(grpc_descriptors_check_methods(descriptors, rows, n_echo_methods, &err) < 0);
	assert_non_null(strstr(err.text, "streams"));
	rows[0] = echo_methods[0];

	rows[1].response = rows[2].response;
	assert_true(grpc_descriptors_check_methods(descriptors, rows, n_echo_methods, &err) < 0);
	assert_non_null(strstr(err.text, "return"));
	rows[1] = echo_methods[1];

	rows[2].request = rows[0].request;
	assert_true(grpc_descriptors_check_methods(descriptors, rows, n_echo_methods, &err) < 0);
	assert_non_null(strstr(err.text, "take"));
	rows[2] = echo_methods[2];

	assert_true(grpc_descriptors_check_methods(descriptors, rows, n_echo_methods - 1, &err) <
		    0);
	assert_non_null(strstr(err.text, "no row"));

	rows[3].path = "/berth.test.v1.Echo/Cuont";
	assert_true(grpc_descriptors_check_methods(descriptors, rows, n_echo_methods, &err) < 0);
	assert_non_null(strstr(err.text, "Cuont"));
	free(rows);
	grpc_descriptors_free(descriptors);
}

static void a_cut_set_is_refused_and_not_read_past_its_end(void **state)
{
	for (size_t n = 0; n < echo_descriptors_size; n += 13) {
		struct grpc_descriptors *descriptors = NULL;
		uint8_t *exact = malloc(n ? n : 1); /* so that ASan sees a byte too many */

		memcpy(exact, echo_descriptors, n);
		if (grpc_descriptors_new(exact, n, &descriptors, NULL) == 0)
			(void)grpc_descriptors_check_recursion(descriptors, NULL);
		grpc_descriptors_free(descriptors);
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_public_contract_has_no_message_within_itself),
		cmocka_unit_test(a_circle_of_messages_is_found),
		cmocka_unit_test(a_method_table_is_compared_with_the_contract),
		cmocka_unit_test(a_cut_set_is_refused_and_not_read_past_its_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
