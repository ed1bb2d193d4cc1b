#include "sandbox/monitor/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/failpoint.h"

#define NAME_DIGITS 9
#define NAME_LENGTH (NAME_DIGITS + 4) /* "000000001.log" */
#define HEADER_MAX  64

static void digits(char *to, int count, uint64_t value)
{
	while (count-- > 0) {
		to[count] = (char)('0' + value % 10);
		value /= 10;
	}
}

static void file_name(char name[static NAME_LENGTH + 1], uint32_t sequence)
{
	digits(name, NAME_DIGITS, sequence);
	memcpy(name + NAME_DIGITS, ".log", 5);
}

/* The number of a log file's name, 0 for any other name. */
static uint32_t file_number(const char *name)
{
	uint32_t number = 0;

	for (int i = 0; i < NAME_DIGITS; i++) {
		if (name[i] < '0' || name[i] > '9')
			return 0;
		number = number * 10 + (uint32_t)(name[i] - '0');
	}
	return strcmp(name + NAME_DIGITS, ".log") ? 0 : number;
}

/* Without opendir(3), which allocates 32 KiB. Also how the oldest file is found again each time, as anyone
 * may have removed some. Returns the highest number; *ret_oldest the lowest. */
static uint32_t scan(int dir_fd, uint32_t *ret_oldest)
{
	struct {
		_Alignas(8) char bytes[4096];
	} entries;
	uint32_t highest = 0, lowest = 0;
	long n;

	(void)lseek(dir_fd, 0, SEEK_SET);
	while ((n = syscall(SYS_getdents64, dir_fd, entries.bytes, sizeof(entries.bytes))) > 0) {
		for (long at = 0; at < n;) {
			struct dirent64 *entry = (struct dirent64 *)(entries.bytes + at);
			uint32_t number = file_number(entry->d_name);

			if (number > highest)
				highest = number;
			if (number && (!lowest || number < lowest))
				lowest = number;
			at += entry->d_reclen;
		}
	}
	*ret_oldest = lowest;
	return highest;
}

void log_init(struct log *log, int dir_fd, uint64_t max_file_bytes, uint32_t max_files,
	      struct log_memory *memory)
{
	*log = (struct log){ .dir_fd = dir_fd,
			     .file_fd = -1,
			     .max_file_bytes = max_file_bytes,
			     .max_files = max_files ? max_files : 1,
			     .memory = memory,
			     .second = -1 };
	if (dir_fd >= 0)
		log->books.sequence = scan(dir_fd, &log->books.oldest);
}

static void keep(struct log *log)
{
	if (log->keep)
		log->keep(log->keeper);
}

void log_done(struct log *log)
{
	log_flush(log);
	fd_close(&log->file_fd);
}

static void count_removed(struct log *log, uint32_t sequence)
{
	log->books.counters.rotated_bytes += log->memory->content[sequence % LOG_OWN_FILES];
}

/* @sequence is removed; what it held of ours counts as rotated, of a file from before its length does. */
static int remove_file(struct log *log, uint32_t sequence)
{
	char name[NAME_LENGTH + 1];

	file_name(name, sequence);
	if (unlinkat(log->dir_fd, name, 0) < 0)
		return -errno;
	count_removed(log, sequence);
	return 0;
}

static void remove_oldest(struct log *log)
{
	while (log->books.oldest && log->books.oldest + log->max_files <= log->books.sequence) {
		(void)remove_file(log, log->books.oldest);
		log->books.oldest++;
	}
}

static int open_next(struct log *log)
{
	char name[NAME_LENGTH + 1];
	struct stat st;
	int fd;

	FAILPOINT("monitor.log.next-file");
	fd_close(&log->file_fd);
	if (log->books.begun)
		log->memory->content[log->books.sequence % LOG_OWN_FILES] = log->books.file_content;
	file_name(name, log->books.sequence + 1);
	fd = openat(log->dir_fd, name,
		    O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	/* The group of the directory may read, whatever ours is. */
	if (fstat(log->dir_fd, &st) == 0)
		(void)!fchown(fd, (uid_t)-1, st.st_gid);
	log->file_fd = fd;
	log->books.sequence++;
	log->books.file_bytes = 0;
	log->books.file_content = 0;
	log->books.begun = 1;
	if (!log->books.oldest)
		log->books.oldest = log->books.sequence;
	keep(log);
	remove_oldest(log);
	return 0;
}

/* Somebody removed the file that we write to: nobody would ever read it. */
static bool file_is_gone(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 || st.st_nlink == 0;
}

static int write_all(int fd, const char *data, size_t length)
{
	while (length) {
		ssize_t n = write(fd, data, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		data += n;
		length -= (size_t)n;
	}
	return 0;
}

/* On a full disk our own oldest records are worth less than the newest. */
static bool make_room(struct log *log)
{
	while (log->books.oldest && log->books.oldest < log->books.sequence) {
		if (remove_file(log, log->books.oldest++) == 0)
			return true;
	}
	return false;
}

static int write_buffer(struct log *log)
{
	struct log_books *books = &log->books;
	int r;

	if (log->file_fd < 0 || file_is_gone(log->file_fd)) {
		r = open_next(log);
		if (r < 0)
			return r;
	}
	do {
		r = write_all(log->file_fd, log->memory->buffer, books->length);
		if (r == 0)
			return 0;
		/* Never half a record. */
		if (ftruncate(log->file_fd, (off_t)books->file_bytes) < 0)
			fd_close(&log->file_fd);
	} while (r == -ENOSPC && log->file_fd >= 0 && make_room(log));
	return r;
}

static void empty_buffer(struct log *log, bool written)
{
	struct log_books *books = &log->books;

	if (written) {
		books->file_bytes += books->length;
		books->file_content += books->buffered_content;
		books->counters.bytes += books->buffered_content;
	} else {
		books->counters.dropped_bytes += books->buffered_content;
	}
	books->length = 0;
	books->buffered_content = 0;
	keep(log);
}

void log_flush(struct log *log)
{
	bool written;

	if (!log->books.length)
		return;
	keep(log);
	written = log->dir_fd >= 0 && write_buffer(log) == 0;
	FAILPOINT("monitor.log.written");
	empty_buffer(log, written);
}

/* What a crash may have left between two instants: a file that was made and never written to, one that was
 * removed and not counted. */
static void settle_files(struct log *log)
{
	struct log_books *books = &log->books;
	char name[NAME_LENGTH + 1];
	struct stat st;

	file_name(name, books->sequence + 1);
	if (fstatat(log->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size == 0)
		(void)unlinkat(log->dir_fd, name, 0);
	while (books->oldest && books->oldest < books->sequence) {
		file_name(name, books->oldest);
		if (fstatat(log->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			break;
		count_removed(log, books->oldest++);
	}
}

/* A file in which less is than the books say, or that is gone, is somebody else's doing: the next is begun. */
static void reopen_file(struct log *log)
{
	struct log_books *books = &log->books;
	char name[NAME_LENGTH + 1];
	struct stat st;

	file_name(name, books->sequence);
	if (!books->begun)
		return;
	log->file_fd = openat(log->dir_fd, name, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
	if (log->file_fd < 0 || fstat(log->file_fd, &st) < 0 ||
	    (uint64_t)st.st_size < books->file_bytes)
		fd_close(&log->file_fd);
}

/* Bytes of the buffer that are in the file already. */
static size_t written_before(const struct log *log)
{
	struct stat st;
	uint64_t more;

	if (log->file_fd < 0 || fstat(log->file_fd, &st) < 0)
		return 0;
	more = (uint64_t)st.st_size - log->books.file_bytes;
	return more > log->books.length ? log->books.length : (size_t)more;
}

void log_resume(struct log *log)
{
	size_t before;

	if (log->dir_fd < 0)
		return;
	settle_files(log);
	reopen_file(log);
	before = written_before(log);
	if (before > 0 &&
	    write_all(log->file_fd, log->memory->buffer + before, log->books.length - before) == 0)
		empty_buffer(log, true);
	else if (before > 0 && ftruncate(log->file_fd, (off_t)log->books.file_bytes) < 0)
		fd_close(&log->file_fd);
	log_flush(log);
}

/* Days since 1970 to a date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days. */
static void format_second(struct log *log, time_t second)
{
	int64_t days = second / 86400, rest = second % 86400;
	int64_t z = days + 719468, era = z / 146097;
	unsigned int doe = (unsigned int)(z - era * 146097);
	unsigned int yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned int doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned int mp = (5 * doy + 2) / 153;
	unsigned int month = mp < 10 ? mp + 3 : mp - 9;
	char *text = log->second_text;

	memcpy(text, "0000-00-00T00:00:00", sizeof(log->second_text));
	digits(text, 4, (uint64_t)((int64_t)yoe + era * 400 + (month <= 2)));
	digits(text + 5, 2, month);
	digits(text + 8, 2, doy - (153 * mp + 2) / 5 + 1);
	digits(text + 11, 2, (uint64_t)(rest / 3600));
	digits(text + 14, 2, (uint64_t)(rest / 60 % 60));
	digits(text + 17, 2, (uint64_t)(rest % 60));
	log->second = second;
}

static size_t format_header(struct log *log, char *to, const char *stream, bool whole,
			    const struct timespec *now)
{
	size_t name = strlen(stream);
	char *at = to;

	if (log->second != now->tv_sec)
		format_second(log, now->tv_sec);
	memcpy(at, log->second_text, 19);
	at[19] = '.';
	digits(at + 20, 9, (uint64_t)now->tv_nsec);
	memcpy(at + 29, "Z ", 2);
	at += 31;
	memcpy(at, stream, name);
	at += name;
	*at++ = ' ';
	*at++ = whole ? 'F' : 'P';
	*at++ = ' ';
	return (size_t)(at - to);
}

/* A new file, if this record does not fit the open one. The first of a launch is always a new one. */
static void rotate_for(struct log *log, size_t size)
{
	const struct log_books *books = &log->books;

	if (!(books->file_bytes + books->length) ||
	    books->file_bytes + books->length + size <= log->max_file_bytes)
		return;
	log_flush(log);
	if (log->file_fd >= 0 && books->file_bytes)
		(void)open_next(log); /* the next flush tries again */
}

void log_record(struct log *log, const char *stream, bool whole, const struct timespec *now,
		const char *content, size_t length)
{
	struct log_books *books = &log->books;
	char *buffer = log->memory->buffer;

	if (books->length + HEADER_MAX + length + 1 > LOG_BUFFER)
		log_flush(log);
	rotate_for(log, HEADER_MAX + length + 1);
	books->length += (uint32_t)format_header(log, buffer + books->length, stream, whole, now);
	memcpy(buffer + books->length, content, length);
	books->length += (uint32_t)length;
	buffer[books->length++] = '\n';
	books->buffered_content += length;
}
