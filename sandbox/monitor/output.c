#include "sandbox/monitor/output.h"

#include <sys/ioctl.h>

#include "proto/attach.h"
#include "proto/failpoint.h"

static void keep_books(void *keeper)
{
	struct output *output = keeper;
	struct estate_books books = { .log = output->log.books };

	for (size_t i = 0; i < ESTATE_STREAMS; i++)
		books.streams[i] = output->streams[i].books;
	estate_keep(output->estate, &books);
}

void output_init(struct output *output, struct estate *estate, int log_dir_fd,
		 uint64_t max_file_bytes, uint32_t max_files, const int fds[static ESTATE_STREAMS])
{
	static const struct {
		const char *name;
		uint8_t kind;
	} kinds[ESTATE_STREAMS] = { { "stdout", ATTACH_STDOUT },
				    { "stderr", ATTACH_STDERR },
				    { "stdout", ATTACH_STDOUT } };

	output->estate = estate;
	log_init(&output->log, log_dir_fd, max_file_bytes, max_files, &estate->log);
	output->log.keep = keep_books;
	output->log.keeper = output;
	for (size_t i = 0; i < ESTATE_STREAMS; i++)
		output->streams[i] = (struct stream){
			.fd = fds[i],
			.name = kinds[i].name,
			.attach_kind = kinds[i].kind,
			.mark = estate->mark,
			.memory = estate->lines[i],
			.keep = keep_books,
			.keeper = output,
		};
}

void output_resume(struct output *output)
{
	const struct estate_books *books = estate_books(output->estate);

	output->log.books = books->log;
	for (size_t i = 0; i < ESTATE_STREAMS; i++)
		output->streams[i].books = books->streams[i];
	log_resume(&output->log);
	for (size_t i = 0; i < ESTATE_STREAMS; i++)
		stream_resume(&output->streams[i], &output->log);
	output_flush(output);
}

bool output_take(struct output *output, int index)
{
	struct stream *stream = &output->streams[index];

	return stream->fd >= 0 && attachment_has_room(&output->attachment) &&
	       stream_read(stream, &output->log, &output->attachment) != 0;
}

void output_flush(struct output *output)
{
	FAILPOINT("monitor.log.flush");
	log_flush(&output->log);
	output->held_part = false;
	for (size_t i = 0; i < ESTATE_STREAMS; i++)
		output->held_part |= stream_holds(&output->streams[i]);
}

void output_let_go(struct output *output)
{
	for (size_t i = 0; i < ESTATE_STREAMS; i++)
		stream_let_go(&output->streams[i], &output->log, false);
	output_flush(output);
}

static uint64_t bytes_in(int fd)
{
	int bytes = 0;

	return fd >= 0 && ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0 ? (uint64_t)bytes : 0;
}

static void drain_stream(struct output *output, struct stream *stream)
{
	uint64_t end = stream->books.taken_bytes + bytes_in(stream->fd);

	while (stream->fd >= 0 && stream->books.taken_bytes < end) {
		if (!attachment_has_room(&output->attachment))
			attachment_end(&output->attachment);
		if (stream_read(stream, &output->log, &output->attachment) != 1)
			break;
	}
	stream_let_go(stream, &output->log, true);
}

void output_drain(struct output *output)
{
	for (size_t i = 0; i < ESTATE_STREAMS; i++)
		drain_stream(output, &output->streams[i]);
	output_flush(output);
}
