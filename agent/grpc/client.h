/*
 * A gRPC client: one connection, on an sd-event loop, for berthctl and for tests.
 *
 * The connection is made when the first call needs it, and again when a call comes after it was lost or
 * after the server said GOAWAY (calls in flight finish on the old one). Nothing is retried behind the
 * caller's back, except a call that the server provably has not seen, once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "agent/grpc/code.h"
#include "agent/grpc/tls.h"
#include "proto/err.h"

struct grpc_client;
struct grpc_client_call;

struct grpc_client_options {
	const char *target;   /* "unix:///run/berth/berth.sock", "host:7443", "[::1]:7443" */
	struct grpc_tls *tls; /* required for TCP, refused for unix sockets; a reference is taken */
	const char *server_name; /* that the certificate must carry; NULL: the host of @target */
	uint64_t connect_timeout_usec; /* 0: 5 s */
	size_t max_receive_bytes;      /* one message; 0: 16 MiB */
	size_t max_decoded_bytes;      /* memory for one decoded message; 0: 64 MiB */
	/* A connection that has received more is ended; 0: never. For servers that nobody trusts. */
	uint64_t max_connection_bytes;
	/* NULL, or the one socket to use: no connection is made after it. Without TLS, whatever the
	 * address; @target is for sentences and :authority alone then. */
	const struct grpc_client_socket *socket;
};

struct grpc_client_socket {
	int fd; /* a stream socket, non-blocking, not connected; the client's from grpc_client_new() on,
		 * also when that fails */
	const struct sockaddr *address; /* to connect to; valid until the first call was begun */
	socklen_t address_bytes;
};

/* How a call ended. Strings and bytes are valid where they are handed over, or as long as their owner. */
struct grpc_outcome {
	enum grpc_code code;
	const char *
		message; /* never NULL; the server's sentence, or ours if it could not be reached */
	const uint8_t *
		details; /* grpc-status-details-bin decoded from base64, for grpc_details_decode() */
	size_t n_details;
	bool from_server; /* false: the code is this end's conclusion */
};

struct grpc_client_events {
	/* The next message of the answer; valid during the callback only. */
	void (*on_message)(struct grpc_client_call *call, const ProtobufCMessage *message,
			   void *user);
	/* A message can be sent without queueing; only for calls opened with grpc_client_open(). */
	void (*on_writable)(struct grpc_client_call *call, void *user);
	/* The last thing that happens to a call. @call is dead after it returns. Never called from within the
	 * function that started the call. */
	void (*on_end)(struct grpc_client_call *call, const struct grpc_outcome *outcome,
		       void *user);
};

int grpc_client_new(sd_event *event, const struct grpc_client_options *options,
		    struct grpc_client **ret_client, struct err *err);
/* Ends every call first, with CANCELLED. Not from a callback of one of them. NULL is fine. */
void grpc_client_free(struct grpc_client *client);

/*
 * Open a call of any kind: @path is "/package.Service/Method", @response the descriptor of its answers,
 * @timeout_usec from now (0: no deadline; it is sent to the server and enforced here too). @events
 * outlives the call. *ret_call is valid until on_end.
 */
int grpc_client_open(struct grpc_client *client, const char *path,
		     const ProtobufCMessageDescriptor *response, uint64_t timeout_usec,
		     const struct grpc_client_events *events, void *user,
		     struct grpc_client_call **ret_call, struct err *err);
/* grpc_client_open(), one message, no more: unary and server-stream calls. @ret_call may be NULL. */
int grpc_client_start(struct grpc_client *client, const char *path, const ProtobufCMessage *request,
		      const ProtobufCMessageDescriptor *response, uint64_t timeout_usec,
		      const struct grpc_client_events *events, void *user,
		      struct grpc_client_call **ret_call, struct err *err);

/* 0, -EAGAIN while 64 KiB are queued (on_writable follows), -EPIPE after half-close, -ENOMEM. */
int grpc_client_send(struct grpc_client_call *call, const ProtobufCMessage *message);
void grpc_client_half_close(struct grpc_client_call *call);
/* on_end follows, from the loop, with CANCELLED (unless it ended otherwise already). */
void grpc_client_cancel(struct grpc_client_call *call);
/* Stop, and go on, reading: an answer that the caller cannot store stays at the server. */
void grpc_client_pause(struct grpc_client_call *call);
void grpc_client_resume(struct grpc_client_call *call);

/* --- waiting for one answer --- */

struct grpc_reply {
	struct grpc_outcome outcome;
	const ProtobufCMessage *message; /* NULL unless outcome.code is GRPC_OK */
	void *owner;                     /* of all that the above point to */
};

/*
 * One unary call; runs the client's loop until it has ended. Not to be called from a callback of that loop.
 * Returns 0 if there is an outcome, whatever its code (then *ret_reply is to be ended with
 * grpc_reply_done()), or a negative errno with @err if the loop or the memory failed.
 */
int grpc_client_unary(struct grpc_client *client, const char *path, const ProtobufCMessage *request,
		      const ProtobufCMessageDescriptor *response, uint64_t timeout_usec,
		      struct grpc_reply *ret_reply, struct err *err);
void grpc_reply_done(struct grpc_reply *reply);
