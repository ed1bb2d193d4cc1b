#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "agent/image/reference.h"
#include "proto/cleanup.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void names_mean_what_docker_means_by_them(void **state)
{
	static const struct {
		const char *text;
		const char *whole;
	} good[] = {
		{ "nginx", "docker.io/library/nginx:latest" },
		{ "nginx:1.25", "docker.io/library/nginx:1.25" },
		{ "team/app", "docker.io/team/app:latest" },
		{ "index.docker.io/team/app", "docker.io/team/app:latest" },
		{ "docker.io/nginx", "docker.io/library/nginx:latest" },
		{ "localhost/app", "localhost/app:latest" },
		{ "localhost:5000/a/b/c:x", "localhost:5000/a/b/c:x" },
		{ "localhost:5000", "docker.io/library/localhost:5000" },
		{ "Host/app", "Host/app:latest" },
		{ "[::1]:5000/app:v1", "[::1]:5000/app:v1" },
		{ "[fd00::1]/app", "[fd00::1]/app:latest" },
		{ "r.example/a__b/c-d---e/f.g_h:T_1.2-3", "r.example/a__b/c-d---e/f.g_h:T_1.2-3" },
		{ "app@sha256:" HEX, "docker.io/library/app@sha256:" HEX },
		{ "r.example:5000/app:1@sha256:" HEX, "r.example:5000/app:1@sha256:" HEX },
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct reference reference, again;
		char text[REFERENCE_TEXT_MAX], text_again[REFERENCE_TEXT_MAX];
		struct err err = { 0 };

		if (reference_parse(good[i].text, &reference, &err) < 0)
			fail_msg("%s: %s", good[i].text, err.text);
		assert_string_equal(reference_text(&reference, text), good[i].whole);
		assert_int_equal(reference_parse(text, &again, &err), 0);
		assert_string_equal(reference_text(&again, text_again), text);
	}
}

static void anything_else_is_refused(void **state)
{
	static const char *const bad[] = {
		"",
		"/",
		"/app",
		"app/",
		"a//b",
		"App",
		"team/App",
		"a..b",
		"a___b",
		"-a",
		"a-",
		".a",
		"a b",
		"a\nb",
		"../../etc/passwd",
		"r.example/../x",
		"app:",
		"app:.x",
		"app:-x",
		"app:a b",
		"app:a/b",
		"r.example:0/app",
		"r.example:65536/app",
		"r.example:port/app",
		"r.example:/app",
		"-r.example/app",
		"r..example/app",
		"user@r.example/app",
		"[::1/app",
		"[]/app",
		"[::1]x/app",
		"http://r.example/app",
		"app@sha256:abc",
		"app@sha256:" HEX "0",
		"app@sha256:0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
		"app@md5:0123",
		"app@",
		"app@sha256:" HEX "@sha256:" HEX,
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct reference reference = { .tag = "as it was" };
		struct err err = { 0 };

		if (reference_parse(bad[i], &reference, &err) >= 0)
			fail_msg("taken: %s", bad[i]);
		assert_int_equal(err.kind, ERR_INVALID);
		assert_string_equal(reference.tag, "as it was");
	}
}

static void lengths_have_an_end(void **state)
{
	char text[2000];
	struct reference reference;
	struct err err = { 0 };

	memset(text, 'a', sizeof(text));
	text[255] = '\0'; /* library/ comes before it */
	assert_int_equal(reference_parse(text, &reference, &err), -EINVAL);
	text[255 - strlen("library/")] = '\0';
	assert_int_equal(reference_parse(text, &reference, &err), 0);
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(reference_parse(text, &reference, &err), -EINVAL);
	memcpy(text, "app:", 4);
	memset(text + 4, 't', 200);
	text[4 + 129] = '\0';
	assert_int_equal(reference_parse(text, &reference, &err), -EINVAL);
	text[4 + 128] = '\0';
	assert_int_equal(reference_parse(text, &reference, &err), 0);
}

static void another_algorithm_is_named(void **state)
{
	struct reference reference;
	struct err err = { 0 };

	assert_true(reference_parse("app@sha512:" HEX HEX, &reference, &err) < 0);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
	assert_non_null(strstr(err.text, "only sha256"));
}

static void a_digest_is_of_the_bytes_in_any_pieces(void **state)
{
	static const char empty[] =
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	static const char abc[] =
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
	cleanup(digester_free_p) struct digester *digester = digester_new();
	struct digest digest;

	assert_int_equal(digest_of("", 0, &digest), 0);
	assert_string_equal(digest.hex, empty);
	assert_int_equal(digest_of("abc", 3, &digest), 0);
	assert_string_equal(digest.hex, abc);
	assert_non_null(digester);
	assert_int_equal(digester_add(digester, "a", 1), 0);
	assert_int_equal(digester_add(digester, "bc", 2), 0);
	assert_int_equal(digester_end(digester, &digest), 0);
	assert_string_equal(digest.hex, abc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_mean_what_docker_means_by_them),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(lengths_have_an_end),
		cmocka_unit_test(another_algorithm_is_named),
		cmocka_unit_test(a_digest_is_of_the_bytes_in_any_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
