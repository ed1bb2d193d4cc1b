/*
 * What an attached client sends to a monitor. The first byte of the input says what the container has;
 * then packets, each after a byte with its length. A client is hostile: berthd is, to everything of the
 * sandbox.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/monitor/attachment.h"

static struct attachment attachment;

static void feed(int client_fd, const uint8_t *data, size_t size)
{
	while (size > 0) {
		size_t length = data[0] < size ? data[0] : size - 1;

		data++;
		size--;
		if (send(client_fd, data, length, MSG_NOSIGNAL) < 0)
			return;
		data += length;
		size -= length;
		attachment_ready(&attachment, POLLIN);
		attachment_input_ready(&attachment, POLLOUT);
		if (attachment.input_length > sizeof(attachment.input) - attachment.input_at ||
		    attachment.output_length > sizeof(attachment.output))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_fd int client_fd = -1;
	cleanup_fd int input_fd = -1;
	int pair[2];
	int pipe_fds[2];

	if (size == 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return 0;
	client_fd = pair[0];
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0) {
		input_fd = pipe_fds[1];
		if (data[0] & 2)
			(void)close(pipe_fds[0]); /* a program that does not read any more */
	}
	(void)signal(SIGPIPE, SIG_IGN); /* as the monitor has it, from the daemon */
	attachment = (struct attachment){ 0 };
	attachment_init(&attachment, &input_fd, data[0] & 1);
	attachment_output(&attachment, ATTACH_STDOUT, "early", 5);
	attachment_begin(&attachment, pair[1]);
	feed(client_fd, data + 1, size - 1);
	attachment_end(&attachment);
	if (!(data[0] & 2) && pipe_fds[0] >= 0)
		(void)close(pipe_fds[0]);
	return 0;
}
