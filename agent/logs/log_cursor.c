/*
 * The buffer holds bytes of the current file from `start` to `end`; a record is a run up to a newline. The
 * file that is open stays readable when rotation unlinks it, so only whole files can be missed, and
 * their numbers tell how many.
 */
#include "agent/logs/log_cursor.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* A record is at most 16 KiB of text and its head; what is longer is no record of ours. */
#define BUFFER_BYTES (64 * 1024)
/* A file is closed at 1 GiB at the latest. */
#define PLACE_OFFSET_BITS 36
/* How much one peek may pass over before it lets others have the loop. */
#define SKIP_BUDGET (256 * 1024)

struct log_cursor {
	int dir_fd;
	int fd;
	uint32_t sequence; /* of the open file; 0 before the first */
	uint32_t missed;
	uint64_t offset; /* in the file, of what follows the buffer's end */
	size_t start, end;
	size_t record_length; /* of the record last peeked at, with its newline */
	bool overlong;        /* passing over a run without newline */
	char buffer[BUFFER_BYTES];
};

static uint32_t sequence_of_name(const char *name)
{
	char *end = NULL;
	unsigned long value;

	if (strlen(name) != strlen("000000001.log"))
		return 0;
	value = strtoul(name, &end, 10);
	return end == name + 9 && strcmp(end, ".log") == 0 ? (uint32_t)value : 0;
}

/* The lowest number above @after, or the highest below @before; 0 where there is none. */
static int find_file(struct log_cursor *cursor, uint32_t after, uint32_t before, bool highest,
		     uint32_t *ret)
{
	int fd = openat(cursor->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	uint32_t found = 0;

	if (!dir) {
		fd_close(&fd);
		return -errno;
	}
	while ((entry = readdir(dir))) {
		uint32_t sequence = sequence_of_name(entry->d_name);

		if (sequence <= after || sequence >= before)
			continue;
		if (!found || (highest ? sequence > found : sequence < found))
			found = sequence;
	}
	(void)closedir(dir);
	*ret = found;
	return 0;
}

static int open_file(struct log_cursor *cursor, uint32_t sequence)
{
	char name[32];
	int fd;

	(void)snprintf(name, sizeof(name), "%09u.log", sequence);
	fd = openat(cursor->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	fd_close(&cursor->fd);
	cursor->fd = fd;
	cursor->sequence = sequence;
	cursor->offset = 0;
	cursor->start = cursor->end = cursor->record_length = 0;
	cursor->overlong = false;
	return 0;
}

int log_cursor_new(int dir_fd, struct log_cursor **ret, struct err *err)
{
	struct log_cursor *cursor = malloc(sizeof(*cursor));

	if (!cursor) {
		fd_close(&dir_fd);
		return err_oom(err);
	}
	*cursor = (struct log_cursor){ .dir_fd = dir_fd, .fd = -1 };
	*ret = cursor;
	return 0;
}

void log_cursor_free(struct log_cursor *cursor)
{
	if (!cursor)
		return;
	fd_close(&cursor->fd);
	fd_close(&cursor->dir_fd);
	free(cursor);
}

/* Go to the next file. Returns 1, 0 where there is none yet, or a negative errno. */
static int next_file(struct log_cursor *cursor)
{
	uint32_t sequence = 0;
	uint32_t before = cursor->sequence;
	int r;

	do {
		r = find_file(cursor, cursor->sequence, UINT32_MAX, false, &sequence);
		if (r < 0)
			return r;
		if (!sequence)
			return 0;
		r = open_file(cursor, sequence);
	} while (r == -ENOENT); /* rotation was quicker */
	if (r < 0)
		return r;
	if (before)
		cursor->missed += sequence - before - 1;
	return 1;
}

/* More bytes into the buffer. Returns their number, 0 at the end of all files, or a negative errno. */
static ssize_t fill(struct log_cursor *cursor)
{
	bool last_look = false;

	memmove(cursor->buffer, cursor->buffer + cursor->start, cursor->end - cursor->start);
	cursor->end -= cursor->start;
	cursor->start = 0;
	for (;;) {
		uint32_t next = 0;
		ssize_t n = 0;
		int r;

		if (cursor->fd >= 0)
			n = read(cursor->fd, cursor->buffer + cursor->end,
				 BUFFER_BYTES - cursor->end);
		if (n < 0)
			return -errno;
		cursor->end += (size_t)n;
		cursor->offset += (size_t)n;
		if (n > 0)
			return n;
		/* The monitor makes the next file after its last write here: once the next one is
		 * seen, one more look at this one sees all of it. */
		if (!last_look) {
			r = find_file(cursor, cursor->sequence, UINT32_MAX, false, &next);
			if (r < 0 || !next)
				return r;
			last_look = true;
			continue;
		}
		r = next_file(cursor);
		if (r <= 0)
			return r;
		last_look = false;
	}
}

/* The newline that ends the record at the start of the buffer, or NULL. */
static char *record_end(struct log_cursor *cursor)
{
	return memchr(cursor->buffer + cursor->start, '\n', cursor->end - cursor->start);
}

static void drop_overlong(struct log_cursor *cursor)
{
	cursor->overlong = true;
	cursor->start = cursor->end = 0;
}

int log_cursor_peek(struct log_cursor *cursor, struct log_line *ret, struct err *err)
{
	size_t passed = 0;

	for (;;) {
		char *end = record_end(cursor);
		const char *record = cursor->buffer + cursor->start;

		if (!end) {
			ssize_t n;

			if (cursor->end - cursor->start == BUFFER_BYTES)
				drop_overlong(cursor);
			n = fill(cursor);
			if (n < 0)
				return err_set(err, ERR_INTERNAL, (int)-n,
					       "cannot read log file %09u.log: %m",
					       cursor->sequence);
			if (n == 0)
				return 0;
			continue;
		}
		cursor->record_length = (size_t)(end - record) + 1;
		if (!cursor->overlong &&
		    log_line_parse(record, cursor->record_length - 1, ret) == 0)
			return 1;
		cursor->overlong = false;
		passed += cursor->record_length;
		log_cursor_advance(cursor);
		if (passed > SKIP_BUDGET)
			return -EAGAIN;
	}
}

void log_cursor_advance(struct log_cursor *cursor)
{
	cursor->start += cursor->record_length;
	cursor->record_length = 0;
}

uint64_t log_cursor_place(const struct log_cursor *cursor)
{
	uint64_t unread = cursor->end - cursor->start - cursor->record_length;

	return (uint64_t)cursor->sequence << PLACE_OFFSET_BITS | (cursor->offset - unread);
}

void log_cursor_seek_place(struct log_cursor *cursor, uint64_t place)
{
	uint32_t sequence = (uint32_t)(place >> PLACE_OFFSET_BITS);
	uint64_t offset = place & ((1ULL << PLACE_OFFSET_BITS) - 1);
	struct stat st;

	if (sequence == 0)
		return;
	if (open_file(cursor, sequence) < 0) {
		cursor->sequence = sequence; /* gone: the next one is looked for from here */
		cursor->missed++;
		return;
	}
	/* A file of that name that is shorter is another one. */
	if (fstat(cursor->fd, &st) < 0 || (uint64_t)st.st_size < offset ||
	    lseek(cursor->fd, (off_t)offset, SEEK_SET) < 0)
		return;
	cursor->offset = offset;
}

uint32_t log_cursor_take_missed(struct log_cursor *cursor)
{
	uint32_t missed = cursor->missed;

	cursor->missed = 0;
	return missed;
}

/* A search backwards: how many lines are seen, and where the one wanted begins. */
struct tail_search {
	uint64_t wanted, seen;
	off_t found; /* in the file being searched; -1 while not found */
};

/* Count the lines of @block, which lies at @offset, from its end. A newline ends a line, so the line
 * after the (wanted + 1)th newline from the end is the first one wanted. */
static bool search_block(struct tail_search *search, const char *block, size_t length, off_t offset)
{
	for (size_t i = length; i-- > 0;) {
		if (block[i] != '\n')
			continue;
		if (search->seen == search->wanted) {
			search->found = offset + (off_t)i + 1;
			return true;
		}
		search->seen++;
	}
	return false;
}

static int search_file(struct log_cursor *cursor, struct tail_search *search)
{
	struct stat st;
	off_t at;

	if (fstat(cursor->fd, &st) < 0)
		return -errno;
	for (at = st.st_size; at > 0;) {
		size_t length = at < BUFFER_BYTES ? (size_t)at : BUFFER_BYTES;
		ssize_t n = pread(cursor->fd, cursor->buffer, length, at - (off_t)length);

		if (n < 0)
			return -errno;
		at -= (off_t)length;
		if (search_block(search, cursor->buffer, (size_t)n, at))
			return 1;
	}
	return 0;
}

int log_cursor_seek_tail(struct log_cursor *cursor, uint64_t lines, uint64_t *ret_lines,
			 struct err *err)
{
	struct tail_search search = { .wanted = lines, .found = -1 };
	uint32_t before = UINT32_MAX, sequence = 0;
	int r;

	for (;;) {
		r = find_file(cursor, 0, before, true, &sequence);
		if (r < 0 || !sequence)
			break;
		r = open_file(cursor, sequence);
		if (r == 0)
			r = search_file(cursor, &search);
		if (r != 0 && r != -ENOENT)
			break;
		before = sequence;
	}
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot search log file %09u.log: %m",
			       sequence);
	if (cursor->fd >= 0 && lseek(cursor->fd, search.found < 0 ? 0 : search.found, SEEK_SET) < 0)
		return err_set(err, ERR_INTERNAL, errno, "cannot seek in log file %09u.log: %m",
			       cursor->sequence);
	cursor->offset = search.found < 0 ? 0 : (uint64_t)search.found;
	cursor->start = cursor->end = 0;
	*ret_lines = search.seen;
	return 0;
}
