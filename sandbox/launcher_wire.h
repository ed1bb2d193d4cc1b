/*
 * What berth-sandboxd says to its launcher (sandbox/launcher.h): one packet each, of a kind, a structure and
 * what that points to, with its descriptors beside it. Both ends are of one build, started by one
 * another, and trust each other: numbers are in the host's order, and structures go as they are.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"
#include "sandbox/hierarchy.h"
#include "sandbox/launch.h"

#define LAUNCHER_BYTES_MAX 65536u
#define LAUNCHER_FDS_MAX   128 /* 64 mounts and a dozen others */

/* The first packet, once. */
struct launcher_host {
	struct hierarchy hierarchy;
	int monitors_fd;     /* -1 in legacy */
	bool device_filters; /* whether this kernel has them */
};

struct launcher_packet {
	size_t length;
	size_t fd_count;
	int fds[LAUNCHER_FDS_MAX];
	char bytes[LAUNCHER_BYTES_MAX];
};

/* To each struct launch_spec, the monitor's: */
struct launcher_answer {
	int32_t errnum; /* why there is no monitor; 0 */
	int32_t pid;    /* of the monitor, a child of the asker */
};

/*
 * Fill in @packet; its descriptors stay the caller's. -E2BIG: it does not fit. A launch's monitor is to have
 * @control_fd, and its filter is compiled.
 */
int launcher_pack_host(const struct launcher_host *host, struct launcher_packet *packet);
int launcher_pack_launch(const struct launch_spec *spec, int control_fd,
			 struct launcher_packet *packet);

/*
 * The reverse: what comes out borrows the packet's bytes, which must stay, and its descriptors. Arrays are
 * allocated, also on failure: launcher_launch_done(). -EBADMSG, -ENOMEM. What the launcher has itself is not in it: hierarchy, device filters,
 * the descriptor of monitors, the filter (there is its image).
 */
int launcher_unpack_host(struct launcher_packet *packet, struct launcher_host *ret_host);
int launcher_unpack_launch(struct launcher_packet *packet, struct launch_spec *ret_spec,
			   int *ret_control_fd);

/* Free the arrays of launcher_unpack_launch(). */
void launcher_launch_done(struct launch_spec *spec);

/* One packet: 0, -errno; and 1, or 0 at the end. The descriptors that came are the caller's, close-on-exec. */
int launcher_send(int fd, const struct launcher_packet *packet);
int launcher_receive(int fd, struct launcher_packet *packet);
