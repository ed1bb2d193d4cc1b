/*
 * The socket of berthd: one connection at a time, of a peer that the policy names, with a bounded
 * queue. A new connection ends the old one, since that is berthd restarted.
 *
 * What the peer sends is not trusted: what is no packet, comes with descriptors or is more than this
 * side is ready to hold ends the connection, and nothing else. A peer that does not read its answers is
 * first not read from, then cut off; facts stay in the registry for its next connection.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-event.h>

#include "berth/sandbox/v1/sandbox.pb-c.h"
#include "proto/cleanup.h"
#include "proto/err.h"
#include "proto/packet.h"
#include "sandbox/registry.h"

struct agent_link;

/* A packet came; descriptors that are not taken out of it are closed. Returns 0, or negative to end the
 * connection, with @err for the log. */
typedef int agent_link_func(uint64_t connection, struct packet *packet, void *userdata,
			    struct err *err);

/*
 * Serve @listen_fd, which becomes the link's. Peers of uid 0 and of @agent_uid are accepted.
 * ERR_INTERNAL without memory.
 */
int agent_link_new(sd_event *event, int listen_fd, uid_t agent_uid, agent_link_func *func,
		   void *userdata, struct agent_link **ret_link, struct err *err);
void agent_link_free(struct agent_link *link); /* accepts NULL */
DEFINE_CLEANUP(struct agent_link *, agent_link_free)

/* Bind and listen at @path, replacing what an earlier daemon left there: mode 0660, root:@gid. Returns
 * the descriptor or a negative errno with @err. */
int agent_link_listen(const char *path, gid_t gid, struct err *err);

void agent_link_set_agent_uid(struct agent_link *link, uid_t agent_uid);

/* From now on nothing is asked, and nobody new comes: for the daemon's end. The peer of now is still told. */
void agent_link_stop_asking(struct agent_link *link); /* accepts NULL */

/* Whether the peer of now has said Hello and been understood; facts are sent from then on. */
bool agent_link_is_ready(const struct agent_link *link);
void agent_link_set_ready(struct agent_link *link, bool ready);
pid_t agent_link_peer_pid(const struct agent_link *link); /* 0: nobody is connected */

/* Send @reply, whose id is filled in, to @asker, or drop it if that connection has ended. The
 * descriptors stay the caller's. */
void agent_link_reply(struct agent_link *link, struct asker asker, Berth__Sandbox__V1__Reply *reply,
		      const int *fds, size_t n_fds);
void agent_link_reply_failure(struct agent_link *link, struct asker asker, const struct err *err);

/* Send it to a peer that is ready; else drop it. */
void agent_link_fact(struct agent_link *link, Berth__Sandbox__V1__Fact *fact, const int *fds,
		     size_t n_fds);
