/*
 * The terminal's end of Exec and Attach: raw mode, input, window size, output, and the program's exit.
 */
#pragma once

#include "agent/cli/cli.h"

struct session_options {
	bool is_attach;
	bool send_stdin;               /* pass standard input on */
	bool tty;                      /* put our terminal into raw mode and tell its size */
	bool may_be_over;              /* a program that does not run any more is no failure */
	const ProtobufCMessage *first; /* ExecRequest or AttachRequest with `start` */
};

enum session_end {
	SESSION_LEFT,  /* the connection ended; the program may go on */
	SESSION_ENDED, /* the program did, while we were connected */
	SESSION_OVER,  /* it did not run any more: with may_be_over only */
};

/* Returns the program's exit code (128 + n for signal n), or that of a failure, which has been said. */
int session_run(struct cli *cli, const struct session_options *options, enum session_end *ret_end);

/* The size of our terminal; false where there is none. */
bool session_terminal_size(Berth__V1__TerminalSize *ret);

/* An exit record as an exit code. */
int session_exit_code(const Berth__V1__ExitRecord *record);
