#include "agent/store/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/cleanup.h"

#define FILE_NAME     "reserve"
#define PROBE_NAME    "probe"
#define RESERVE_BYTES (1 << 20)

static int path_of(const char *directory, char path[static PATH_MAX])
{
	return snprintf(path, PATH_MAX, "%s/" FILE_NAME, directory) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int reserve_take(const char *directory)
{
	cleanup_fd int fd = -1;
	char path[PATH_MAX];
	struct stat st;
	int r = path_of(directory, path);

	if (r < 0)
		return r;
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size >= RESERVE_BYTES && st.st_blocks * 512 >= RESERVE_BYTES)
		return 0;
	r = posix_fallocate(fd, 0, RESERVE_BYTES);
	if (r != 0)
		(void)unlink(path); /* a part of it helps nobody */
	return -r;
}

bool reserve_disk_is_full(const char *directory)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s/" PROBE_NAME, directory) >= PATH_MAX)
		return false;
	fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return errno == ENOSPC || errno == EDQUOT;
	(void)close(fd);
	(void)unlink(path);
	return false;
}

bool reserve_give_up(const char *directory)
{
	char path[PATH_MAX];
	struct stat st;

	if (path_of(directory, path) < 0 || stat(path, &st) < 0 || st.st_blocks == 0)
		return false;
	return unlink(path) == 0; /* needs no descriptor */
}
