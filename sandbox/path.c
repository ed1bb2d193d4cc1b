/*
 * Every name is opened by one openat2(2) whose RESOLVE_ flags carry the whole rule; what is checked
 * afterwards is checked on the descriptor. No function here takes a path that it was not given, or
 * opens one twice.
 */
#include "sandbox/path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "proto/names.h"

/* A rename anywhere on the host while ".." is resolved makes the kernel give up with EAGAIN. A
 * hostile neighbour can rename all day, which makes most attempts fail; there is an end, after some
 * tens of milliseconds. */
#define ATTEMPTS_MAX (1 << 14)

static int open_once(int dir_fd, const char *path, struct open_how *how)
{
	return (int)syscall(__NR_openat2, dir_fd, path, how, sizeof(*how));
}

static int open_resolved(int dir_fd, const char *path, uint64_t resolve, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)flags | O_CLOEXEC,
		.mode = mode,
		.resolve = resolve,
	};

	for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
		int fd = open_once(dir_fd, path, &how);

		if (fd >= 0)
			return fd;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

int path_check_kernel(struct err *err)
{
	cleanup_fd int fd = open_resolved(AT_FDCWD, "/", RESOLVE_NO_SYMLINKS, O_PATH, 0);

	if (fd >= 0)
		return 0;
	if (fd == -ENOSYS || fd == -EPERM)
		return err_set(
			err, ERR_UNSUPPORTED, -fd,
			"openat2(2) is not available: %m; Berth needs Linux 5.6 or newer, and no filter that hides the call");
	return err_set(err, ERR_INTERNAL, -fd, "cannot open / with openat2(2): %m");
}

static uint64_t resolve_flags(unsigned int rules)
{
	uint64_t resolve = RESOLVE_NO_MAGICLINKS;

	resolve |= rules & PATH_IN_ROOT ? RESOLVE_IN_ROOT : RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
	if (rules & PATH_NO_XDEV)
		resolve |= RESOLVE_NO_XDEV;
	return resolve;
}

/* RESOLVE_BENEATH refuses absolute paths; ours are all meant from the root. */
static const char *relative(const char *path)
{
	path += strspn(path, "/");
	return *path ? path : ".";
}

int path_open(int root_fd, const char *path, unsigned int rules, int flags, mode_t mode)
{
	return open_resolved(root_fd, relative(path), resolve_flags(rules), flags, mode);
}

static int open_failed(struct err *err, int code, const char *path)
{
	switch (code) {
	case -ENOENT:
	case -ENOTDIR:
		return err_set(err, ERR_NOT_FOUND, -code, "cannot open %s: %m", path);
	case -ELOOP:
	case -EXDEV:
		return err_set(err, ERR_DENIED, -code,
			       "cannot open %s: a symlink on the way leads where it may not", path);
	default:
		return err_set(err, ERR_INTERNAL, -code, "cannot open %s: %m", path);
	}
}

int path_open_dir(int root_fd, const char *path, unsigned int rules, struct err *err)
{
	int fd = path_open(root_fd, path, rules, O_PATH | O_DIRECTORY, 0);

	return fd < 0 ? open_failed(err, fd, path) : fd;
}

/* The component at *path, copied to @name, and *path moved behind it. Returns false at the end;
 * ENAMETOOLONG shows as a name of NAME_MAX+1 bytes, which the kernel refuses. */
static bool next_component(const char **path, char name[NAME_MAX + 2])
{
	size_t length;
	size_t kept;

	*path += strspn(*path, "/");
	length = strcspn(*path, "/");
	kept = length <= NAME_MAX ? length : NAME_MAX + 1;
	memcpy(name, *path, kept);
	name[kept] = '\0';
	*path += length;
	return length > 0;
}

static bool has_dotdot(const char *path)
{
	char name[NAME_MAX + 2];

	while (next_component(&path, name))
		if (strcmp(name, "..") == 0)
			return true;
	return false;
}

bool path_is_reserved(const char *path)
{
	char name[NAME_MAX + 2];

	if (has_dotdot(path))
		return true;
	do {
		if (!next_component(&path, name))
			return false;
	} while (strcmp(name, ".") == 0);
	return strcmp(name, "proc") == 0 || strcmp(name, "sys") == 0 || strcmp(name, "dev") == 0;
}

/* @path without its last component, and that one. The root itself, "." and ".." have none. */
static int split_target(const char *path, char parent[PATH_MAX], char last[NAME_MAX + 2],
			struct err *err)
{
	size_t end = strlen(path);
	size_t start;

	while (end > 0 && path[end - 1] == '/')
		end--;
	start = end;
	while (start > 0 && path[start - 1] != '/')
		start--;
	if (start == end || end - start > NAME_MAX || start >= PATH_MAX || has_dotdot(path))
		return err_set(err, ERR_INVALID, EINVAL,
			       "mount target is empty, the root, too long, or has a \"..\"");
	memcpy(parent, path, start);
	parent[start] = '\0';
	memcpy(last, path + start, end - start);
	last[end - start] = '\0';
	if (strcmp(last, ".") == 0)
		return err_set(err, ERR_INVALID, EINVAL, "mount target ends in \".\"");
	return 0;
}

static int target_failed(struct err *err, int code, const char *path)
{
	if (code == -ELOOP || code == -ENOTDIR || code == -EXDEV || code == -ENOENT)
		return err_set(
			err, ERR_START, -code,
			"cannot make mount target %s: the image has a symlink or another kind of file there",
			path);
	if (code == -EROFS)
		return err_set(
			err, ERR_START, EROFS,
			"cannot make mount target %s: it is not in the image, whose root is read-only",
			path);
	return err_set(err, ERR_INTERNAL, -code, "cannot make mount target %s: %m", path);
}

/* The directory @name in @dir_fd, which must be one and not a symlink to one. */
static int enter_new_dir(int dir_fd, const char *name)
{
	if (mkdirat(dir_fd, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	return open_resolved(dir_fd, name,
			     RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
			     O_PATH | O_DIRECTORY, 0);
}

/*
 * The directory @parent of the container, made where missing. As long as names exist they resolve
 * as the workload sees them, each time from the root, so that a symlink to "/" means the
 * container's; from the first that does not exist on, each is made in the descriptor of the one
 * before.
 */
static int make_parents(int root_fd, const char *parent)
{
	cleanup_fd int dir_fd = path_open(root_fd, parent, PATH_IN_ROOT, O_PATH | O_DIRECTORY, 0);
	char existing[PATH_MAX];
	char name[NAME_MAX + 2];
	const char *rest;

	if (dir_fd != -ENOENT)
		return take_fd(&dir_fd);
	strcpy(existing, parent); /* split_target() saw to its length */
	rest = parent + strlen(parent);
	while (dir_fd == -ENOENT && rest > parent) {
		while (rest > parent && rest[-1] == '/')
			rest--;
		while (rest > parent && rest[-1] != '/')
			rest--;
		existing[rest - parent] = '\0';
		dir_fd = path_open(root_fd, existing, PATH_IN_ROOT, O_PATH | O_DIRECTORY, 0);
	}
	while (dir_fd >= 0 && next_component(&rest, name)) {
		int next = strcmp(name, ".") == 0 ? fcntl(dir_fd, F_DUPFD_CLOEXEC, 3)
						  : enter_new_dir(dir_fd, name);

		fd_close(&dir_fd);
		dir_fd = next;
	}
	return take_fd(&dir_fd);
}

/* The parent directory of a target, and the target's own name. Returns the descriptor. */
static int open_parent(int root_fd, const char *path, char last[NAME_MAX + 2], struct err *err)
{
	char parent[PATH_MAX];
	int r = split_target(path, parent, last, err);

	if (r < 0)
		return r;
	r = make_parents(root_fd, parent);
	return r < 0 ? target_failed(err, r, path) : r;
}

int path_make_dir(int root_fd, const char *path, struct err *err)
{
	char last[NAME_MAX + 2];
	cleanup_fd int parent_fd = open_parent(root_fd, path, last, err);
	int fd;

	if (parent_fd < 0)
		return parent_fd;
	fd = enter_new_dir(parent_fd, last);
	return fd < 0 ? target_failed(err, fd, path) : fd;
}

/* An empty file, or the one that is there: O_EXCL in between, since O_CREAT alone follows a
 * symlink. */
static int enter_new_file(int dir_fd, const char *name)
{
	cleanup_fd int made_fd = openat(dir_fd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC,
					0644);

	if (made_fd < 0 && errno != EEXIST)
		return -errno;
	return open_resolved(dir_fd, name,
			     RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS, O_PATH,
			     0);
}

int path_make_file(int root_fd, const char *path, struct err *err)
{
	char last[NAME_MAX + 2];
	cleanup_fd int parent_fd = open_parent(root_fd, path, last, err);
	cleanup_fd int fd = -1;
	struct stat st;

	if (parent_fd < 0)
		return parent_fd;
	fd = enter_new_file(parent_fd, last);
	if (fd < 0)
		return target_failed(err, fd, path);
	if (fstat(fd, &st) < 0)
		return target_failed(err, -errno, path);
	if (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode))
		return target_failed(err, -ENOTDIR, path);
	return take_fd(&fd);
}

int path_check_rootfs(int root_fd, struct err *err)
{
	static const char *const names[] = { "proc", "sys", "dev" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		cleanup_fd int fd = path_open(root_fd, names[i], PATH_BENEATH, O_PATH | O_DIRECTORY,
					      0);

		if (fd >= 0 || fd == -ENOENT)
			continue;
		if (fd == -ELOOP || fd == -ENOTDIR)
			return err_set(err, ERR_START, -fd,
				       "root filesystem has a /%s that is no directory", names[i]);
		return open_failed(err, fd, names[i]);
	}
	return 0;
}

int path_check_fs(int fd, unsigned long magic, const char *what, struct err *err)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot see the filesystem of %s: %m",
			       what);
	if ((unsigned long)fs.f_type != magic)
		return err_set(err, ERR_DENIED, EXDEV,
			       "%s is on a filesystem of type %#lx instead of %#lx", what,
			       (unsigned long)fs.f_type, magic);
	return 0;
}

int path_write_proc(int proc_fd, const char *path, const void *data, size_t length, struct err *err)
{
	cleanup_fd int fd = path_open(proc_fd, path, PATH_BENEATH | PATH_NO_XDEV,
				      O_WRONLY | O_NOCTTY, 0);
	ssize_t written;
	int r;

	if (fd < 0)
		return open_failed(err, fd, path);
	r = path_check_fs(fd, PROC_SUPER_MAGIC, path, err);
	if (r < 0)
		return r;
	written = write(fd, data, length);
	if (written < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot write /proc/%s: %m", path);
	if ((size_t)written != length)
		return err_set(err, ERR_INTERNAL, EIO, "cannot write /proc/%s: taken in part",
			       path);
	return 0;
}

static void self_fd_path(char path[32], int fd)
{
	(void)snprintf(path, 32, "/proc/self/fd/%d", fd);
}

/* O_PATH first: opening a fifo or a device of the image would wait, or act. The link in our own
 * /proc then opens the very file that was looked at. */
static int open_regular(int root_fd, const char *path, size_t limit_bytes, size_t *ret_bytes,
			struct err *err)
{
	cleanup_fd int path_fd = path_open(root_fd, path, PATH_IN_ROOT, O_PATH, 0);
	char self[32];
	struct stat st;
	int fd;

	if (path_fd == -ELOOP)
		return err_set(err, ERR_START, ELOOP, "%s of the image is a loop of symlinks",
			       path);
	if (path_fd < 0)
		return open_failed(err, path_fd, path);
	if (fstat(path_fd, &st) < 0)
		return open_failed(err, -errno, path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_START, EINVAL, "%s of the image is no regular file", path);
	if ((uint64_t)st.st_size > limit_bytes)
		return err_set(err, ERR_START, EFBIG,
			       "%s of the image has %lld bytes, at most %zu are read", path,
			       (long long)st.st_size, limit_bytes);
	self_fd_path(self, path_fd);
	fd = open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return open_failed(err, -errno, path);
	*ret_bytes = (size_t)st.st_size;
	return fd;
}

int path_read_file(int root_fd, const char *path, size_t limit_bytes, char **ret_data,
		   size_t *ret_length, struct err *err)
{
	size_t room = 0;
	cleanup_fd int fd = open_regular(root_fd, path, limit_bytes, &room, err);
	cleanup_free char *data = NULL;
	size_t length = 0;

	if (fd < 0)
		return fd;
	/* The size it had is all that is read, however fast it grows. */
	data = malloc(room + 1);
	if (!data)
		return err_oom(err);
	while (length < room) {
		ssize_t got = read(fd, data + length, room - length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return open_failed(err, -errno, path);
		if (got == 0)
			break;
		length += (size_t)got;
	}
	data[length] = '\0';
	*ret_data = take_ptr(&data);
	*ret_length = length;
	return 0;
}

static bool has_control_byte(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

/* The name of what is open, not of what was asked for. A deleted directory has " (deleted)" at its
 * end and would pass for one below the prefix; it is of no use as a source either way. */
static int check_allowed(int fd, const char *path, const char *const *allowed, size_t allowed_count,
			 struct err *err)
{
	char name[PATH_MAX];
	char self[32];
	ssize_t length;

	self_fd_path(self, fd);
	length = readlink(self, name, sizeof(name) - 1);
	if (length < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot resolve %s: %m", path);
	name[length] = '\0';
	for (size_t i = 0; i < allowed_count; i++)
		if (names_path_is_below(name, allowed[i]))
			return 0;
	return err_set(err, ERR_DENIED, EACCES,
		       "host path %s is not below one that this host's policy allows", path);
}

int path_open_host(const char *path, const char *const *allowed, size_t allowed_count,
		   struct err *err)
{
	cleanup_fd int fd = -1;
	int r;

	if (path[0] != '/' || has_control_byte(path))
		return err_set(err, ERR_INVALID, EINVAL,
			       "host path is not absolute, or has a control byte");
	fd = open_resolved(AT_FDCWD, path, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS, O_PATH, 0);
	if (fd == -ELOOP)
		return err_set(err, ERR_DENIED, ELOOP,
			       "host path %s has a symlink on the way: name the real directory",
			       path);
	if (fd < 0)
		return open_failed(err, fd, path);
	r = check_allowed(fd, path, allowed, allowed_count, err);
	return r < 0 ? r : take_fd(&fd);
}
