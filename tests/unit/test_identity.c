#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "sandbox/identity.h"

#define CAP(name) (UINT64_C(1) << CAP_##name)

static char root[32];
static int root_fd = -1;

static void write_file(const char *path, const char *content, size_t length)
{
	int fd = openat(root_fd, path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

	assert_return_code(fd, errno);
	assert_int_equal(write(fd, content, length), length);
	(void)close(fd);
}

static void write_usual_files(void)
{
	static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
				     "broken line\n"
				     "app:x:66:66::/:/bin/sh:more\n"
				     "app:x:1000:1001:App,,,:/srv/app:/bin/sh\n"
				     "huge:x:70000:0::/:\n"
				     "badhome:x:7:7::/a\tb:/bin/sh\n"
				     "last:x:9:9::/last:/bin/false";
	static const char group[] = "root:x:0:\n"
				    "app:x:1001:\n"
				    "video:x:44:other,app\n"
				    "audio:x:29:app\n"
				    "apple:x:45:apple,pineapp\n"
				    "big:x:99999:app\n"
				    "short:x\n"
				    "docker:x:999:last";

	write_file("etc/passwd", passwd, sizeof(passwd) - 1);
	write_file("etc/group", group, sizeof(group) - 1);
}

static struct identity resolve(const char *user)
{
	struct identity identity = { 0 };
	struct err err = { 0 };

	if (identity_resolve(root_fd, user, NULL, 0, &identity, &err) < 0)
		fail_msg("%s: %s", user, err.text);
	return identity;
}

static void assert_refused(const char *user, enum err_kind kind)
{
	struct identity identity = { .uid = 4711 };
	struct err err = { 0 };

	if (identity_resolve(root_fd, user, NULL, 0, &identity, &err) == 0)
		fail_msg("\"%s\" was taken", user);
	assert_int_equal(err.kind, kind);
	assert_int_equal(identity.uid, 4711);
}

static void numbers_are_plain_decimals_in_range(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint32_t id;
	} cases[] = {
		{ "0", 0, 0 },
		{ "1", 0, 1 },
		{ "65535", 0, 65535 },
		{ "65536", -ERANGE, 0 },
		{ "4294967296", -ERANGE, 0 },
		{ "99999999999999999999999", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "00", -EINVAL, 0 },
		{ "01", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 ", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 },
		{ "1e3", -EINVAL, 0 },
		{ "1\n", -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t id = 7;

		assert_int_equal(identity_parse_id(cases[i].text, strlen(cases[i].text), &id),
				 cases[i].r);
		assert_int_equal(id, cases[i].r < 0 ? 7 : cases[i].id);
	}
}

static void names_and_numbers_resolve_by_the_images_files(void **state)
{
	struct identity identity;

	write_usual_files();
	identity = resolve("");
	assert_int_equal(identity.uid, 0);
	assert_int_equal(identity.gid, 0);
	assert_string_equal(identity.home, "/root");

	identity = resolve("app");
	assert_int_equal(identity.uid, 1000);
	assert_int_equal(identity.gid, 1001);
	assert_string_equal(identity.home, "/srv/app");
	assert_int_equal(identity.group_count, 2);
	assert_int_equal(identity.groups[0], 29);
	assert_int_equal(identity.groups[1], 44);

	identity = resolve("1000");
	assert_int_equal(identity.gid, 1001);
	assert_int_equal(identity.group_count, 2);

	identity = resolve("1000:video");
	assert_int_equal(identity.gid, 44);
	assert_int_equal(identity.group_count, 0);

	identity = resolve("app:7");
	assert_int_equal(identity.uid, 1000);
	assert_int_equal(identity.gid, 7);

	identity = resolve("12345");
	assert_int_equal(identity.uid, 12345);
	assert_int_equal(identity.gid, 0);
	assert_string_equal(identity.home, "");

	identity = resolve("last");
	assert_int_equal(identity.uid, 9);
	assert_int_equal(identity.groups[0], 999);

	identity = resolve("badhome");
	assert_string_equal(identity.home, "");
}

static void what_is_no_user_is_refused(void **state)
{
	static const char *const malformed[] = { ":",     ":0",     "0:",    "65536", "0:65536",
						 "-1",    "0x0",    "1:2:3", "app:",  "a b",
						 "app\n", "../etc", "1000 ", "-app" };

	write_usual_files();
	for (size_t i = 0; i < ARRAY_SIZE(malformed); i++)
		assert_refused(malformed[i], ERR_INVALID);
	assert_refused("nobody", ERR_START);
	assert_refused("app:nogroup", ERR_START);
	assert_refused("huge", ERR_START); /* outside the range: as if it were not there */
	assert_refused("0:big", ERR_START);
}

static void requested_groups_are_added_once_and_in_order(void **state)
{
	static const char *const groups[] = { "video", "5", "audio", "5", "0" };
	struct identity identity = { 0 };
	struct err err = { 0 };

	write_usual_files();
	assert_int_equal(
		identity_resolve(root_fd, "0:0", groups, ARRAY_SIZE(groups), &identity, &err), 0);
	assert_int_equal(identity.group_count, 3);
	assert_int_equal(identity.groups[0], 5);
	assert_int_equal(identity.groups[1], 29);
	assert_int_equal(identity.groups[2], 44);
}

static void more_groups_than_the_maximum_are_refused(void **state)
{
	const char *groups[IDENTITY_GROUPS_MAX + 1];
	char texts[IDENTITY_GROUPS_MAX + 1][8];
	struct identity identity = { 0 };
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		(void)snprintf(texts[i], sizeof(texts[i]), "%zu", i + 1);
		groups[i] = texts[i];
	}
	assert_int_equal(
		identity_resolve(root_fd, "0:0", groups, IDENTITY_GROUPS_MAX, &identity, &err), 0);
	assert_true(identity_resolve(root_fd, "0:0", groups, ARRAY_SIZE(groups), &identity, &err) <
		    0);
	assert_int_equal(err.kind, ERR_EXHAUSTED);
}

static void an_image_without_the_files_knows_numbers_only(void **state)
{
	struct identity identity = resolve("1000:1000");

	assert_int_equal(identity.uid, 1000);
	assert_int_equal(identity.gid, 1000);
	assert_refused("app", ERR_START);
}

static void a_file_above_the_limit_is_not_read(void **state)
{
	cleanup_fd int fd = -1;

	write_usual_files();
	fd = openat(root_fd, "etc/passwd", O_WRONLY | O_CLOEXEC);
	assert_return_code(ftruncate(fd, (off_t)4 << 30), errno);
	assert_refused("app", ERR_START);
}

static void the_hosts_own_files_are_never_asked(void **state)
{
	assert_return_code(unlinkat(root_fd, "etc", AT_REMOVEDIR), errno);
	assert_return_code(symlinkat("/../../../../etc", root_fd, "etc"), errno);
	assert_refused("daemon", ERR_START);
}

static void capabilities_are_granted_by_list_and_refused_with_reasons(void **state)
{
	uint64_t set = 0;
	struct err err = { 0 };

	assert_int_equal(identity_add_capability("NET_BIND_SERVICE", &set, &err), 0);
	assert_int_equal(identity_add_capability("cap_chown", &set, &err), 0);
	assert_int_equal(set, CAP(NET_BIND_SERVICE) | CAP(CHOWN));
	assert_true(identity_add_capability("SYS_ADMIN", &set, &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
	assert_non_null(strstr(err.text, "CAP_SYS_ADMIN"));
	assert_true(identity_add_capability("ALL", &set, &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_true(identity_add_capability("CAP_", &set, &err) < 0);
	assert_true(identity_add_capability("", &set, &err) < 0);
	assert_int_equal(set, CAP(NET_BIND_SERVICE) | CAP(CHOWN));
	assert_int_equal(identity_grantable(), CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) |
						       CAP(FSETID) | CAP(KILL) | CAP(SETGID) |
						       CAP(SETUID) | CAP(SETPCAP) |
						       CAP(NET_BIND_SERVICE) | CAP(SYS_CHROOT));
	for (unsigned int i = 0; i <= CAP_LAST_CAP; i++)
		assert_non_null(identity_capability_name(i));
	assert_null(identity_capability_name(63));
}

static void limits_have_their_names(void **state)
{
	assert_int_equal(identity_limit_resource("NOFILE"), RLIMIT_NOFILE);
	assert_int_equal(identity_limit_resource("rlimit_core"), RLIMIT_CORE);
	assert_int_equal(identity_limit_resource("FILES"), -1);
	assert_int_equal(identity_limit_resource(""), -1);
}

/* The lines of /proc/self/status of a program that was exec'd with @identity. */
static int status_after_exec(const struct identity *identity, char *status, size_t size)
{
	int out[2];
	size_t length = 0;
	int wait_status;
	ssize_t got;
	pid_t pid;

	assert_return_code(pipe2(out, O_CLOEXEC), errno);
	pid = fork();
	assert_return_code(pid, errno);
	if (pid == 0) {
		struct err err = { 0 };

		if (identity_apply(identity, &err) < 0) {
			(void)dprintf(out[1], "%s", err.text);
			_exit(99);
		}
		(void)dup2(out[1], STDOUT_FILENO);
		(void)execl("/bin/cat", "cat", "/proc/self/status", NULL);
		_exit(98);
	}
	(void)close(out[1]);
	while ((got = read(out[0], status + length, size - 1 - length)) > 0)
		length += (size_t)got;
	status[length] = '\0';
	(void)close(out[0]);
	assert_int_equal(waitpid(pid, &wait_status, 0), pid);
	return wait_status;
}

static void assert_line(const char *status, const char *line)
{
	if (!strstr(status, line))
		fail_msg("no \"%s\" in:\n%s", line, status);
}

static void assert_sets(const char *status, uint64_t kept, uint64_t held)
{
	const struct {
		const char *name;
		uint64_t set;
	} sets[] = {
		{ "Inh", kept }, { "Prm", held }, { "Eff", held }, { "Bnd", held }, { "Amb", kept },
	};

	for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
		char line[64];

		(void)snprintf(line, sizeof(line), "Cap%s:\t%016llx\n", sets[i].name,
			       (unsigned long long)sets[i].set);
		assert_line(status, line);
	}
	assert_line(status, "NoNewPrivs:\t1\n");
}

static void the_exec_has_exactly_what_was_asked_for(void **state)
{
	const uint64_t some = CAP(NET_BIND_SERVICE) | CAP(CHOWN) | CAP(KILL);
	struct identity identity = { .uid = 0, .gid = 0 };
	char status[8192];

	if (geteuid() != 0)
		skip(); /* changing ids needs root */
	assert_int_equal(status_after_exec(&identity, status, sizeof(status)), 0);
	assert_sets(status, 0, 0);
	assert_line(status, "Uid:\t0\t0\t0\t0\n");
	assert_line(status, "Groups:\t \n");

	identity.capabilities = some;
	assert_int_equal(status_after_exec(&identity, status, sizeof(status)), 0);
	assert_sets(status, 0, some);

	identity.uid = 1000;
	identity.gid = 1001;
	identity.group_count = 2;
	identity.groups[0] = 29;
	identity.groups[1] = 44;
	assert_int_equal(status_after_exec(&identity, status, sizeof(status)), 0);
	assert_sets(status, some, some);
	assert_line(status, "Uid:\t1000\t1000\t1000\t1000\n");
	assert_line(status, "Gid:\t1001\t1001\t1001\t1001\n");
	assert_line(status, "Groups:\t29 44 \n");

	identity.capabilities = 0;
	assert_int_equal(status_after_exec(&identity, status, sizeof(status)), 0);
	assert_sets(status, 0, 0);
}

static void more_than_is_grantable_is_refused_before_the_exec(void **state)
{
	const struct identity identity = { .capabilities = CAP(SYS_ADMIN) };
	char text[8192];

	if (geteuid() != 0)
		skip(); /* changing ids needs root */
	assert_int_equal(WEXITSTATUS(status_after_exec(&identity, text, sizeof(text))), 99);
}

/* Each thing that reading back must find, done behind the back of identity_apply(). */
static void add_a_group(void)
{
	const gid_t group = 5;

	(void)syscall(__NR_setgroups, 1, &group);
}

static void become_another_gid(void)
{
	(void)syscall(__NR_setresgid, -1, 7, -1);
}

static void leave_it(void)
{
}

static int verify_after(void (*tamper)(void), const struct identity *identity,
			const struct identity *expected)
{
	int status;
	pid_t pid = fork();

	assert_return_code(pid, errno);
	if (pid == 0) {
		struct err err = { 0 };

		if (identity_apply(identity, &err) < 0)
			_exit(99);
		tamper();
		_exit(identity_verify(expected, &err) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

static void reading_back_finds_every_difference(void **state)
{
	const struct identity identity = { .capabilities = CAP(SETGID) | CAP(SETUID) };
	struct identity other;

	if (geteuid() != 0)
		skip(); /* changing ids needs root */
	assert_int_equal(verify_after(leave_it, &identity, &identity), 0);
	assert_int_equal(verify_after(add_a_group, &identity, &identity), 1);
	assert_int_equal(verify_after(become_another_gid, &identity, &identity), 1);
	other = identity;
	other.uid = 1;
	assert_int_equal(verify_after(leave_it, &identity, &other), 1);
	other = identity;
	other.capabilities = CAP(SETGID);
	assert_int_equal(verify_after(leave_it, &identity, &other), 1);
	other.capabilities = CAP(SETGID) | CAP(SETUID) | CAP(KILL);
	assert_int_equal(verify_after(leave_it, &identity, &other), 1);
}

static void limits_are_set_or_named(void **state)
{
	struct identity_limit limits[] = {
		{ RLIMIT_NOFILE, { 64, 128 } },
		{ RLIMIT_CORE, { 0, 0 } },
	};
	const struct identity_limit wrong = { RLIMIT_NOFILE, { 129, 128 } };
	struct err err = { 0 };
	int status;
	pid_t pid = fork();

	assert_return_code(pid, errno);
	if (pid == 0) {
		struct rlimit now = { 0 };

		if (identity_apply_limits(limits, ARRAY_SIZE(limits), &err) < 0)
			_exit(1);
		(void)getrlimit(RLIMIT_NOFILE, &now);
		_exit(now.rlim_cur == 64 && now.rlim_max == 128 ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(identity_apply_limits(&wrong, 1, &err), -EINVAL);
	assert_non_null(strstr(err.text, "NOFILE"));
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
	return remove(path);
}

static int set_up(void **state)
{
	(void)snprintf(root, sizeof(root), "%s", "/tmp/test-identity-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root_fd < 0 || mkdirat(root_fd, "etc", 0755) < 0;
}

static int tear_down(void **state)
{
	fd_close(&root_fd);
	return nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

#define image_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_plain_decimals_in_range),
		image_test(names_and_numbers_resolve_by_the_images_files),
		image_test(what_is_no_user_is_refused),
		image_test(requested_groups_are_added_once_and_in_order),
		image_test(more_groups_than_the_maximum_are_refused),
		image_test(an_image_without_the_files_knows_numbers_only),
		image_test(a_file_above_the_limit_is_not_read),
		image_test(the_hosts_own_files_are_never_asked),
		cmocka_unit_test(capabilities_are_granted_by_list_and_refused_with_reasons),
		cmocka_unit_test(limits_have_their_names),
		cmocka_unit_test(the_exec_has_exactly_what_was_asked_for),
		cmocka_unit_test(more_than_is_grantable_is_refused_before_the_exec),
		cmocka_unit_test(reading_back_finds_every_difference),
		cmocka_unit_test(limits_are_set_or_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
