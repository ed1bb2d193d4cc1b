#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/grpc/details.h"

static void details_come_back_as_they_went(void **state)
{
	struct grpc_details *sent = grpc_details_new();
	struct grpc_details *got;
	uint8_t *bytes;
	size_t n;

	grpc_details_set_reason(sent, "OLD", "x");
	grpc_details_set_reason(sent, "NO_CAPACITY", "berth");
	grpc_details_add_metadata(sent, "node", "n-1");
	grpc_details_add_field(sent, "workload.id", "must not be empty");
	grpc_details_add_quota(sent, "memory", "asked 5, left 1");
	grpc_details_add_precondition(sent, "STATE", "w-1", "is stopping");
	grpc_details_set_retry(sent, 1500250);
	assert_int_equal(grpc_details_encode(sent, GRPC_RESOURCE_EXHAUSTED, "full", &bytes, &n), 0);
	assert_int_equal(grpc_details_decode(bytes, n, &got), 0);
	assert_int_equal(grpc_details_count(got), 6);
	assert_string_equal(grpc_details_at(got, 0)->name, "NO_CAPACITY");
	assert_string_equal(grpc_details_at(got, 1)->text, "n-1");
	assert_string_equal(grpc_details_at(got, 2)->subject, "workload.id");
	assert_string_equal(grpc_details_at(got, 3)->text, "asked 5, left 1");
	assert_string_equal(grpc_details_at(got, 4)->name, "STATE");
	assert_int_equal(grpc_details_at(got, 5)->delay_usec, 1500250);
	assert_null(grpc_details_at(got, 6));
	free(bytes);
	grpc_details_free(sent);
	grpc_details_free(got);
}

static void details_never_outgrow_a_header(void **state)
{
	struct grpc_details *details = grpc_details_new();
	char *text = malloc(5000);
	uint8_t *bytes;
	size_t n;

	memset(text, 'a', 4999);
	(void)memcpy(text + 511, "\xc3\xb6", 2); /* the cut at 512 would be within this character */
	text[4999] = '\0';
	for (int i = 0; i < 100; i++)
		grpc_details_add_field(details, "f", text);
	assert_int_equal(grpc_details_count(details), GRPC_DETAILS_MAX);
	assert_int_equal(strlen(grpc_details_at(details, 0)->text), 511);
	assert_int_equal(grpc_details_encode(details, GRPC_INVALID_ARGUMENT, "m", &bytes, &n), 0);
	assert_in_range(n, 3000, GRPC_DETAILS_WIRE_MAX);
	free(bytes);
	free(text);
	grpc_details_free(details);
}

static void truncated_details_are_refused_or_shorter_but_never_a_crash(void **state)
{
	struct grpc_details *details = grpc_details_new();
	uint8_t *bytes;
	size_t n;

	grpc_details_add_field(details, "a", "b");
	grpc_details_set_retry(details, 7);
	assert_int_equal(grpc_details_encode(details, GRPC_ABORTED, "text", &bytes, &n), 0);
	for (size_t i = 0; i < n; i++) {
		struct grpc_details *got = NULL;
		int r = grpc_details_decode(bytes, i, &got);

		assert_true(r == 0 || r == -EBADMSG);
		if (r == 0)
			assert_true(grpc_details_count(got) < 2);
		grpc_details_free(got);
	}
	free(bytes);
	grpc_details_free(details);
}

static void no_details_is_no_failure(void **state)
{
	grpc_details_add_field(NULL, "a", "b");
	assert_int_equal(grpc_details_count(NULL), 0);
	assert_null(grpc_details_at(NULL, 0));
	grpc_details_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(details_come_back_as_they_went),
		cmocka_unit_test(details_never_outgrow_a_header),
		cmocka_unit_test(truncated_details_are_refused_or_shorter_but_never_a_crash),
		cmocka_unit_test(no_details_is_no_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
