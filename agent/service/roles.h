/*
 * Who may call what. A peer has the roles that its identity gives it; a method names the roles that may
 * call it, in its row of the method table.
 */
#pragma once

#include "agent/grpc/method.h"
#include "agent/grpc/peer.h"
#include "agent/settings.h"
#include "proto/err.h"

enum role {
	ROLE_SCHEDULER = 1u << 0,
	ROLE_OPERATOR = 1u << 1,
	ROLE_OBSERVER = 1u << 2,
};

/* Of a method, in grpc_method.flags: GRPC_METHOD_CALLERS times the set of roles. */
#define ROLES(set)        ((unsigned int)(set)*GRPC_METHOD_CALLERS)
#define ROLES_ALL         (ROLE_SCHEDULER | ROLE_OPERATOR | ROLE_OBSERVER)
#define ROLES_COMMAND     (ROLE_SCHEDULER | ROLE_OPERATOR)
#define ROLES_OF_FLAGS(f) ((f) / GRPC_METHOD_CALLERS & ROLES_ALL)

/*
 * The roles of @peer, as a set of enum role: on a unix socket root, this process's own user, and the
 * members of settings->socket_group are operators; with a certificate its names decide. 0: none.
 */
unsigned int roles_of_peer(const struct settings *settings, const struct grpc_peer *peer);

/*
 * May a peer with @roles call @method? A method that names no roles (health, reflection) is for everybody who
 * could connect. Returns 0, or -EACCES with @err: ERR_DENIED and a sentence with role and method.
 */
int roles_permit(unsigned int roles, const struct grpc_method *method, struct err *err);

/*
 * By which name a scheduler is known to come back (WorkloadSpec.stop_after_disconnect_ms): of its
 * certificate the first URI, else the first DNS name, else the common name, else (also where that is longer
 * than fits) the fingerprint; "uid:0" on a unix socket. Writes into @buffer and returns it.
 */
#define PEER_NAME_MAX 512
const char *peer_name(const struct grpc_peer *peer, char buffer[static PEER_NAME_MAX]);

/* "operator", "scheduler,observer", "no role": writes into @buffer and returns it. */
#define ROLES_TEXT_MAX 32
const char *roles_text(unsigned int roles, char buffer[static ROLES_TEXT_MAX]);
