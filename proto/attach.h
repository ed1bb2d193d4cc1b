/*
 * Attach: the socket over which berthd reaches the streams of a container's first process. Its other end
 * is the monitor's. SOCK_SEQPACKET; each packet is one byte of enum attach_kind and then the payload.
 *
 * The monitor writes without waiting while the peer keeps up. A peer that is slower holds the workload's
 * output back for ATTACH_STALL_MS at most, then it is detached.
 */
#pragma once

#define ATTACH_PACKET_MAX (64 * 1024)
#define ATTACH_STALL_MS   10000

enum attach_kind {
	ATTACH_STDIN = 0,        /* to the monitor: bytes for the process */
	ATTACH_STDIN_CLOSED = 1, /* to the monitor: no more of them */
	ATTACH_RESIZE = 2,       /* to the monitor: struct winsize's rows and columns, 2 x uint16 */
	ATTACH_STDOUT = 3,       /* from the monitor; all output of a terminal */
	ATTACH_STDERR = 4,       /* from the monitor */
};
