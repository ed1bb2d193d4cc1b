#include "sandbox/monitor/streams.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/monitor/attachment.h"

/* Log the whole lines in the first @length bytes of stream->line; the rest moves to its start. Bytes
 * before @from hold no newline. */
static void log_lines(struct stream *stream, struct log *log, size_t from, size_t length)
{
	struct timespec now;
	char *start = stream->line, *end = stream->line + length, *look = stream->line + from;
	char *newline;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	while ((newline = memchr(look, '\n', (size_t)(end - look)))) {
		log_record(log, stream->name, true, &now, start, (size_t)(newline - start));
		start = look = newline + 1;
	}
	stream->length = (size_t)(end - start);
	if (stream->length == sizeof(stream->line)) {
		log_record(log, stream->name, false, &now, start, stream->length);
		stream->length = 0;
	}
	if (start != stream->line)
		memmove(stream->line, start, stream->length);
}

int stream_read(struct stream *stream, struct log *log, struct attachment *attachment)
{
	size_t held = stream->length;
	ssize_t n;

	n = read(stream->fd, stream->line + held, sizeof(stream->line) - held);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		/* A terminal without a slave says EIO. */
		stream_let_go(stream, log, true);
		fd_close(&stream->fd);
		return -1;
	}
	stream->taken_bytes += (uint64_t)n;
	attachment_output(attachment, stream->attach_kind, stream->line + held, (size_t)n);
	log_lines(stream, log, held, held + (size_t)n);
	return 1;
}

void stream_let_go(struct stream *stream, struct log *log, bool ended)
{
	struct timespec now;

	if (!stream->length)
		return;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	log_record(log, stream->name, ended, &now, stream->line, stream->length);
	stream->length = 0;
}
