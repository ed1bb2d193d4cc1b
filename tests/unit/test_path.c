#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "sandbox/path.h"

/* What an escape would reach: a file beside the root. */
static char outside[64];
static char root[80];
static int root_fd = -1;

static void make_file_at(const char *path, const char *content)
{
	int fd = openat(root_fd, path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

	assert_return_code(fd, errno);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	(void)close(fd);
}

static void make_dir_at(const char *path)
{
	assert_return_code(mkdirat(root_fd, path, 0755), errno);
}

static void make_link_at(const char *target, const char *path)
{
	assert_return_code(symlinkat(target, root_fd, path), errno);
}

static void assert_same(int fd, const char *path)
{
	struct stat a;
	struct stat b;

	assert_return_code(fstat(fd, &a), errno);
	assert_return_code(fstatat(root_fd, path, &b, AT_SYMLINK_NOFOLLOW), errno);
	assert_true(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
}

static void symlinks_resolve_inside_the_root_or_not_at_all(void **state)
{
	struct err err = { 0 };
	int fd;

	make_dir_at("real");
	make_file_at("real/file", "in");
	make_link_at("/real", "absolute");
	make_link_at("../../../..", "upwards");
	make_link_at("/etc/hostname-that-is-not", "dangling");

	fd = path_open(root_fd, "/absolute/file", PATH_IN_ROOT, O_RDONLY, 0);
	assert_true(fd >= 0);
	assert_same(fd, "real/file");
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	(void)close(fd);

	fd = path_open_dir(root_fd, "upwards", PATH_IN_ROOT, &err);
	assert_true(fd >= 0);
	assert_same(fd, ".");
	(void)close(fd);

	assert_int_equal(path_open(root_fd, "absolute/file", PATH_BENEATH, O_RDONLY, 0), -ELOOP);
	assert_int_equal(path_open(root_fd, "../secret", PATH_BENEATH, O_RDONLY, 0), -EXDEV);
	assert_int_equal(path_open(root_fd, "../secret", PATH_IN_ROOT, O_RDONLY, 0), -ENOENT);
	assert_true(path_open_dir(root_fd, "absolute", PATH_BENEATH, &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
	assert_true(path_open_dir(root_fd, "nothing", PATH_IN_ROOT, &err) < 0);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
	assert_true(path_open_dir(root_fd, "real/file", PATH_IN_ROOT, &err) < 0);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void magic_links_are_never_followed(void **state)
{
	char link[64];
	cleanup_fd int slash_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	(void)snprintf(link, sizeof(link), "/proc/%d/root/etc", getpid());
	assert_int_equal(path_open(slash_fd, link, PATH_IN_ROOT, O_PATH, 0), -ELOOP);
}

static void crossing_a_mount_is_refused_when_asked(void **state)
{
	cleanup_fd int slash_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_fd int fd = path_open(slash_fd, "proc/self", PATH_IN_ROOT, O_PATH, 0);

	assert_true(fd >= 0);
	assert_int_equal(path_open(slash_fd, "proc/sys", PATH_BENEATH | PATH_NO_XDEV, O_PATH, 0),
			 -EXDEV);
}

static void mount_targets_are_made_with_their_parents(void **state)
{
	struct err err = { 0 };
	cleanup_fd int dir_fd = path_make_dir(root_fd, "/a/b//c/./d/", &err);
	cleanup_fd int again_fd = -1;
	cleanup_fd int file_fd = -1;
	struct stat st;

	assert_true(dir_fd >= 0);
	assert_same(dir_fd, "a/b/c/d");
	again_fd = path_make_dir(root_fd, "a/b/c/d", &err);
	assert_same(again_fd, "a/b/c/d");
	file_fd = path_make_file(root_fd, "/a/b/new/resolv.conf", &err);
	assert_same(file_fd, "a/b/new/resolv.conf");
	assert_return_code(fstat(file_fd, &st), errno);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_size, 0);
	assert_int_equal(fcntl(file_fd, F_GETFL) & O_PATH, O_PATH);
}

static void an_existing_file_keeps_its_content(void **state)
{
	struct err err = { 0 };
	cleanup_fd int fd = -1;
	struct stat st;

	make_file_at("kept", "content");
	fd = path_make_file(root_fd, "kept", &err);
	assert_true(fd >= 0);
	assert_return_code(fstat(fd, &st), errno);
	assert_int_equal(st.st_size, 7);
}

static void parents_may_be_symlinks_and_stay_inside(void **state)
{
	struct err err = { 0 };
	cleanup_fd int fd = -1;

	make_dir_at("run");
	make_dir_at("var");
	make_link_at("/run", "var/run");
	fd = path_make_dir(root_fd, "/var/run/secrets/token", &err);
	assert_true(fd >= 0);
	assert_same(fd, "run/secrets/token");

	make_link_at("../../../../..", "var/up");
	fd_close(&fd);
	fd = path_make_dir(root_fd, "/var/up/made", &err);
	assert_true(fd >= 0);
	assert_same(fd, "made");
}

static void targets_that_are_something_else_are_refused(void **state)
{
	static const char *const cases[] = { "link-to-dir",       "link-to-file", "dangling-link",
					     "dangling-parent/x", "file/x",       "loop/x" };
	struct err err = { 0 };

	make_dir_at("target");
	make_file_at("file", "");
	make_link_at("target", "link-to-dir");
	make_link_at("file", "link-to-file");
	make_link_at("/nowhere", "dangling-link");
	make_link_at("/nowhere", "dangling-parent");
	make_link_at("loop", "loop");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(path_make_dir(root_fd, cases[i], &err) < 0);
		assert_int_equal(err.kind, ERR_START);
		assert_true(path_make_file(root_fd, cases[i], &err) < 0);
		assert_int_equal(err.kind, ERR_START);
	}
	assert_true(path_make_dir(root_fd, "file", &err) < 0);
	assert_int_equal(err.kind, ERR_START);
	assert_true(path_make_file(root_fd, "target", &err) < 0);
	assert_int_equal(err.kind, ERR_START);
	assert_int_equal(faccessat(root_fd, "nowhere", F_OK, 0), -1);
}

static void targets_that_are_no_paths_are_refused(void **state)
{
	static const char *const cases[] = { "",     "/",    "//",     ".",  "/.",
					     "a/..", "../x", "a/../b", "/.." };
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		err = (struct err){ 0 };
		assert_true(path_make_dir(root_fd, cases[i], &err) < 0);
		assert_int_equal(err.kind, ERR_INVALID);
		assert_true(path_make_file(root_fd, cases[i], &err) < 0);
		assert_int_equal(err.kind, ERR_INVALID);
	}
}

static void overlong_targets_are_refused(void **state)
{
	static char path[20000];
	struct err err = { 0 };

	memset(path, 'n', 300);
	assert_true(path_make_dir(root_fd, path, &err) < 0);
	for (size_t i = 0; i + 1 < sizeof(path); i++)
		path[i] = i % 2 ? '/' : 'd';
	assert_true(path_make_dir(root_fd, path, &err) < 0);
	path[0] = 'x';
	memset(path + 1, 'n', 299);
	path[300] = '/';
	path[301] = 'y';
	path[302] = '\0';
	assert_true(path_make_dir(root_fd, path, &err) < 0);
}

static void kernel_directories_are_reserved_however_spelled(void **state)
{
	static const char *const reserved[] = { "/proc",   "proc",     "//proc/.",   "/./proc/self",
						"/sys/fs", "/dev",     "/dev/shm/x", "/a/../proc",
						"/x/..",   "././//sys" };
	static const char *const free_ones[] = { "/process", "/a/proc", "/devices", "/",
						 "",         "sysroot", "/data/..x" };

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
		assert_true(path_is_reserved(reserved[i]));
	for (size_t i = 0; i < ARRAY_SIZE(free_ones); i++)
		assert_false(path_is_reserved(free_ones[i]));
}

static void a_root_with_a_linked_proc_is_refused(void **state)
{
	static const char *const names[] = { "proc", "sys", "dev" };
	struct err err = { 0 };

	assert_int_equal(path_check_rootfs(root_fd, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		make_link_at("/tmp", names[i]);
		assert_true(path_check_rootfs(root_fd, &err) < 0);
		assert_int_equal(err.kind, ERR_START);
		assert_non_null(strstr(err.text, names[i]));
		assert_return_code(unlinkat(root_fd, names[i], 0), errno);
		make_dir_at(names[i]);
	}
	assert_int_equal(path_check_rootfs(root_fd, &err), 0);
}

static void procfs_is_written_only_where_it_is_procfs(void **state)
{
	cleanup_fd int proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char name[17] = "";
	struct err err = { 0 };
	char path[64];

	(void)snprintf(path, sizeof(path), "%d/comm", getpid());
	assert_int_equal(path_write_proc(proc_fd, path, "renamed", 7, &err), 0);
	assert_return_code(prctl(PR_GET_NAME, name), errno);
	assert_string_equal(name, "renamed");

	make_file_at("comm", "");
	assert_true(path_write_proc(root_fd, "comm", "x", 1, &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
	assert_true(path_write_proc(proc_fd, "self/comm", "x", 1, &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED); /* self is a symlink */
}

static void files_are_read_up_to_a_limit(void **state)
{
	struct err err = { 0 };
	size_t length = 0;
	char *data = NULL;

	make_file_at("passwd", "root:x:0:0::/:/bin/sh\n");
	assert_int_equal(path_read_file(root_fd, "/passwd", 22, &data, &length, &err), 0);
	assert_int_equal(length, 22);
	assert_string_equal(data, "root:x:0:0::/:/bin/sh\n");
	free(data);
	data = NULL;
	assert_true(path_read_file(root_fd, "/passwd", 21, &data, &length, &err) < 0);
	assert_int_equal(err.kind, ERR_START);
	assert_null(data);
}

/* Opening these would wait for ever, or act on a device. */
static void what_is_no_regular_file_is_not_even_opened(void **state)
{
	struct err err = { 0 };
	size_t length = 0;
	char *data = NULL;

	assert_return_code(mkfifoat(root_fd, "fifo", 0644), errno);
	make_link_at("fifo", "link-to-fifo");
	assert_true(path_read_file(root_fd, "fifo", 100, &data, &length, &err) < 0);
	assert_int_equal(err.kind, ERR_START);
	assert_true(path_read_file(root_fd, "link-to-fifo", 100, &data, &length, &err) < 0);
	assert_int_equal(err.kind, ERR_START);
	assert_true(path_read_file(root_fd, ".", 100, &data, &length, &err) < 0);
	assert_int_equal(err.kind, ERR_START);
	assert_true(path_read_file(root_fd, "none", 100, &data, &length, &err) < 0);
	assert_int_equal(err.kind, ERR_NOT_FOUND);
}

static void host_paths_are_opened_below_allowed_prefixes_only(void **state)
{
	const char *const allowed[] = { "relative", "", root };
	struct err err = { 0 };
	char path[200];
	int fd;

	make_dir_at("volume");
	make_link_at("volume", "volume-link");
	(void)snprintf(path, sizeof(path), "%s/volume", root);
	fd = path_open_host(path, allowed, ARRAY_SIZE(allowed), &err);
	assert_true(fd >= 0);
	assert_same(fd, "volume");
	(void)close(fd);

	(void)snprintf(path, sizeof(path), "%s/volume-link", root);
	assert_true(path_open_host(path, allowed, ARRAY_SIZE(allowed), &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
	(void)snprintf(path, sizeof(path), "%s/volume/../..", root);
	assert_true(path_open_host(path, allowed, ARRAY_SIZE(allowed), &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
	(void)snprintf(path, sizeof(path), "%s-sibling", root);
	assert_return_code(mkdir(path, 0755), errno);
	assert_true(path_open_host(path, allowed, ARRAY_SIZE(allowed), &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
	assert_return_code(rmdir(path), errno);
	assert_true(path_open_host("/", allowed, ARRAY_SIZE(allowed), &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
	assert_true(path_open_host("/proc/self/root", allowed, ARRAY_SIZE(allowed), &err) < 0);
	assert_int_equal(err.kind, ERR_DENIED);
	assert_true(path_open_host("volume", allowed, ARRAY_SIZE(allowed), &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
	assert_true(path_open_host("/tmp/\n", allowed, ARRAY_SIZE(allowed), &err) < 0);
	assert_int_equal(err.kind, ERR_INVALID);
}

static void the_kernel_is_checked(void **state)
{
	struct err err = { 0 };

	assert_int_equal(path_check_kernel(&err), 0);
}

/* Swap "swapped", a directory with a file, and "evil", a symlink to the directory outside, until
 * killed. */
static pid_t start_swapping(void)
{
	pid_t parent = getpid();
	pid_t pid = fork();

	assert_return_code(pid, errno);
	if (pid > 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent)
		(void)syscall(__NR_renameat2, root_fd, "swapped", root_fd, "evil",
			      2 /* RENAME_EXCHANGE */);
	_exit(0);
}

static bool is_secret(int fd)
{
	struct stat here;
	struct stat secret;
	char path[100];

	(void)snprintf(path, sizeof(path), "%s/secret", outside);
	assert_return_code(stat(path, &secret), errno);
	assert_return_code(fstat(fd, &here), errno);
	return here.st_ino == secret.st_ino && here.st_dev == secret.st_dev;
}

/* Look first, open afterwards: what this module is not. */
static int look_then_open(void)
{
	struct stat st;

	if (fstatat(root_fd, "swapped", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
		return -1;
	return openat(root_fd, "swapped/secret", O_RDONLY | O_CLOEXEC);
}

static unsigned int count_escapes(unsigned int tries, int rules)
{
	unsigned int escapes = 0;

	for (unsigned int i = 0; i < tries && !(rules < 0 && escapes > 0); i++) {
		cleanup_fd int fd = rules < 0 ? look_then_open()
					      : path_open(root_fd, "swapped/secret",
							  (unsigned int)rules, O_RDONLY, 0);

		escapes += fd >= 0 && is_secret(fd);
	}
	return escapes;
}

static void a_swapped_symlink_never_leads_out(void **state)
{
	pid_t swapper;
	unsigned int negative_control;
	unsigned int in_root;
	unsigned int beneath;

	make_dir_at("swapped");
	make_file_at("swapped/secret", "harmless");
	make_link_at(outside, "evil");
	swapper = start_swapping();
	in_root = count_escapes(100000, PATH_IN_ROOT);
	beneath = count_escapes(100000, PATH_BENEATH);
	/* Stops at the first; one processor may need many tries. */
	negative_control = count_escapes(5000000, -1);
	(void)kill(swapper, SIGKILL);
	assert_int_equal(waitpid(swapper, NULL, 0), swapper);
	assert_int_equal(in_root, 0);
	assert_int_equal(beneath, 0);
	assert_true(negative_control > 0);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
	return remove(path);
}

static int set_up(void **state)
{
	char path[100];
	int fd;

	(void)snprintf(outside, sizeof(outside), "%s", "/tmp/test-path-XXXXXX");
	if (!mkdtemp(outside))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/secret", outside);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0 || close(fd) < 0)
		return -1;
	(void)snprintf(root, sizeof(root), "%s/root", outside);
	if (mkdir(root, 0755) < 0)
		return -1;
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root_fd < 0;
}

static int tear_down(void **state)
{
	fd_close(&root_fd);
	return nftw(outside, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

#define path_test(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		path_test(the_kernel_is_checked),
		path_test(symlinks_resolve_inside_the_root_or_not_at_all),
		path_test(magic_links_are_never_followed),
		path_test(crossing_a_mount_is_refused_when_asked),
		path_test(mount_targets_are_made_with_their_parents),
		path_test(an_existing_file_keeps_its_content),
		path_test(parents_may_be_symlinks_and_stay_inside),
		path_test(targets_that_are_something_else_are_refused),
		path_test(targets_that_are_no_paths_are_refused),
		path_test(overlong_targets_are_refused),
		path_test(kernel_directories_are_reserved_however_spelled),
		path_test(a_root_with_a_linked_proc_is_refused),
		path_test(procfs_is_written_only_where_it_is_procfs),
		path_test(files_are_read_up_to_a_limit),
		path_test(what_is_no_regular_file_is_not_even_opened),
		path_test(host_paths_are_opened_below_allowed_prefixes_only),
		path_test(a_swapped_symlink_never_leads_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
