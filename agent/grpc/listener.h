/* A socket that is listened on, with the TLS files for those who come by it. */
#pragma once

#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "agent/grpc/server_private.h"
#include "agent/grpc/tls.h"

struct listener {
	LIST_ENTRY(listener) entry;
	struct grpc_server *server;
	int fd;
	char *path; /* to remove at the end, or NULL */
	struct grpc_tls *tls;
	struct grpc_tls_files files; /* own copies */
	sd_event_source *io;
	sd_event_source *retry; /* while out of descriptors */
};

/* Leave those who come in the backlog, or accept them. */
void listener_hold(struct listener *listener, bool hold);
/* Read the listener's files again; on failure it keeps what it has. */
int listener_reload_tls(struct listener *listener, struct err *err);
