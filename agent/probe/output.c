#include "agent/probe/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "proto/cleanup.h"

#define STREAMS        2
#define READS_PER_TURN 4
/* A program that writes more is not listened to any more. */
#define TOTAL_MAX (1U << 20)

struct probe_output;

struct output_stream {
	struct probe_output *output;
	int fd;
	sd_event_source *source;
};

struct probe_output {
	struct output_stream streams[STREAMS];
	size_t total;
	size_t n;
	uint8_t tail[PROBE_OUTPUT_MAX];
};

static void close_stream(struct output_stream *stream)
{
	stream->source = sd_event_source_disable_unref(stream->source);
	fd_close(&stream->fd);
}

static void keep(struct probe_output *output, const uint8_t *bytes, size_t n)
{
	size_t over;

	output->total += n;
	if (n > PROBE_OUTPUT_MAX) {
		bytes += n - PROBE_OUTPUT_MAX;
		n = PROBE_OUTPUT_MAX;
	}
	over = output->n + n > PROBE_OUTPUT_MAX ? output->n + n - PROBE_OUTPUT_MAX : 0;
	memmove(output->tail, output->tail + over, output->n - over);
	memcpy(output->tail + output->n - over, bytes, n);
	output->n += n - over;
}

static void read_some(struct output_stream *stream)
{
	uint8_t bytes[4096];

	for (int i = 0; i < READS_PER_TURN; i++) {
		ssize_t n = read(stream->fd, bytes, sizeof(bytes));

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n > 0)
			keep(stream->output, bytes, (size_t)n);
		if (n <= 0 || stream->output->total >= TOTAL_MAX) {
			close_stream(stream);
			return;
		}
	}
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	read_some(userdata);
	return 0;
}

struct probe_output *probe_output_new(sd_event *event, int *fds, size_t n_fds)
{
	struct probe_output *output = calloc(1, sizeof(*output));

	for (size_t i = 0; i < STREAMS && output; i++) {
		struct output_stream *stream = &output->streams[i];

		stream->output = output;
		stream->fd = i < n_fds ? take_fd(&fds[i]) : -1;
		/* Where it cannot be watched its pipe fills, and the rest is for the end. */
		if (stream->fd >= 0 && event)
			(void)sd_event_add_io(event, &stream->source, stream->fd, EPOLLIN,
					      on_readable, stream);
	}
	for (size_t i = 0; i < n_fds; i++)
		fd_close(&fds[i]);
	return output;
}

size_t probe_output_end(struct probe_output *output, uint8_t ret[static PROBE_OUTPUT_MAX])
{
	size_t n;

	if (!output)
		return 0;
	for (size_t i = 0; i < STREAMS; i++) {
		if (output->streams[i].fd >= 0)
			read_some(&output->streams[i]);
		close_stream(&output->streams[i]);
	}
	n = output->n;
	memcpy(ret, output->tail, n);
	free(output);
	return n;
}
