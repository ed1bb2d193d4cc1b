/* What a monitor says to berth-sandboxd, should it be another release or have been broken into. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/cleanup.h"
#include "sandbox/monitor_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_fd int sender_fd = -1, receiver_fd = -1;
	struct monitor_message message;
	int fds[MONITOR_FDS_MAX], pair[2];
	size_t fd_count = 0;

	if (size == 0 || size > 32768)
		return 0;
	assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	sender_fd = pair[0];
	receiver_fd = pair[1];
	assert(send(sender_fd, data, size, MSG_NOSIGNAL) == (ssize_t)size);
	if (monitor_receive(receiver_fd, &message, fds, &fd_count) <= 0)
		return 0;
	assert(fd_count == 0);
	if (message.header.kind == MONITOR_STARTED) {
		assert(message.started.fd_count <= MONITOR_FDS_MAX);
		assert(message.started.step_count <= MONITOR_STEPS_MAX);
	}
	if (message.header.kind == MONITOR_START_FAILED) {
		assert(memchr(message.failed.step, '\0', sizeof(message.failed.step)));
		assert(memchr(message.failed.err.text, '\0', sizeof(message.failed.err.text)));
	}
	if (message.header.kind == MONITOR_DENIED)
		assert(memchr(message.denied.program, '\0', sizeof(message.denied.program)));
	return 0;
}
