#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "sandbox/policy.h"

struct fixture {
	char dir[64];
	struct policy policy;
};

static void load(struct fixture *fixture, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void load(struct fixture *fixture, const char *fmt, ...)
{
	cleanup_free char *text = NULL;
	struct err err = { 0 };
	va_list ap;

	va_start(ap, fmt);
	assert_true(vasprintf(&text, fmt, ap) > 0);
	va_end(ap);
	if (policy_load_text(text, &fixture->policy, &err) < 0)
		fail_msg("%s", err.text);
}

static void make_dir(struct fixture *fixture, const char *name)
{
	cleanup_free char *path = NULL;

	assert_true(asprintf(&path, "%s/%s", fixture->dir, name) > 0);
	assert_int_equal(mkdir(path, 0755), 0);
}

static int set_up(void **state)
{
	static struct fixture fixture;

	fixture = (struct fixture){ .dir = "/tmp/berth-policy-XXXXXX" };
	assert_non_null(mkdtemp(fixture.dir));
	make_dir(&fixture, "a");
	make_dir(&fixture, "a/b");
	make_dir(&fixture, "ab");
	*state = &fixture;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	cleanup_free char *command = NULL;

	policy_done(&fixture->policy);
	assert_true(asprintf(&command, "rm -r %s", fixture->dir) > 0);
	return system(command);
}

static int open_root(struct fixture *fixture, const char *name, bool writable, struct err *err)
{
	cleanup_free char *path = NULL;
	cleanup_fd int fd = -1;

	assert_true(asprintf(&path, "%s/%s", fixture->dir, name) > 0);
	fd = policy_open_root(&fixture->policy, path, writable, err);
	return fd < 0 ? fd : 0;
}

static void by_default_nothing_special_is_allowed(void **state)
{
	struct policy policy = { 0 };
	uint64_t set = 0;
	struct err err = { 0 };

	assert_int_equal(policy_load_text("", &policy, &err), 0);
	assert_false(policy.allow_host_network || policy.allow_host_ids || policy.allow_unconfined);
	assert_int_equal(policy.host_directories.n, 0);
	assert_int_equal(policy.writable_root.n, 0);
	assert_true(policy_add_capability(&policy, "CAP_SYS_ADMIN", &set, &err) < 0);
	assert_int_equal(policy_add_capability(&policy, "CAP_KILL", &set, &err), 0);
	assert_int_equal(set, 1 << 5);
	policy_done(&policy);
}

static void roots_are_below_a_prefix_on_a_component_boundary(void **state)
{
	struct fixture *fixture = *state;
	struct err err = { 0 };

	load(fixture, "[Policy]\nAllowRootDirectories=\nAllowRootDirectories=%s/a\n", fixture->dir);
	assert_int_equal(open_root(*state, "a", false, &err), 0);
	assert_int_equal(open_root(*state, "a/b", false, &err), 0);
	assert_true(open_root(*state, "ab", false, &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
	assert_true(open_root(*state, "a/../ab", false, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_true(open_root(*state, "a/b", true, &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
	assert_non_null(strstr(err.text, "AllowWritableRoot"));
}

static void a_symlink_leads_nowhere(void **state)
{
	struct fixture *fixture = *state;
	cleanup_free char *path = NULL;
	struct err err = { 0 };

	load(fixture, "[Policy]\nAllowRootDirectories=\nAllowRootDirectories=%s/a\n", fixture->dir);
	assert_true(asprintf(&path, "%s/a/out", fixture->dir) > 0);
	assert_int_equal(symlink("/", path), 0);
	assert_true(open_root(*state, "a/out", false, &err) < 0);
	assert_true(open_root(*state, "a/out/etc", false, &err) < 0);
}

static void host_directories_say_how_they_may_be_mounted(void **state)
{
	struct fixture *fixture = *state;
	cleanup_free char *path = NULL;
	bool read_only = false;
	cleanup_fd int fd = -1;
	struct err err = { 0 };

	load(fixture, "[Policy]\nAllowHostDirectories=%s/a:ro %s/a/b:rw\n", fixture->dir,
	     fixture->dir);
	assert_true(asprintf(&path, "%s/a", fixture->dir) > 0);
	fd = policy_open_host_directory(&fixture->policy, path, &read_only, &err);
	assert_true(fd >= 0 && read_only);
	fd_close(&fd);
	free(take_ptr(&path));
	assert_true(asprintf(&path, "%s/a/b", fixture->dir) > 0);
	fd = policy_open_host_directory(&fixture->policy, path, &read_only, &err);
	assert_true(fd >= 0 && !read_only);
	assert_true(policy_open_host_directory(&fixture->policy, "/etc", &read_only, &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
}

static void a_bad_file_changes_nothing_and_names_the_line(void **state)
{
	struct policy policy = { 0 };
	struct err err = { 0 };

	assert_int_equal(policy_load_text("[Host]\nMaxWorkloads=7\n", &policy, &err), 0);
	assert_true(policy_load_text("[Host]\nMaxWorkloads=8\nIdRangeFirst=x\n", &policy, &err) <
		    0);
	assert_non_null(strstr(err.text, ":3:"));
	assert_int_equal(policy.max_workloads, 7);
	assert_true(policy_load_text("[Host]\nIdRangeFirst=1342177281\n", &policy, &err) < 0);
	assert_non_null(strstr(err.text, ":2: IdRangeFirst: "));
	assert_true(policy_load_text("[Host]\n\nIdRangeCount=65537\n", &policy, &err) < 0);
	assert_non_null(strstr(err.text, ":3: IdRangeCount: "));
	assert_true(policy_load_text("[Host]\nIdRangeFirst=4293918720\n", &policy, &err) < 0);
	assert_non_null(strstr(err.text, ":2: IdRangeFirst: "));
	assert_true(policy_load_text("[Policy]\nAllowHostDirectories=/srv\n", &policy, &err) < 0);
	assert_non_null(strstr(err.text, ":ro"));
	assert_int_equal(policy.max_workloads, 7);
	policy_done(&policy);
}

static void sysctls_are_the_policys_and_never_the_hosts(void **state)
{
	const char *port = "net.ipv4.ip_unprivileged_port_start";
	struct policy policy = { 0 };
	struct err err = { 0 };

	assert_int_equal(policy_load_text("", &policy, &err), 0);
	assert_int_equal(policy_check_sysctl(&policy, port, "80", false, &err), 0);
	assert_true(policy_check_sysctl(&policy, port, "80", true, &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
	assert_true(policy_check_sysctl(&policy, "kernel.core_pattern", "|/x", false, &err) < 0);
	assert_true(policy_check_sysctl(&policy, port, "8\n0", false, &err) < 0);
	policy_done(&policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_default_nothing_special_is_allowed),
		cmocka_unit_test_setup_teardown(roots_are_below_a_prefix_on_a_component_boundary,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_symlink_leads_nowhere, set_up, tear_down),
		cmocka_unit_test_setup_teardown(host_directories_say_how_they_may_be_mounted,
						set_up, tear_down),
		cmocka_unit_test(a_bad_file_changes_nothing_and_names_the_line),
		cmocka_unit_test(sysctls_are_the_policys_and_never_the_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
