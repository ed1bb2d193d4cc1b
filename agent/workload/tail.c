/*
 * The last lines of a container's output, from its log files, for its terminal record. Only the ends of
 * at most two files are read: an exit must not wait for a disk.
 *
 * A line is "<RFC 3339 time> <stdout|stderr> <F|P> <content>". The files are berth-sandboxd's; their
 * content is the workload's, and is made into UTF-8 without control characters.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/workload/model.h"
#include "proto/cleanup.h"
#include "proto/utf8.h"

#define TAIL_BYTES      4096 /* of text */
#define TAIL_LINES      20
#define TAIL_READ_BYTES 8192 /* of a file's end, with the heads of lines */

/* The newest file's number in @dir_fd; 0 where there is none. */
static unsigned long newest_file(int dir_fd)
{
	int fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	unsigned long newest = 0;
	struct dirent *entry;

	if (!dir) {
		fd_close(&fd);
		return 0;
	}
	while ((entry = readdir(dir))) {
		char *end;
		unsigned long number = strtoul(entry->d_name, &end, 10);

		if (end != entry->d_name && strcmp(end, ".log") == 0 && number > newest)
			newest = number;
	}
	(void)closedir(dir);
	return newest;
}

/* The end of a file, from the start of a line on. Returns its length. */
static size_t read_end(int dir_fd, unsigned long number, char *buffer)
{
	char name[32];
	cleanup_fd int fd = -1;
	struct stat st;
	off_t from;
	ssize_t n;
	char *line;

	(void)snprintf(name, sizeof(name), "%09lu.log", number);
	fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	from = st.st_size > TAIL_READ_BYTES ? st.st_size - TAIL_READ_BYTES : 0;
	n = pread(fd, buffer, TAIL_READ_BYTES, from);
	if (n <= 0)
		return 0;
	if (from == 0)
		return (size_t)n;
	line = memchr(buffer, '\n', (size_t)n);
	if (!line)
		return 0;
	line++;
	n -= line - buffer;
	memmove(buffer, line, (size_t)n);
	return (size_t)n;
}

/* The content of one line, and whether it is of this attempt. NULL where it is no line of a log. */
static const char *content_of(const char *line, size_t length, const char *since,
			      size_t *ret_length)
{
	const char *end = line + length;
	const char *at = line;

	/* Times of one writer are of one length, in UTC: their order is that of their letters. */
	if (length >= strlen(since) && memcmp(line, since, strlen(since)) < 0)
		return NULL;
	for (int i = 0; i < 3; i++) {
		at = memchr(at, ' ', (size_t)(end - at));
		if (!at)
			return NULL;
		at++;
	}
	*ret_length = (size_t)(end - at);
	return at;
}

/* @text in @arena, every byte that is not part of printable UTF-8 as '?', tabs as blanks. */
static char *printable(struct arena *arena, const char *text, size_t length)
{
	char *copy;
	size_t taken;

	copy = arena_alloc(arena, length + 1);
	if (!copy)
		return NULL;
	for (size_t i = 0; i < length; i += taken) {
		int32_t code = utf8_decode(text + i, length - i, &taken);

		if (code < 0)
			taken = 1;
		memcpy(copy + i, text + i, taken);
		if (code == '\t')
			copy[i] = ' ';
		else if (code < 0 || utf8_is_control(code))
			memset(copy + i, '?', taken);
	}
	copy[length] = '\0';
	return copy;
}

/* Lines from the end of @buffer backwards, into lines[], the last first. */
static size_t take_lines(const char *buffer, size_t length, const char *since, struct arena *arena,
			 char **lines, size_t n, size_t *bytes)
{
	while (length > 0 && n < TAIL_LINES) {
		const char *start;
		const char *text;
		size_t text_length = 0;

		if (buffer[length - 1] == '\n')
			length--;
		start = memrchr(buffer, '\n', length);
		start = start ? start + 1 : buffer;
		text = content_of(start, (size_t)(buffer + length - start), since, &text_length);
		length = (size_t)(start - buffer);
		if (!text)
			continue;
		if (*bytes + text_length > TAIL_BYTES) {
			if (n > 0)
				break;
			text += text_length - TAIL_BYTES; /* one long line: its end */
			text_length = TAIL_BYTES;
		}
		*bytes += text_length;
		lines[n] = printable(arena, text, text_length);
		if (!lines[n])
			break;
		n++;
	}
	return n;
}

static void format_since(uint64_t wall_ns, char since[static 32])
{
	time_t seconds = (time_t)(wall_ns / NS_PER_SEC);
	struct tm tm;

	since[0] = '\0';
	if (wall_ns && gmtime_r(&seconds, &tm))
		(void)strftime(since, 32, "%Y-%m-%dT%H:%M:%S", &tm);
}

void tail_read(const char *log_dir, const char *workload, const char *container,
	       uint64_t since_wall_ns, struct arena *arena, Berth__V1__ExitRecord *record)
{
	char path[512];
	char since[32];
	char buffer[TAIL_READ_BYTES];
	char *lines[TAIL_LINES];
	cleanup_fd int dir_fd = -1;
	unsigned long newest;
	size_t bytes = 0;
	size_t n = 0;

	if (!log_dir || (size_t)snprintf(path, sizeof(path), "%s/%s/%s", log_dir, workload,
					 container) >= sizeof(path))
		return;
	dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir_fd < 0)
		return;
	format_since(since_wall_ns, since);
	newest = newest_file(dir_fd);
	for (unsigned long number = newest; number > 0 && number + 2 > newest; number--)
		n = take_lines(buffer, read_end(dir_fd, number, buffer), since, arena, lines, n,
			       &bytes);
	for (size_t i = n; i-- > 0;)
		(void)arena_append(arena, &record->last_output, &record->n_last_output, lines[i]);
}
