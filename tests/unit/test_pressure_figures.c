/* What is available, and how much is missing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/pressure/figures.h"

#define MIB (1ULL << 20)

static void meminfo_is_read(void **state)
{
	struct pool pool = { 0 };

	(void)state;
	figures_parse_meminfo("MemTotal:       24684544 kB\nMemFree:        20056248 kB\n"
			      "MemAvailable:   23020776 kB\nBuffers: 1 kB\n",
			      &pool);
	assert_int_equal(pool.total_bytes, 24684544ULL * 1024);
	assert_int_equal(pool.available_bytes, 23020776ULL * 1024);
	figures_parse_meminfo("", &pool);
	assert_int_equal(pool.total_bytes, 0);
}

static void a_group_has_what_is_below_its_limit_and_its_idle_files(void **state)
{
	struct pool pool;

	(void)state;
	figures_parse_group(200 * MIB, 256 * MIB,
			    "anon 5\ninactive_anon 3\ninactive_file 52428800\n", &pool);
	assert_int_equal(pool.total_bytes, 256 * MIB);
	assert_int_equal(pool.available_bytes, 106 * MIB);
	/* v1 has both: its own, and with what is below it. */
	figures_parse_group(
		200 * MIB, 256 * MIB,
		"inactive_file 7\nactive_file 9\nhierarchical_memory_limit 5\ntotal_inactive_file 10485760\ntotal_active_file 83886080\n",
		&pool);
	assert_int_equal(pool.available_bytes, 106 * MIB);
	figures_parse_group(300 * MIB, 256 * MIB, "", &pool);
	assert_int_equal(pool.available_bytes, 0);
	figures_parse_group(300 * MIB, 0, "", &pool);
	assert_int_equal(pool.total_bytes, 0);
	figures_parse_group(300 * MIB, 9223372036854771712ULL, "", &pool);
	assert_int_equal(pool.total_bytes, 0);
}

static void the_tighter_pool_counts(void **state)
{
	struct figures figures = { .host = { 1000 * MIB, 900 * MIB },
				   .workloads = { 200 * MIB, 30 * MIB } };

	(void)state;
	assert_ptr_equal(figures_tightest(&figures), &figures.workloads);
	assert_true(figures_below(&figures, 16));
	assert_false(figures_below(&figures, 15));
	assert_int_equal(figures_missing(&figures, 20), 200 * MIB / 100 * 20 - 30 * MIB);
	figures.host.available_bytes = 10 * MIB;
	assert_ptr_equal(figures_tightest(&figures), &figures.host);
	assert_int_equal(figures_missing(&figures, 20), 1000 * MIB / 100 * 20 - 10 * MIB);
	figures.workloads.total_bytes = 0;
	assert_ptr_equal(figures_tightest(&figures), &figures.host);
	figures.host.total_bytes = 0;
	assert_false(figures_below(&figures, 90));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(meminfo_is_read),
		cmocka_unit_test(a_group_has_what_is_below_its_limit_and_its_idle_files),
		cmocka_unit_test(the_tighter_pool_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
