/*
 * An attached client: the monitor's end of a socket of proto/attach.h. One at a time. It gets all output and
 * its input goes to the first process; the first one also gets what was written before it came. One packet
 * each way may be held; while one is, nothing more is taken from that side.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/attach.h"
#include "sandbox/monitor/backlog.h"
#include "sandbox/monitor/log.h"

struct attachment {
	int fd;        /* -1: nobody is attached */
	int *input_fd; /* of the first process: write end or master; *-1: it takes none */
	bool terminal; /* that is a master */
	uint64_t stalled_since_ms; /* 0: not stalled */
	size_t output_length;      /* held packet, with its kind */
	size_t input_length;       /* held bytes for the process, from input_at on */
	size_t input_at;
	char output[1 + LOG_RECORD_MAX];
	char input[ATTACH_PACKET_MAX];
	struct backlog backlog;
};

/* With a terminal or an input, output is kept for the first client. */
void attachment_init(struct attachment *attachment, int *input_fd, bool terminal);

/* Take @fd; an earlier client is let go. */
void attachment_begin(struct attachment *attachment, int fd);
void attachment_end(struct attachment *attachment);

/* Whether output may be read: nothing waits for the client. */
bool attachment_has_room(const struct attachment *attachment);
void attachment_output(struct attachment *attachment, uint8_t kind, const char *data,
		       size_t length);

/* What to poll the socket and the input for. */
short attachment_events(const struct attachment *attachment);
short attachment_input_events(const struct attachment *attachment);

/* What poll(2) said of the socket; and of the input. */
void attachment_ready(struct attachment *attachment, short revents);
void attachment_input_ready(struct attachment *attachment, short revents);

/* How long poll(2) may wait for a stalled client, -1 for ever; and let it go when its time is over. */
int attachment_timeout_ms(const struct attachment *attachment);
void attachment_check_stall(struct attachment *attachment);
