/*
 * All output of a container: its streams, its log, and the client that is attached. What is read is logged
 * exactly once, whoever dies, as long as somebody has the estate.
 */
#pragma once

#include <stdbool.h>

#include "sandbox/monitor/attachment.h"
#include "sandbox/monitor/estate.h"
#include "sandbox/monitor/log.h"
#include "sandbox/monitor/streams.h"

struct output {
	struct log log;
	struct stream streams[ESTATE_STREAMS];
	struct attachment attachment;
	struct estate *estate;
	bool held_part; /* a stream holds an unfinished line */
};

/* The log is @log_dir_fd's, the read ends @fds, stdout, stderr and the terminal's master; -1 each where there is
 * none. The attachment is the caller's to begin. */
void output_init(struct output *output, struct estate *estate, int log_dir_fd,
		 uint64_t max_file_bytes, uint32_t max_files, const int fds[static ESTATE_STREAMS]);

/* Go on where the one who left the estate was. */
void output_resume(struct output *output);

/* Read once from stream @index, if there is room for it. Returns whether anything changed. */
bool output_take(struct output *output, int index);

/* Write what is buffered. */
void output_flush(struct output *output);

/* Log unfinished lines as parts. */
void output_let_go(struct output *output);

/*
 * Whatever is left in the pipes. Their writers are gone, but for one whom somebody in the container passed
 * a descriptor: that keeps a pipe from ending, and whoever has it may write without end. So what is there
 * now is all that is taken. The client gets what it takes at once.
 */
void output_drain(struct output *output);
