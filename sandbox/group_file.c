#include "sandbox/group_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "proto/cleanup.h"

int group_file_write(int dir_fd, const char *file, const char *value)
{
	cleanup_fd int fd = openat(dir_fd, file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t length = strlen(value);

	if (fd < 0)
		return -errno;
	if (write(fd, value, length) != (ssize_t)length) /* the kernel takes all or nothing */
		return errno ? -errno : -EIO;
	return 0;
}

ssize_t group_file_read(int dir_fd, const char *file, char *text, size_t size)
{
	cleanup_fd int fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t length = 0;

	if (fd < 0)
		return -errno;
	while (length < size - 1) {
		ssize_t n = read(fd, text + length, size - 1 - length);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		length += (size_t)n;
	}
	text[length] = '\0';
	if (length == size - 1) {
		char *end = strrchr(text, '\n');

		if (end)
			length = (size_t)(end - text);
	} else if (length > 0 && text[length - 1] == '\n') {
		length--;
	}
	text[length] = '\0';
	return (ssize_t)length;
}

static bool parse_u64(const char *text, uint64_t *ret_value)
{
	char *end;
	unsigned long long value;

	if (strncmp(text, "max", 3) == 0) {
		*ret_value = UINT64_MAX - 1;
		return true;
	}
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || (*end != '\0' && *end != '\n' && *end != ' '))
		return false;
	*ret_value = value;
	return true;
}

int group_file_read_u64(int dir_fd, const char *file, uint64_t *ret_value)
{
	char text[64];
	ssize_t n = group_file_read(dir_fd, file, text, sizeof(text));

	if (n < 0)
		return (int)n;
	return parse_u64(text, ret_value) ? 0 : -EBADMSG;
}

bool group_file_find_u64(const char *text, const char *key, uint64_t *ret_value)
{
	size_t length = strlen(key);

	while (text && *text) {
		if (strncmp(text, key, length) == 0 && text[length] == ' ')
			return parse_u64(text + length + 1, ret_value);
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return false;
}

bool group_file_exists(int dir_fd, const char *file)
{
	return faccessat(dir_fd, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}
