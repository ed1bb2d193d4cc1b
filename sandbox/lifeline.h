/*
 * What a container needs to outlive its monitor: the descriptors that the next one (sandbox/successor.h)
 * goes on with. The daemon has them from the monitor (MONITOR_KEEP), uses none of them, and gives them to
 * systemd to keep over its own death (sandbox/descriptor_store.h). With nobody left who holds them the
 * container's next write is a SIGPIPE, its terminal hangs up, and its denied calls get ENOSYS.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "proto/page.h"
#include "sandbox/monitor_wire.h"

struct container;

struct lifeline {
	int fds[MONITOR_KEEP_COUNT]; /* -1: there is none, or it has ended */
	int attach_fd;               /* the monitor's end of the last attachment; -1 */
	bool is_stored;              /* systemd has them, and the pidfd */
	bool is_stdin_stored;
};

void lifeline_init(struct lifeline *lifeline);

/* Close what is held; what systemd keeps stays there. */
void lifeline_done(struct lifeline *lifeline);

/* MONITOR_KEEP, or the MONITOR_STREAMS of a monitor that knows no better: the descriptors become the
 * lifeline's, and take the place of those of before. */
void lifeline_take(struct container *container, const struct monitor_keep *keep, int *fds,
		   size_t n_fds);
void lifeline_take_streams(struct container *container, int *fds, size_t n_fds);

/* Keep a copy of the monitor's end of an attachment, in the place of an earlier one's. */
void lifeline_keep_attachment(struct container *container, int fd);

/*
 * After a restart of the daemon, with @page as the container's: what systemd kept, the pidfd of the first
 * process included; and of pipes that it did not keep new descriptors, from that process where it lives and
 * has them open still.
 */
void lifeline_restore(struct container *container, const struct container_page *page);

/* A sentence about what there should be and is not, in @text; false where all is there. */
bool lifeline_describe_loss(const struct container *container, char *text, size_t size);

/* The container has ended: nobody needs to keep anything. */
void lifeline_end(struct container *container);
