#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "proto/cleanup.h"
#include "proto/names.h"

/* @n times @c; up to four of them are good at a time. */
static const char *times(char c, size_t n)
{
	static char texts[4][140000];
	static unsigned next;
	char *text = texts[next++ % 4];

	assert_true(n < sizeof(texts[0]));
	memset(text, c, n);
	text[n] = '\0';
	return text;
}

static void expect_ok(int r, const char *text)
{
	if (r != 0)
		fail_msg("\"%s\" was refused", text);
}

static void expect_refused(int r, struct err *err, const char *text)
{
	if (r != -EINVAL)
		fail_msg("\"%s\" was taken", text ? text : "NULL");
	assert_int_equal(err->kind, ERR_INVALID);
	assert_true(strlen(err->text) > 20);
	for (const char *p = err->text; *p; p++)
		assert_true((unsigned char)*p >= 0x20);
	*err = (struct err){ 0 };
}

static void ids(void **state)
{
	const char *const good[] = { "a", "0", "web-1", "a-", "0--x", times('a', 63) };
	const char *const bad[] = { NULL,  "",    "-a", "A",        "a_b",   "a.b",         "a/b",
				    "a b", "a\n", "..", "\xc3\xa4", "a\x01", times('a', 64) };
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		expect_ok(names_check_workload_id(good[i], NULL), good[i]);
		expect_ok(names_check_container(good[i], NULL), good[i]);
		expect_ok(names_check_volume(good[i], NULL), good[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		expect_refused(names_check_workload_id(bad[i], &err), &err, bad[i]);
		expect_refused(names_check_container(bad[i], &err), &err, bad[i]);
		expect_refused(names_check_volume(bad[i], &err), &err, bad[i]);
	}
}

static void a_refusal_shows_the_value_and_the_rule(void **state)
{
	struct err err = { 0 };

	names_check_workload_id("Web\x1b[2J", &err);
	assert_string_equal(err.text,
			    "\"Web\\x1b[2J\" is not a workload id: 1 to 63 lower-case letters, "
			    "digits and hyphens, starting with a letter or a digit");
}

static void environment(void **state)
{
	static const char *const good[] = { "A", "_", "PATH", "a.b-c_D9", ".x", "-x" };
	static const char *const bad[] = {
		NULL, "", "1A", "A=B", "A B", "A\n", "\xc3\xa4", "A\x7f"
	};
	static const char *const good_values[] = { NULL, "", "x=y z", "\xe2\x82\xac", "'\"\\$(x)" };
	static const char *const bad_values[] = { "a\nb", "\t",       "\x01", "\x7f",
						  "\xff", "\xc2\x85", "a\r" };
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		expect_ok(names_check_env(good[i], "x", NULL), good[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_refused(names_check_env(bad[i], "x", &err), &err, bad[i]);
	for (size_t i = 0; i < ARRAY_SIZE(good_values); i++)
		expect_ok(names_check_env("A", good_values[i], NULL), good_values[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad_values); i++)
		expect_refused(names_check_env("A", bad_values[i], &err), &err, bad_values[i]);
	expect_ok(names_check_env("A", times('x', NAME_ENV_MAX - 2), NULL), "the longest");
	expect_refused(names_check_env("A", times('x', NAME_ENV_MAX - 1), &err), &err, "too long");
}

static void labels(void **state)
{
	char key[400];
	const char *const good[] = {
		"app", "a", "A_b.c-9", "example.com/app", "a/b", "x.y-z/A_b", times('k', 63),
	};
	const char *const bad[] = {
		NULL,         "",       "/",      "a/",       "/a",       "a//b",
		"a/b/c",      "-a",     "a-",     ".a",       "a b",      "a\n",
		"ex_ample/a", ".com/a", "a..b/c", "-x.com/a", "\xc3\xa4", times('k', 64),
	};
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		expect_ok(names_check_label(good[i], "v", NULL), good[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_refused(names_check_label(bad[i], "v", &err), &err, bad[i]);
	(void)snprintf(key, sizeof(key), "%.63s.%.63s.%.63s.%.61s/%.63s", times('a', 63),
		       times('a', 63), times('a', 63), times('a', 61), times('n', 63));
	assert_int_equal(strlen(key), NAME_LABEL_KEY_MAX);
	expect_ok(names_check_label(key, "", NULL), key);
	(void)snprintf(key, sizeof(key), "%.63s.%.63s.%.63s.%.62s/n", times('a', 63),
		       times('a', 63), times('a', 63), times('a', 62));
	expect_refused(names_check_label(key, "", &err), &err, key);

	expect_ok(names_check_label("a", NULL, NULL), "no value");
	expect_ok(names_check_label("a", "any t\xc3\xa4xt, even =!", NULL), "a value");
	expect_ok(names_check_label("a", times('v', 256), NULL), "a long value");
	expect_refused(names_check_label("a", times('v', 257), &err), &err, "too long a value");
	expect_refused(names_check_label("a", "x\ny", &err), &err, "newline");
	expect_refused(names_check_label("a", "\xff", &err), &err, "not UTF-8");
	expect_refused(names_check_label("a", "\xe2\x80\xae", &err), &err, "right-to-left");
}

static void hostnames(void **state)
{
	const char *const good[] = { "a", "web-1", "Web.example", "1.2", times('h', 63) };
	const char *const bad[] = { NULL, "",   ".",   "a.",  ".a",  "a..b",
				    "-a", "a-", "a_b", "a b", "a\n", times('h', 64) };
	struct err err = { 0 };
	char name[80];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		expect_ok(names_check_hostname(good[i], NULL), good[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_refused(names_check_hostname(bad[i], &err), &err, bad[i]);
	(void)snprintf(name, sizeof(name), "%.32s.%.31s", times('a', 32), times('b', 31));
	expect_ok(names_check_hostname(name, NULL), name);
	(void)snprintf(name, sizeof(name), "%.32s.%.32s", times('a', 32), times('b', 32));
	expect_refused(names_check_hostname(name, &err), &err, name);
}

static void paths(void **state)
{
	static const char *const good[] = { "/",    "/a",   "/a/b.c", "/...",
					    "/..a", "/a b", "/.x",    "/\xc3\xa4" };
	static const char *const bad[] = { NULL,    "",      "a",     "./a",   "//",      "/a/",
					   "/a//b", "/.",    "/..",   "/a/..", "/a/../b", "/a/./b",
					   "/a\n",  "/\x01", "/\xff", "/../",  "../a" };
	struct err err = { 0 };
	char path[5000] = "";

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		expect_ok(names_check_path(good[i], NULL), good[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_refused(names_check_path(bad[i], &err), &err, bad[i]);
	(void)snprintf(path, sizeof(path), "/%.255s", times('p', 255));
	expect_ok(names_check_path(path, NULL), path);
	(void)snprintf(path, sizeof(path), "/%.256s", times('p', 256));
	expect_refused(names_check_path(path, &err), &err, path);
	strcpy(path, "/aa");
	while (strlen(path) < NAME_PATH_MAX)
		strcat(path, strlen(path) % 2 ? "/" : "a");
	expect_ok(names_check_path(path, NULL), "the longest");
	strcat(path, "a");
	expect_refused(names_check_path(path, &err), &err, "too long");
}

static void sysctls_are_an_exact_list(void **state)
{
	static const char *const bad[] = {
		NULL,
		"",
		"kernel.core_pattern",
		"kernel.modprobe",
		"kernel.hostname",
		"vm.overcommit_memory",
		"net.ipv4.ip_local_port_range ",
		"net/ipv4/ip_local_port_range",
		"net.ipv4.ip_local_port_range+kernel.core_pattern",
		"net.ipv4.",
		"net.core.bpf_jit_enable",
		"NET.CORE.SOMAXCONN",
		"../kernel.msgmax",
		"user.max_user_namespaces",
	};
	static const char *const bad_values[] = { NULL,       "",    "a",   "1\n",
						  "|/bin/sh", "1;2", "\t1", "1.5" };
	enum sysctl_namespace owner = SYSCTL_NET;
	struct err err = { 0 };

	expect_ok(names_check_sysctl("kernel.shmmax", "65536", &owner, NULL), "shmmax");
	assert_int_equal(owner, SYSCTL_IPC);
	expect_ok(names_check_sysctl("net.ipv4.ip_local_port_range", "1024 65000", &owner, NULL),
		  "range");
	assert_int_equal(owner, SYSCTL_NET);
	expect_ok(
		names_check_sysctl("net.ipv4.ip_local_reserved_ports", "80,8000-8100", NULL, NULL),
		"ports");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_refused(names_check_sysctl(bad[i], "1", NULL, &err), &err, bad[i]);
	for (size_t i = 0; i < ARRAY_SIZE(bad_values); i++)
		expect_refused(names_check_sysctl("kernel.sem", bad_values[i], &owner, &err), &err,
			       bad_values[i]);
	expect_refused(names_check_sysctl("kernel.sem", times('1', 257), NULL, &err), &err, "long");
	assert_int_equal(owner, SYSCTL_NET); /* untouched by refusals */
}

static void lines(void **state)
{
	struct err err = { 0 };

	expect_ok(names_check_line(NULL, 5, NULL), "NULL");
	expect_ok(names_check_line("12345", 5, NULL), "12345");
	expect_refused(names_check_line("123456", 5, &err), &err, "123456");
	expect_refused(names_check_line("1\n2", 5, &err), &err, "newline");
}

static void users(void **state)
{
	static const char *const bad[] = {
		NULL,
		"",
		":",
		"1:",
		":1",
		"1:1:1",
		"-1",
		"+1",
		" 1",
		"1 ",
		"65536",
		"4294967296",
		"0x1",
		"1.0",
		"01",
		"1:01",
		"18446744073709551616",
		"a b",
		"a/b",
		"1a",
		"a:b c",
		"root\n",
		"-root",
		"a:-1",
		"00",
		"\xc3\xa4",
		"4294967295",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"99999999999999999999999999999999",
	};
	struct user_name user = { .uid = 77 };
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		expect_refused(names_parse_user(bad[i], &user, &err), &err, bad[i]);
		assert_int_equal(user.uid, 77);
	}

	expect_ok(names_parse_user("1000", &user, NULL), "1000");
	assert_int_equal(user.uid, 1000);
	assert_false(user.has_group);
	assert_string_equal(user.user, "");

	expect_ok(names_parse_user("0:65535", &user, NULL), "0:65535");
	assert_int_equal(user.uid, 0);
	assert_int_equal(user.gid, 65535);
	assert_true(user.has_group);

	expect_ok(names_parse_user("www-data:adm", &user, NULL), "www-data:adm");
	assert_string_equal(user.user, "www-data");
	assert_string_equal(user.group, "adm");

	expect_ok(names_parse_user("1000:adm", &user, NULL), "1000:adm");
	assert_int_equal(user.uid, 1000);
	assert_string_equal(user.user, "");
	assert_string_equal(user.group, "adm");

	expect_ok(names_parse_user("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &user, NULL), "32 letters");
}

static void quoting_is_safe_and_short(void **state)
{
	char buffer[NAME_QUOTED_MAX];
	char worst[200];

	assert_string_equal(names_quote("abc", buffer), "\"abc\"");
	assert_string_equal(names_quote(NULL, buffer), "\"\"");
	assert_string_equal(names_quote("a\"b\\", buffer), "\"a\\x22b\\x5c\"");
	assert_string_equal(names_quote("\xe2\x82\xac\xff", buffer), "\"\xe2\x82\xac\\xff\"");
	assert_string_equal(names_quote("\xe2\x80\xae", buffer), "\"\\xe2\\x80\\xae\"");
	(void)snprintf(worst, sizeof(worst), "%.59s\xe2\x80\xa8tail", times('\x01', 59));
	(void)names_quote(worst, buffer);
	assert_int_equal(strlen(buffer), 1 + 62 * 4 + 4);
	assert_non_null(strstr(buffer, "\\xa8\"..."));
}

static void a_path_is_below_on_a_component_boundary(void **state)
{
	assert_true(names_path_is_below("/srv/data", "/srv/data"));
	assert_true(names_path_is_below("/srv/data/x", "/srv/data"));
	assert_true(names_path_is_below("/srv/data/x", "/srv/data/"));
	assert_true(names_path_is_below("/srv/data", "/"));
	assert_false(names_path_is_below("/srv/database", "/srv/data"));
	assert_false(names_path_is_below("/srv", "/srv/data"));
	assert_false(names_path_is_below("/srv/data", ""));
	assert_false(names_path_is_below("srv/data", "srv"));
}

static void digests_are_of_one_algorithm_and_one_spelling(void **state)
{
	char good[] = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	static const char *const bad[] = { "", "sha256:", "sha512:00", "../x", NULL };
	struct err err = { 0 };

	assert_int_equal(names_check_digest(good, &err), 0);
	good[7] = 'A';
	assert_true(names_check_digest(good, &err) < 0);
	good[7] = '/';
	assert_true(names_check_digest(good, &err) < 0);
	good[7] = '0';
	good[strlen(good) - 1] = '\0';
	assert_true(names_check_digest(good, &err) < 0);
	for (size_t i = 0; i == 0 || bad[i - 1]; i++)
		assert_true(names_check_digest(bad[i], &err) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests_are_of_one_algorithm_and_one_spelling),
		cmocka_unit_test(ids),
		cmocka_unit_test(a_refusal_shows_the_value_and_the_rule),
		cmocka_unit_test(environment),
		cmocka_unit_test(labels),
		cmocka_unit_test(hostnames),
		cmocka_unit_test(paths),
		cmocka_unit_test(sysctls_are_an_exact_list),
		cmocka_unit_test(lines),
		cmocka_unit_test(users),
		cmocka_unit_test(quoting_is_safe_and_short),
		cmocka_unit_test(a_path_is_below_on_a_component_boundary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
