/*
 * What the verbs of berthctl share: the connection, how a call's failure is said, exit codes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "agent/grpc/client.h"
#include "berth/v1/node_agent.pb-c.h"
#include "proto/arena.h"
#include "proto/cleanup.h"
#include "proto/err.h"

/* The exit codes of berthctl. `run` and `exec` end with the code of the program they ran: then 128 + n
 * stands for signal n, and failures of berthctl itself are these all the same. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,        /* anything that has no code of its own */
	CLI_USAGE = 2,         /* berthctl was called wrongly */
	CLI_NOT_FOUND = 3,     /* NOT_FOUND */
	CLI_INVALID = 4,       /* INVALID_ARGUMENT */
	CLI_DENIED = 5,        /* PERMISSION_DENIED, UNAUTHENTICATED */
	CLI_UNAVAILABLE = 6,   /* UNAVAILABLE, DEADLINE_EXCEEDED: the agent, or the host draining */
	CLI_EXHAUSTED = 7,     /* RESOURCE_EXHAUSTED */
	CLI_CONFLICT = 8,      /* FAILED_PRECONDITION, ALREADY_EXISTS, ABORTED, OUT_OF_RANGE */
	CLI_NOT_STARTED = 125, /* run: the program could not be started */
};

struct cli {
	const char *address;
	const char *certificate, *key, *ca, *server_name;
	bool json;
	bool quiet;
	bool raw; /* control characters as they are */
	uint64_t timeout_us;
	bool has_epoch;
	uint64_t epoch;
	sd_event *event;
	struct grpc_tls *tls;
	struct grpc_client *client;
};

/* Make @cli's event loop and client, once; the calls below do it by themselves. Returns CLI_OK, or another after
 * saying what is wrong. */
int cli_connect(struct cli *cli);
void cli_close(struct cli *cli);

/*
 * One unary call of berth.v1.NodeAgent. CLI_OK: *ret_reply holds the answer, to end with
 * grpc_reply_done(). Otherwise the failure has been said on stderr, details and all.
 */
int cli_call(struct cli *cli, const char *method, const ProtobufCMessage *request,
	     const ProtobufCMessageDescriptor *response, struct grpc_reply *ret_reply);

/* The same, but a failure is not said: *ret_reply is to be ended with grpc_reply_done() in any case but
 * CLI_FAILED, and cli_say_outcome() says it. */
int cli_try(struct cli *cli, const char *method, const ProtobufCMessage *request,
	    const ProtobufCMessageDescriptor *response, struct grpc_reply *ret_reply);

/*
 * One call that answers with a stream: @on_message for each, valid during it; it returns false to end
 * the call. ^C ends it too. Returns CLI_OK at the end, or says the failure.
 */
int cli_stream(struct cli *cli, const char *method, const ProtobufCMessage *request,
	       const ProtobufCMessageDescriptor *response,
	       bool (*on_message)(const ProtobufCMessage *message, void *userdata), void *userdata);

/*
 * The same for a reader that follows: where the agent goes away under it, which a restart does, it says so,
 * calls @resume, which makes the request go on where @on_message came to, and calls again, for a minute.
 * @resume may be NULL.
 */
int cli_follow(struct cli *cli, const char *method, const ProtobufCMessage *request,
	       const ProtobufCMessageDescriptor *response,
	       bool (*on_message)(const ProtobufCMessage *message, void *userdata),
	       void (*resume)(void *userdata), void *userdata);

/* Say how a call ended that did not end well, and return its exit code. */
int cli_say_outcome(const char *method, const struct grpc_outcome *outcome);
/* Whether its ErrorInfo has @reason. */
bool cli_outcome_has_reason(const struct grpc_outcome *outcome, const char *reason);

/* The fence for a command on @id: the node's highest epoch (or --epoch) and the workload's generation.
 * @id NULL: for a command on the node. */
int cli_fence(struct cli *cli, const char *id, Berth__V1__Fence *ret);

/* "berthctl: <sentence>" on stderr; returns @code. */
int cli_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for a struct err, with CLI_USAGE. */
int cli_fail_usage(const struct err *err, const char *what);

/* @message as JSON on stdout, one line or (pretty) several. Returns an exit code. */
int cli_print_json(const ProtobufCMessage *message, bool pretty);

/* Read the JSON file @path ("-": stdin) as a message of @descriptor into @arena; NULL after saying why
 * not. */
void *cli_read_json(const char *path, const ProtobufCMessageDescriptor *descriptor,
		    struct arena *arena);
