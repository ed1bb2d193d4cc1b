#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proto/cleanup.h"
#include "proto/nearest.h"

static const char *nearest_of(const char *word)
{
	static const char *const names[] = { "Listen", "ListenBacklog", "IdleTimeout", "Socket" };
	struct nearest nearest = { .word = word };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		nearest_offer(&nearest, names[i]);
	return nearest.best;
}

static void slips_find_the_name(void **state)
{
	assert_string_equal(nearest_of("Lisetn"), "Listen");
	assert_string_equal(nearest_of("listen"), "Listen");
	assert_string_equal(nearest_of("Liste"), "Listen");
	assert_string_equal(nearest_of("Listens"), "Listen");
	assert_string_equal(nearest_of("LISTENBACKLOGS"), "ListenBacklog");
	assert_string_equal(nearest_of("idle_timeout"), "IdleTimeout");
	assert_string_equal(nearest_of("Soket"), "Socket");
}

static void other_words_find_nothing(void **state)
{
	static char long_word[300];

	memset(long_word, 'x', sizeof(long_word) - 1);
	assert_null(nearest_of("Banana"));
	assert_null(nearest_of(""));
	assert_null(nearest_of("x"));
	assert_null(nearest_of(long_word));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slips_find_the_name),
		cmocka_unit_test(other_words_find_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
