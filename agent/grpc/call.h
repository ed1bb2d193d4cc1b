/*
 * One call, as the handler that answers it sees it.
 *
 * The rule that keeps it simple: a handler owns the call it is given until it ends it, exactly once,
 * with grpc_call_reply(), grpc_call_fail() or grpc_call_finish(). That holds although the peer may be
 * gone: then the answer goes nowhere, and no function here does any harm. Until the handler ends it, a
 * call counts against the limits of its connection and of the server, whatever became of its stream.
 * After that the pointer is dead to the handler, unless it took a reference.
 *
 * A writer does not push, it is asked: on_writable is called when the peer's flow-control windows are
 * open and nothing is queued. It sends a message or more, or ends the call, or returns having done
 * neither, and then calls grpc_call_wake() once there is something to send. So a peer that does not
 * read costs no memory.
 *
 * Everything happens on the event loop's thread. Callbacks of a call may end the call.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>

#include "agent/grpc/code.h"
#include "agent/grpc/method.h"
#include "agent/grpc/peer.h"

struct grpc_details;

enum grpc_cancel {
	GRPC_CANCEL_PEER = 1,     /* the peer reset the stream */
	GRPC_CANCEL_DEADLINE = 2, /* its deadline passed; the peer has been told */
	GRPC_CANCEL_LOST = 3,     /* the connection is gone */
	GRPC_CANCEL_DRAIN =
		4, /* the server ends it: drain, or drain's deadline; the peer has been told */
	GRPC_CANCEL_BROKEN = 5, /* the peer broke the protocol or a limit; it has been told */
};

struct grpc_call_events {
	/* GRPC_CLIENT_STREAM, GRPC_BIDI: the next message, valid during the callback only. */
	void (*on_message)(struct grpc_call *call, const ProtobufCMessage *message, void *user);
	/* GRPC_CLIENT_STREAM, GRPC_BIDI: the peer has sent its last message. */
	void (*on_half_close)(struct grpc_call *call, void *user);
	/* GRPC_SERVER_STREAM, GRPC_BIDI: see above. First called right after the handler returns. */
	void (*on_writable)(struct grpc_call *call, void *user);
	/* Nobody waits for the answer any more. Called at most once, never after the handler ended the
	 * call. The handler stops its work and, here or later, ends the call (with any code). */
	void (*on_cancel)(struct grpc_call *call, enum grpc_cancel why, void *user);
};

/* Set (once, in the handler) the callbacks and their @user. @events outlives the call. Any callback may be
 * NULL; without on_cancel a handler notices by grpc_call_cancelled() or by grpc_call_send(). */
void grpc_call_set_events(struct grpc_call *call, const struct grpc_call_events *events,
			  void *user);
void *grpc_call_user(const struct grpc_call *call);

/* --- what is known about it --- */

uint64_t grpc_call_id(const struct grpc_call *call); /* unique within the server, for logs */
const struct grpc_method *grpc_call_method(const struct grpc_call *call);
const struct grpc_peer *grpc_call_peer(
	const struct grpc_call *call); /* lives as long as the call */
/* The request of a GRPC_UNARY or GRPC_SERVER_STREAM call; NULL before it is decoded. */
const ProtobufCMessage *grpc_call_request(const struct grpc_call *call);
/* CLOCK_BOOTTIME; UINT64_MAX without a deadline. The server enforces it; this is for passing it on. */
uint64_t grpc_call_deadline_usec(const struct grpc_call *call);
/* The first value of the request's metadata @name (lower case, not a "-bin" one), or NULL. */
const char *grpc_call_metadata(const struct grpc_call *call, const char *name);
/* Nobody waits for the answer any more. */
bool grpc_call_cancelled(const struct grpc_call *call);
/* A note of grpc_server_options.authorise for on_call_end: whether the first has seen and allowed it. */
void grpc_call_mark(struct grpc_call *call);
bool grpc_call_is_marked(const struct grpc_call *call);

/* --- ending it: exactly one of these, once --- */

/* GRPC_UNARY, GRPC_CLIENT_STREAM: answer @message (the caller's; packed before this returns) with OK.
 * A message over the send limit becomes RESOURCE_EXHAUSTED, and -EMSGSIZE is returned for the log. */
int grpc_call_reply(struct grpc_call *call, const ProtobufCMessage *message);

/* End with @code (not GRPC_OK) and the sentence @message (UTF-8, one line or more). Queued messages that
 * have not been sent are dropped: a failure overtakes them. @details may be NULL, stays the caller's. */
void grpc_call_fail(struct grpc_call *call, enum grpc_code code, const char *message,
		    const struct grpc_details *details);
/* Before grpc_call_fail() with GRPC_UNAVAILABLE: when it is worth another try, which stock clients with a retry
 * policy obey (grpc-retry-pushback-ms). */
void grpc_call_set_retry_after(struct grpc_call *call, uint32_t ms);
void grpc_call_failf(struct grpc_call *call, enum grpc_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* GRPC_SERVER_STREAM, GRPC_BIDI: end with OK, after what is queued has been sent. */
void grpc_call_finish(struct grpc_call *call);

/* --- streams --- */

/*
 * Queue @message (the caller's; packed before this returns). Keep messages of bulk data at 64 KiB or less.
 *
 * Returns 0, or
 *   -EAGAIN     64 KiB are queued already: wait for on_writable (never so for the first send in it)
 *   -ECANCELED  nobody reads any more
 *   -EMSGSIZE   over the send limit; nothing was queued
 *   -ENOMEM
 */
int grpc_call_send(struct grpc_call *call, const ProtobufCMessage *message);

/* There is something to send: have on_writable called, from the loop, as soon as the peer can take it. */
void grpc_call_wake(struct grpc_call *call);

/* Stop, and go on, reading the peer's messages: a paused stream's window closes and the peer waits. One
 * message that has already come may still be delivered if pausing from outside on_message. */
void grpc_call_pause(struct grpc_call *call);
void grpc_call_resume(struct grpc_call *call);

/* --- keeping it --- */

/* A reference keeps the memory (and the request and the peer) past the call's end, nothing else. */
struct grpc_call *grpc_call_ref(struct grpc_call *call);
void grpc_call_unref(struct grpc_call *call);
