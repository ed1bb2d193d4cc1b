/* The small parts of the wire format: text in headers, timeouts, prefixes, buckets, budgets. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/grpc/binary.h"
#include "agent/grpc/bucket.h"
#include "agent/grpc/budget.h"
#include "agent/grpc/code.h"
#include "agent/grpc/lpm.h"
#include "agent/grpc/percent.h"
#include "agent/grpc/timeout.h"
#include "proto/cleanup.h"

/* --- percent --- */

static void percent_coding_brings_every_byte_but_nul_back(void **state)
{
	char text[256], encoded[PERCENT_ENCODED_MAX(255)];
	size_t n;

	for (int i = 1; i < 256; i++)
		text[i - 1] = (char)i;
	n = percent_encode(text, 255, encoded, sizeof(encoded));
	for (size_t i = 0; i < n; i++)
		assert_true(encoded[i] >= 0x20 && encoded[i] <= 0x7e);
	assert_int_equal(percent_decode(encoded, n), 255);
	assert_memory_equal(encoded, text, 255);
}

static void percent_decoding_leaves_alone_what_is_no_code(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "100%", "100%" },      { "%4", "%4" }, { "%zz", "%zz" },
		{ "a%0Ab%25", "a\nb%" }, { "%00", "?" }, { "", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[32];

		(void)stpcpy(text, rows[i].in);
		assert_int_equal(percent_decode(text, strlen(text)), strlen(rows[i].out));
		assert_string_equal(text, rows[i].out);
	}
}

static void percent_encoding_is_cut_between_codes(void **state)
{
	char buf[6];

	assert_int_equal(percent_encode("a\nb", 3, buf, sizeof(buf)), 5);
	assert_string_equal(buf, "a%0Ab");
	assert_int_equal(percent_encode("ab\n\n", 4, buf, sizeof(buf)), 5);
	assert_string_equal(buf, "ab%0A");
	assert_int_equal(percent_encode("abcd\n", 5, buf, sizeof(buf)), 4);
	assert_string_equal(buf, "abcd");
}

/* --- timeout --- */

static void timeouts_are_digits_and_a_unit(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t usec;
	} rows[] = {
		{ "0S", 0, 0 },
		{ "1n", 0, 1 },
		{ "1000n", 0, 1 },
		{ "1001n", 0, 2 },
		{ "5u", 0, 5 },
		{ "250m", 0, 250000 },
		{ "3S", 0, 3000000 },
		{ "2M", 0, 120000000 },
		{ "99999999H", 0, 99999999ULL * 3600 * 1000000 },
		{ "100000000S", -EINVAL, 0 }, /* nine digits */
		{ "5", -EINVAL, 0 },
		{ "S", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "5s", -EINVAL, 0 },
		{ "-1S", -EINVAL, 0 },
		{ "+1S", -EINVAL, 0 },
		{ " 1S", -EINVAL, 0 },
		{ "1.5S", -EINVAL, 0 },
		{ "1SS", -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t usec = 77;

		assert_int_equal(timeout_parse(rows[i].text, strlen(rows[i].text), &usec),
				 rows[i].r);
		assert_int_equal(usec, rows[i].r == 0 ? rows[i].usec : 77);
	}
}

static void formatted_timeouts_never_get_shorter(void **state)
{
	static const uint64_t values[] = {
		1, 99999999, 100000000, 100000001, 99999999999, 1000000000001, UINT64_MAX / 2000000
	};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		char text[TIMEOUT_TEXT_MAX];
		uint64_t usec;

		timeout_format(values[i], text);
		assert_int_equal(timeout_parse(text, strlen(text), &usec), 0);
		assert_true(usec >= values[i]);
		assert_true(usec - values[i] <= values[i] / 1000 + 1000);
	}
}

/* --- length-prefixed messages --- */

static const uint8_t two_messages[] = { 0, 0, 0, 0, 3, 'a', 'b', 'c', 0,  0,
					0, 0, 0, 0, 0, 0,   0,   1,   'd' };

/* Feed @bytes in two parts and count what comes out. */
static void feed(struct lpm *lpm, const uint8_t *bytes, size_t n, char *out, unsigned *n_messages)
{
	while (n) {
		const uint8_t *message;
		size_t length;
		int r = lpm_take(lpm, &bytes, &n, &message, &length);

		assert_true(r >= 0);
		if (r == 0)
			continue;
		(void)strncat(out, (const char *)message, length);
		(*n_messages)++;
	}
}

static void messages_survive_a_split_at_every_byte(void **state)
{
	struct budget budget = { .limit_bytes = 1000 };

	for (size_t at = 0; at <= sizeof(two_messages); at++) {
		unsigned n_messages = 0;
		char out[16] = "";
		struct lpm lpm;

		lpm_init(&lpm, 100, &budget);
		feed(&lpm, two_messages, at, out, &n_messages);
		feed(&lpm, two_messages + at, sizeof(two_messages) - at, out, &n_messages);
		assert_int_equal(n_messages, 3);
		assert_string_equal(out, "abcd");
		assert_false(lpm_partial(&lpm));
		lpm_done(&lpm);
		assert_int_equal(budget.used_bytes, 0);
	}
}

static int take(const uint8_t *bytes, size_t n, size_t max_bytes, struct budget *budget)
{
	const uint8_t *message;
	struct lpm lpm;
	size_t length;
	int r;

	lpm_init(&lpm, max_bytes, budget);
	r = lpm_take(&lpm, &bytes, &n, &message, &length);
	lpm_done(&lpm);
	assert_int_equal(budget->used_bytes, 0);
	return r;
}

static void bad_prefixes_are_refused_before_memory_is_asked_for(void **state)
{
	struct budget budget = { .limit_bytes = 1 << 20 };

	assert_int_equal(take((uint8_t[]){ 0, 0xff, 0xff, 0xff, 0xff, 'x' }, 6, 100, &budget),
			 -EMSGSIZE);
	assert_int_equal(take((uint8_t[]){ 0, 0, 0, 0, 101 }, 5, 100, &budget), -EMSGSIZE);
	assert_int_equal(take((uint8_t[]){ 0, 0, 0, 0, 100 }, 5, 100, &budget), 0);
	assert_int_equal(take((uint8_t[]){ 1, 0, 0, 0, 1, 'x' }, 6, 100, &budget), -EOPNOTSUPP);
	assert_int_equal(take((uint8_t[]){ 7, 0, 0, 0, 1, 'x' }, 6, 100, &budget), -EPROTO);
}

static void half_messages_stay_within_the_budget(void **state)
{
	static const uint8_t half[5 + 8000] = { 0, 0, 0, 0x40, 0 };
	struct budget all = { .limit_bytes = 10000 };
	struct budget mine = { .limit_bytes = 50000, .parent = &all };
	const uint8_t *bytes = half, *message;
	size_t n = sizeof(half), length;
	struct lpm first, second;

	lpm_init(&first, 1 << 20, &mine);
	lpm_init(&second, 1 << 20, &mine);
	assert_int_equal(lpm_take(&first, &bytes, &n, &message, &length), 0);
	assert_true(lpm_partial(&first));
	assert_true(all.used_bytes >= 8000 && all.used_bytes <= 10000);
	bytes = half;
	n = sizeof(half);
	assert_int_equal(lpm_take(&second, &bytes, &n, &message, &length), -ENOBUFS);
	lpm_done(&second);
	lpm_done(&first);
	assert_int_equal(all.used_bytes, 0);
	assert_int_equal(mine.used_bytes, 0);
}

/* --- buckets --- */

static void a_bucket_gives_its_burst_and_then_its_rate(void **state)
{
	struct bucket bucket;
	unsigned taken = 0;

	bucket_init(&bucket, 10, 100, 1000000);
	while (bucket_take(&bucket, 1000000))
		taken++;
	assert_int_equal(taken, 10);
	assert_false(bucket_take(&bucket, 1009999)); /* a token takes 10 ms */
	assert_true(bucket_take(&bucket, 1010000));
	assert_false(bucket_take(&bucket, 1010000));
	assert_false(bucket_take(&bucket, 5)); /* a clock that goes back refills nothing */
	taken = 0;
	while (bucket_take(&bucket, UINT64_MAX / 2))
		taken++;
	assert_int_equal(taken, 10); /* never more than the burst */
}

static void short_steps_do_not_round_the_refill_away(void **state)
{
	struct bucket bucket;
	unsigned taken = 0;

	bucket_init(&bucket, 1, 10, 0);
	assert_true(bucket_take(&bucket, 0));
	for (uint64_t now = 0; now <= 1000000; now += 7)
		taken += bucket_take(&bucket, now);
	assert_in_range(taken, 9, 10);
}

static void credit_fills_a_bucket_up_to_its_burst(void **state)
{
	struct bucket bucket;

	bucket_init(&bucket, 2, 0, 0);
	assert_true(bucket_take(&bucket, 0));
	assert_true(bucket_take(&bucket, 0));
	assert_false(bucket_take(&bucket, 9000000));
	bucket_credit(&bucket, 50);
	assert_true(bucket_take(&bucket, 9000000));
	assert_true(bucket_take(&bucket, 9000000));
	assert_false(bucket_take(&bucket, 9000000));
}

/* --- binary metadata, codes --- */

static void binary_metadata_is_taken_with_and_without_padding(void **state)
{
	for (size_t n = 0; n < 70; n++) {
		uint8_t bytes[70];
		cleanup_free char *text = NULL;
		cleanup_free uint8_t *back = NULL;
		size_t length, n_back;
		char padded[128];

		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)(i * 37 + n);
		text = binary_encode(bytes, n, &length);
		assert_non_null(text);
		assert_null(strchr(text, '='));
		assert_int_equal(binary_decode(text, length, &back, &n_back), 0);
		assert_int_equal(n_back, n);
		assert_memory_equal(back, bytes, n);
		free(take_ptr(&back));
		(void)stpcpy(stpcpy(padded, text), &"=="[n % 3 == 0 ? 2 : n % 3 == 1 ? 0 : 1]);
		assert_int_equal(binary_decode(padded, strlen(padded), &back, &n_back), 0);
		assert_int_equal(n_back, n);
	}
}

static void what_is_not_base64_is_refused(void **state)
{
	static const char *const rows[] = { "a", "abcde", "ab c", "ab-_", "a=bc" };
	uint8_t *bytes;
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(binary_decode(rows[i], strlen(rows[i]), &bytes, &n), -EBADMSG);
}

static void codes_are_mapped_as_the_specification_says(void **state)
{
	assert_int_equal(grpc_code_from_http(503), GRPC_UNAVAILABLE);
	assert_int_equal(grpc_code_from_http(404), GRPC_UNIMPLEMENTED);
	assert_int_equal(grpc_code_from_http(418), GRPC_UNKNOWN);
	assert_int_equal(grpc_code_from_h2_error(8), GRPC_CANCELLED);
	assert_int_equal(grpc_code_from_h2_error(7), GRPC_UNAVAILABLE);
	assert_int_equal(grpc_code_from_h2_error(2), GRPC_INTERNAL);
	assert_string_equal(grpc_code_name(GRPC_UNAUTHENTICATED), "UNAUTHENTICATED");
	assert_string_equal(grpc_code_name((enum grpc_code)99), "UNKNOWN");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(percent_coding_brings_every_byte_but_nul_back),
		cmocka_unit_test(percent_decoding_leaves_alone_what_is_no_code),
		cmocka_unit_test(percent_encoding_is_cut_between_codes),
		cmocka_unit_test(timeouts_are_digits_and_a_unit),
		cmocka_unit_test(formatted_timeouts_never_get_shorter),
		cmocka_unit_test(messages_survive_a_split_at_every_byte),
		cmocka_unit_test(bad_prefixes_are_refused_before_memory_is_asked_for),
		cmocka_unit_test(half_messages_stay_within_the_budget),
		cmocka_unit_test(a_bucket_gives_its_burst_and_then_its_rate),
		cmocka_unit_test(short_steps_do_not_round_the_refill_away),
		cmocka_unit_test(credit_fills_a_bucket_up_to_its_burst),
		cmocka_unit_test(binary_metadata_is_taken_with_and_without_padding),
		cmocka_unit_test(what_is_not_base64_is_refused),
		cmocka_unit_test(codes_are_mapped_as_the_specification_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
