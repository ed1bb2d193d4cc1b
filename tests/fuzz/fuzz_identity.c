/*
 * A user string, then the image's /etc/passwd, then its /etc/group, each ended by a NUL byte. What
 * resolves must lie in the range, with groups in order and a home that is fit for an environment.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/err.h"
#include "sandbox/identity.h"

static char root[] = "/dev/shm/fuzz-identity-XXXXXX";

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
	return remove(path);
}

static void remove_root(void)
{
	(void)nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static int make_root(void)
{
	int fd;

	if (!mkdtemp(root) || atexit(remove_root) != 0)
		abort();
	fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || mkdirat(fd, "etc", 0755) < 0)
		abort();
	return fd;
}

static void write_file(int root_fd, const char *name, const uint8_t *data, size_t size)
{
	int fd = openat(root_fd, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	(void)close(fd);
}

static void check(const struct identity *identity)
{
	if (identity->uid > IDENTITY_ID_MAX || identity->gid > IDENTITY_ID_MAX ||
	    identity->group_count > IDENTITY_GROUPS_MAX || identity->capabilities)
		__builtin_trap();
	for (size_t i = 0; i < identity->group_count; i++)
		if (identity->groups[i] > IDENTITY_ID_MAX ||
		    (i > 0 && identity->groups[i] <= identity->groups[i - 1]))
			__builtin_trap();
	if (!memchr(identity->home, '\0', sizeof(identity->home)))
		__builtin_trap();
	for (const char *c = identity->home; *c; c++)
		if ((unsigned char)*c < 0x20)
			__builtin_trap();
}

static size_t part(const uint8_t *data, size_t size)
{
	const uint8_t *end = memchr(data, 0, size);

	return end ? (size_t)(end - data) : size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int root_fd = -1;
	struct identity identity = { 0 };
	struct err err = { 0 };
	const char *group = "audio";
	char user[512];
	size_t length = part(data, size);

	if (root_fd < 0)
		root_fd = make_root();
	if (length >= sizeof(user) || length == size)
		return 0;
	memcpy(user, data, length + 1);
	data += length + 1;
	size -= length + 1;
	length = part(data, size);
	write_file(root_fd, "etc/passwd", data, length);
	data += length;
	size -= length;
	write_file(root_fd, "etc/group", size ? data + 1 : data, size ? size - 1 : 0);
	if (identity_resolve(root_fd, user, &group, size & 1, &identity, &err) == 0)
		check(&identity);
	else if (err.kind == ERR_NONE || err.text[0] == '\0')
		__builtin_trap();
	return 0;
}
