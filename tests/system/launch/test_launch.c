/* Launches of containers with the defaults: what is inside, what is refused, what is left. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/system/launch/harness.h"

static struct harness harness;

static void a_program_runs_and_its_exit_code_comes_back(void **state)
{
	static const char *const argv[] = { "sh", "-c", "echo hello; echo oops >&2; exit 42",
					    NULL };
	struct container container;
	char *text;

	container_init(&container, &harness, argv);
	container_run(&container, &harness);
	assert_int_equal(container.last.exited.exit_si_code, CLD_EXITED);
	assert_int_equal(container.last.exited.exit_si_status, 42);
	text = container_log(&container, "stdout");
	assert_string_equal(text, "hello\n");
	free(text);
	for (uint32_t i = 0; i < container.started.step_count; i++)
		(void)printf("%-12s %8lu ns\n", container.started.steps[i].name,
			     (unsigned long)container.started.steps[i].ns);
	(void)printf("%s", container.warnings);
	container_done(&container, &harness);
}

static int begin(void **state)
{
	harness_begin(&harness, false);
	return 0;
}

static int end(void **state)
{
	harness_end(&harness);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_program_runs_and_its_exit_code_comes_back),
	};

	return harness_possible() ? cmocka_run_group_tests(tests, begin, end) : 77;
}
