/*
 * A gRPC server on one sd-event loop: unix sockets, and TCP with client certificates. Everything a peer
 * can make it hold or do has a limit, and the limits are in struct grpc_server_options.
 *
 * Clients on unix sockets: `unix:///path` in Go, python, C++ and node send the authority "localhost". A
 * client with a custom dialer that sends the socket's path as :authority is refused with PROTOCOL_ERROR on
 * every call; have it set the authority (grpc.WithAuthority("localhost") in Go). Compressed requests are
 * answered with UNIMPLEMENTED and `grpc-accept-encoding: identity`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "agent/grpc/call.h"
#include "agent/grpc/method.h"
#include "agent/grpc/tls.h"
#include "proto/err.h"

struct grpc_server;

/* What a call came to: for the access log and for counters. @usec is from its header block to its end. */
struct grpc_call_end {
	enum grpc_code code;
	uint64_t usec;
	bool handled; /* false: refused before a handler saw it */
};

struct grpc_server_options {
	/* sizes */
	size_t max_receive_bytes;    /* one message; 4 MiB */
	size_t max_send_bytes;       /* one message; 16 MiB */
	size_t max_decoded_bytes;    /* memory for one decoded message; 16 MiB */
	size_t receive_budget_bytes; /* half-received messages of all peers together; 64 MiB */
	size_t decode_budget_bytes;  /* decoded requests of calls in progress; 128 MiB */
	size_t send_budget_bytes;    /* answers that wait for peers to read them; 128 MiB */
	size_t max_header_bytes;     /* of one call, as HTTP/2 counts them; 16 KiB */

	/* counts */
	unsigned max_connections;             /* 1024 */
	unsigned max_connections_per_uid;     /* unix sockets; 256; root is not exempt */
	unsigned max_connections_per_address; /* TCP (IPv6: per /64); 256 */
	unsigned max_streams;                 /* concurrent, per connection, as advertised; 256 */
	unsigned max_calls_per_connection;    /* not ended by their handlers; 2 * max_streams */
	unsigned max_calls;                   /* all together; 4096 */

	/* times */
	uint64_t handshake_usec; /* TLS, preface, SETTINGS; 5 s */
	uint64_t header_usec;    /* one header block; 5 s */
	uint64_t
		body_usec; /* request of a unary or server-stream call that has no deadline; 30 s */
	uint64_t idle_usec;              /* connection without a call; 30 min */
	uint64_t stall_usec;             /* peer that takes no bytes while we have some; 30 s */
	uint64_t keepalive_usec;         /* quiet before we PING; 60 s */
	uint64_t keepalive_timeout_usec; /* for its answer; 20 s */

	/*
	 * May this peer call this method? Asked once the headers are in, before the request is read:
	 * grpc_call_peer(), grpc_call_method() and grpc_call_metadata() work. A negative errno refuses:
	 * the call fails with PERMISSION_DENIED (UNAUTHENTICATED if err->kind is ERR_INVALID) and err->text.
	 * NULL permits everybody who could connect.
	 */
	int (*authorise)(struct grpc_call *call, void *user, struct err *err);
	/* A call is over: answered, refused or given up. May be NULL. */
	void (*on_call_end)(struct grpc_call *call, const struct grpc_call_end *end, void *user);
	/* @priority as in syslog(3). NULL: to standard error in sd-daemon(3)'s form. */
	void (*log)(int priority, const char *text, void *user);
	void *user; /* for the three above */
};

struct grpc_server_stats {
	unsigned connections; /* now */
	unsigned calls;       /* now: not ended by their handlers */
	uint64_t connections_accepted;
	uint64_t connections_refused; /* over a limit, or a failed handshake */
	uint64_t connections_abusive; /* ended by one of the limits on floods and slowness */
	uint64_t calls_started;
	uint64_t calls_refused;           /* by a limit or by authorise */
	uint64_t calls_ended[GRPC_CODES]; /* by status code */
	uint64_t received_bytes;          /* on the wire below TLS's payload */
	uint64_t sent_bytes;
	size_t receive_buffered_bytes; /* now: half-received messages */
};

/* @options: 0 in a field (or NULL for all) means the default named beside it. The struct is copied. */
int grpc_server_new(sd_event *event, const struct grpc_server_options *options,
		    struct grpc_server **ret_server, struct err *err);
/* Close everything at once. Calls that handlers still hold see on_cancel(LOST) first; handlers may end
 * them later still. NULL is fine. */
void grpc_server_free(struct grpc_server *server);

/*
 * Serve the @n methods of @table (which outlives the server), with @user for their handlers. May be
 * called for several tables, in any order, before or after listening.
 *
 * Fails with ERR_EXISTS for a path that is served already, ERR_INVALID for a row that is not complete.
 */
int grpc_server_add_methods(struct grpc_server *server, const struct grpc_method *table, size_t n,
			    void *user, struct err *err);

/* --- listening --- */

/* Bind @path with @mode and group @gid ((gid_t)-1: leave it). A socket file that nobody listens on any
 * more is replaced; anything else in its place is ERR_EXISTS. The file is removed when we stop listening. */
int grpc_server_listen_unix(struct grpc_server *server, const char *path, mode_t mode, gid_t gid,
			    struct err *err);
/* @address is "192.0.2.1:7443", "[::]:7443" or "localhost:0"; *ret_port (may be NULL) is what the kernel
 * chose. There is no TCP without TLS. The files are kept by name for grpc_server_reload_tls(). */
int grpc_server_listen_tcp(struct grpc_server *server, const char *address,
			   const struct grpc_tls_files *files, uint16_t *ret_port, struct err *err);
/* Whether @address has that form; names are not looked up. */
bool grpc_server_is_address(const char *address);
/* Take a bound and listening @fd, say from systemd: from here on it is the server's, on failure as well.
 * @files is required for TCP and refused for unix sockets. Its path, if it has one, is never removed. */
int grpc_server_listen_fd(struct grpc_server *server, int fd, const struct grpc_tls_files *files,
			  struct err *err);

/* Accept nobody for now (they wait in the sockets' backlogs), or go on. */
void grpc_server_hold(struct grpc_server *server, bool hold);

/* Read all TLS files again, for connections to come; those that exist go on as they are. If one listener's
 * files are bad it keeps its old ones, the others are renewed, and the failure is returned. */
int grpc_server_reload_tls(struct grpc_server *server, struct err *err);

/* --- ending --- */

/*
 * Stop listening; tell every client to go elsewhere (GOAWAY); let calls in flight finish, but end
 * GRPC_METHOD_ENDLESS ones now and whatever is left after @grace_usec with UNAVAILABLE; then call
 * @on_drained once, from the loop, when the last connection is closed. Ends at most 2 s after the grace.
 * Returns 0, -EALREADY, or -ENOMEM.
 */
int grpc_server_drain(struct grpc_server *server, uint64_t grace_usec,
		      void (*on_drained)(struct grpc_server *server, void *user), void *user);
bool grpc_server_draining(const struct grpc_server *server);

/* As of now; the pointer lives as long as the server. */
const struct grpc_server_stats *grpc_server_stats(struct grpc_server *server);
