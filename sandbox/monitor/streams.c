/*
 * Exactly once, also over a crash. A line in memory stays where it is until its record is in the log's books,
 * which are kept at one instant with ours. The read(2) itself is the hard part: whether one that was under way
 * was done is told by its memory, which held a mark before, and by how much is left in the pipe.
 */
#include "sandbox/monitor/streams.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "proto/failpoint.h"
#include "sandbox/monitor/attachment.h"

static void keep(struct stream *stream)
{
	if (stream->keep)
		stream->keep(stream->keeper);
}

bool stream_holds(const struct stream *stream)
{
	return stream->books.end > stream->books.start;
}

/* Room for a whole record behind what is held. The copy never overlaps: what is held is no longer than a
 * record, and is moved from beyond one. */
static void make_room(struct stream *stream)
{
	struct stream_books *books = &stream->books;
	uint32_t held = books->end - books->start;

	if (held == 0) {
		books->start = books->end = 0;
	} else if (books->start >= LOG_RECORD_MAX) {
		keep(stream);
		memcpy(stream->memory, stream->memory + books->start, held);
		books->start = 0;
		books->end = held;
	}
}

/* Log the whole lines; bytes before @from hold no newline. */
static void log_lines(struct stream *stream, struct log *log, uint32_t from)
{
	struct stream_books *books = &stream->books;
	char *look = stream->memory + from;
	struct timespec now;
	char *newline;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	while ((newline = memchr(look, '\n', (size_t)(stream->memory + books->end - look)))) {
		log_record(log, stream->name, true, &now, stream->memory + books->start,
			   (size_t)(newline - stream->memory) - books->start);
		look = newline + 1;
		books->start = (uint32_t)(look - stream->memory);
	}
	if (books->end - books->start == LOG_RECORD_MAX) {
		log_record(log, stream->name, false, &now, stream->memory + books->start,
			   LOG_RECORD_MAX);
		books->start = books->end;
	}
}

static uint32_t bytes_there(int fd)
{
	int bytes = 0;

	return ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0 ? (uint32_t)bytes : 0;
}

/* Say what is about to be read, so that it can be found out whether it was. */
static void announce_read(struct stream *stream, char *to, uint32_t room)
{
	struct stream_books *books = &stream->books;

	books->available = bytes_there(stream->fd);
	books->wanted = books->available < room ? books->available : room;
	memcpy(to, &stream->mark,
	       books->wanted < sizeof(stream->mark) ? books->wanted : sizeof(stream->mark));
	keep(stream);
}

static void note_read(struct stream *stream, uint32_t n)
{
	stream->books.wanted = 0;
	stream->books.end += n;
	stream->books.taken_bytes += n;
	keep(stream);
}

int stream_read(struct stream *stream, struct log *log, struct attachment *attachment)
{
	struct stream_books *books = &stream->books;
	uint32_t held, from;
	ssize_t n;

	make_room(stream);
	held = books->end - books->start;
	from = books->end;
	announce_read(stream, stream->memory + from, LOG_RECORD_MAX - held);
	n = read(stream->fd, stream->memory + from,
		 books->wanted ? books->wanted : LOG_RECORD_MAX - held);
	FAILPOINT("monitor.output.taken");
	note_read(stream, n > 0 ? (uint32_t)n : 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		/* A terminal without a slave says EIO. */
		stream_let_go(stream, log, true);
		fd_close(&stream->fd);
		return -1;
	}
	attachment_output(attachment, stream->attach_kind, stream->memory + from, (size_t)n);
	log_lines(stream, log, from);
	return 1;
}

void stream_resume(struct stream *stream, struct log *log)
{
	struct stream_books *books = &stream->books;
	uint32_t compared = books->wanted < sizeof(stream->mark) ? books->wanted
								 : sizeof(stream->mark);
	bool done = false;

	if (books->wanted && stream->fd >= 0)
		done = bytes_there(stream->fd) < books->available ||
		       memcmp(stream->memory + books->end, &stream->mark, compared) != 0;
	note_read(stream, done ? books->wanted : 0);
	log_lines(stream, log, books->start);
}

void stream_let_go(struct stream *stream, struct log *log, bool ended)
{
	struct stream_books *books = &stream->books;
	struct timespec now;

	if (!stream_holds(stream))
		return;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	log_record(log, stream->name, ended, &now, stream->memory + books->start,
		   books->end - books->start);
	books->start = books->end;
}
