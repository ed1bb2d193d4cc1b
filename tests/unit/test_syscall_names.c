#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <asm/unistd.h>

#include "proto/syscall_names.h"

static void names_agree_with_libseccomp(void **state)
{
	int known = 0;

	for (int nr = 0; nr <= SYSCALL_NUMBER_NEWEST; nr++) {
		char *theirs = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, nr);

		if (theirs) {
			assert_non_null(syscall_name(nr));
			assert_string_equal(syscall_name(nr), theirs);
			known++;
		}
		free(theirs);
	}
	assert_true(known >= 360);
}

/* Every "#define __NR_name number" of the header that this was compiled against, as the
 * preprocessor saw it: a newer kernel's header brings its numbers here before they reach a host. */
static void every_number_of_the_kernel_header_is_known(void **state)
{
	FILE *header = fopen(UNISTD_HEADER, "re");
	char line[256];
	int seen = 0;

	assert_non_null(header);
	while (fgets(line, sizeof(line), header)) {
		char name[64];
		int nr;

		if (sscanf(line, "#define __NR_%63s %d", name, &nr) != 2)
			continue;
		assert_in_range(nr, 0, SYSCALL_NUMBER_NEWEST);
		assert_non_null(syscall_name(nr));
		assert_string_equal(syscall_name(nr), name);
		seen++;
	}
	(void)fclose(header);
	assert_true(seen >= 360);
}

static void names_and_numbers_are_inverse(void **state)
{
	for (int nr = 0; nr <= SYSCALL_NUMBER_NEWEST; nr++)
		if (syscall_name(nr))
			assert_int_equal(syscall_number(syscall_name(nr)), nr);
	assert_int_equal(syscall_number("openat"), __NR_openat);
	assert_int_equal(syscall_number("mseal"), 462);
}

static void what_is_none_has_no_name_and_no_number(void **state)
{
	assert_null(syscall_name(-1));
	assert_null(syscall_name(337));
	assert_null(syscall_name(SYSCALL_NUMBER_NEWEST + 1));
	assert_null(syscall_name(1L << 40));
	assert_int_equal(syscall_number(""), -1);
	assert_int_equal(syscall_number("open "), -1);
	assert_int_equal(syscall_number("socketcall"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_agree_with_libseccomp),
		cmocka_unit_test(every_number_of_the_kernel_header_is_known),
		cmocka_unit_test(names_and_numbers_are_inverse),
		cmocka_unit_test(what_is_none_has_no_name_and_no_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
