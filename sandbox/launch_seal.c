#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/launch.h"
#include "sandbox/launch_process.h"
#include "sandbox/monitor/setup.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u /* Linux 6.3; needed where vm.memfd_noexec is set, unknown before */
#endif

/* Since start, so that it is low; see launch_low_fd(). */
static int low_fd = -1;

int launch_low_fd(void)
{
	if (low_fd < 0)
		low_fd = eventfd(0, EFD_CLOEXEC);
	return low_fd;
}

static int make_memory_file(void)
{
	int fd = memfd_create("berth-monitor", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("berth-monitor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

static int copy_and_seal(int from_fd, int to_fd)
{
	struct stat st;
	off_t done = 0;

	if (fstat(from_fd, &st) < 0)
		return -errno;
	/* Root's alone: a program of an image that names /proc/self/exe as its interpreter gets nothing. */
	if (fchmod(to_fd, 0500) < 0)
		return -errno;
	while (done < st.st_size) {
		ssize_t n = sendfile(to_fd, from_fd, &done, (size_t)(st.st_size - done));

		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
	}
	if (fcntl(to_fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return -errno;
	return 0;
}

int launch_open_monitor_program(const char *path, struct err *err)
{
	int low = launch_low_fd();
	cleanup_fd int file_fd = open(path, O_RDONLY | O_CLOEXEC);
	cleanup_fd int fd = -1;
	int r;

	if (low < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot reserve a descriptor: %m");
	if (file_fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot open the monitor's program %s: %m",
			       path);
	fd = make_memory_file();
	if (fd < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot make a file in memory: %m");
	r = copy_and_seal(file_fd, fd);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot copy the monitor's program %s: %m",
			       path);
	return take_fd(&fd);
}

/* What follows the prefix, to the full stop; "" where it is no program of ours. */
static void read_mark(const char *program, size_t size, char *mark, size_t mark_size)
{
	static const char prefix[] = MONITOR_MARK_PREFIX;
	const char *found = memmem(program, size, prefix, sizeof(prefix) - 1);
	size_t length = 0;

	while (found && found + length < program + size && length + 1 < mark_size &&
	       found[length] >= ' ' && found[length] <= '~' && found[length] != '.')
		length++;
	memcpy(mark, found ? found : "", length);
	mark[length] = '\0';
}

int launch_check_monitor_program(int program_fd, const char *path, struct err *err)
{
	char mark[80] = "";
	struct stat st;
	char *program;

	if (fstat(program_fd, &st) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot look at %s: %m", path);
	program = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, program_fd, 0);
	if (program == MAP_FAILED)
		return err_set(err, ERR_INTERNAL, errno, "cannot read %s: %m", path);
	read_mark(program, (size_t)st.st_size, mark, sizeof(mark));
	(void)munmap(program, (size_t)st.st_size);
	if (strncmp(mark, MONITOR_MARK, sizeof(MONITOR_MARK) - 2) == 0 &&
	    strlen(mark) == sizeof(MONITOR_MARK) - 2)
		return 0;
	return err_set(
		err, ERR_PRECONDITION, EPROTO,
		"%s is not of this berth-sandboxd's release (%s, expected %.*s): install both of one and restart berth-sandboxd",
		path, mark[0] ? mark : "no monitor", (int)sizeof(MONITOR_MARK) - 2, MONITOR_MARK);
}

/*
 * A detached read-only mount of nothing but the program's file: executed from there, /proc/PID/exe leads to
 * a mount that nobody can write through, root of the host included; and unlike a copy in memory it
 * shares the file's pages.
 */
int launch_protect_program(char *const argv[], struct err *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY, .propagation = MS_PRIVATE };
	cleanup_fd int fd = -1;
	struct statvfs st;

	/* There already; or the whole file system is, which serves as well. Executed by descriptor, a program is
	 * named after that one's number. */
	if (statvfs("/proc/self/exe", &st) == 0 && (st.f_flag & ST_RDONLY)) {
		(void)prctl(PR_SET_NAME, program_invocation_short_name);
		return 0;
	}
	fd = open_tree(AT_FDCWD, "/proc/self/exe", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_set(err, ERR_INTERNAL, errno,
			       "cannot make a read-only mount of our own program: %m");
	/* What the loader leaves to the first call of each function would be done again by every child. */
	(void)setenv("LD_BIND_NOW", "1", 1);
	(void)syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
	return err_set(err, ERR_INTERNAL, errno, "cannot execute our own program again: %m");
}
