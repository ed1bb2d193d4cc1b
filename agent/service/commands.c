/*
 * Commands: the engine answers, now or later; until then a caller that goes away takes its waiter with
 * it, and the command goes on.
 */
#include "agent/service/handlers.h"
#include "agent/service/roles.h"
#include "agent/service/status.h"

#define REPLY_BYTES (4U << 20)

struct command {
	struct engine_waiter waiter; /* first, so that `done` finds the command */
	struct grpc_call *call;
	struct service *service;
	/* Build the reply to a success in @arena; NULL: not enough memory. */
	ProtobufCMessage *(*reply)(struct command *command, const struct engine_answer *answer);
	Berth__V1__ReconcileResponse *reconciled;
	char scheduler[PEER_NAME_MAX];
	struct arena arena;
};

static void command_free(struct command *command)
{
	arena_done(&command->arena);
	free(command);
}

static void on_done(struct engine_waiter *waiter, const struct engine_answer *answer)
{
	struct command *command = waiter->userdata;
	ProtobufCMessage *reply = NULL;

	if (answer->r < 0) {
		status_fail(command->call, answer->err, answer->fault);
	} else {
		reply = command->reply(command, answer);
		if (reply)
			(void)grpc_call_reply(command->call, reply); /* the server logs it */
		else
			grpc_call_fail(command->call, GRPC_RESOURCE_EXHAUSTED,
				       "the command was carried out, but its answer is too large",
				       NULL);
	}
	command_free(command);
}

static void on_cancel(struct grpc_call *call, enum grpc_cancel why, void *user)
{
	struct command *command = user;

	engine_waiter_cancel(&command->waiter);
	grpc_call_fail(call, GRPC_CANCELLED, "the caller went away", NULL);
	command_free(command);
}

static const struct grpc_call_events command_events = { .on_cancel = on_cancel };

/* The waiter of a new command, or NULL with the call ended. */
static struct command *command_begin(struct grpc_call *call, struct service *service,
				     ProtobufCMessage *(*reply)(struct command *,
								const struct engine_answer *))
{
	struct command *command = calloc(1, sizeof(*command));

	if (!command) {
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "out of memory", NULL);
		return NULL;
	}
	command->waiter.done = on_done;
	command->waiter.userdata = command;
	command->waiter.scheduler = peer_name(grpc_call_peer(call), command->scheduler);
	command->call = call;
	command->service = service;
	command->reply = reply;
	arena_init(&command->arena, REPLY_BYTES);
	grpc_call_set_events(call, &command_events, command);
	return command;
}

static Berth__V1__WorkloadStatus *fill_status(struct command *command,
					      const struct engine_answer *answer)
{
	Berth__V1__WorkloadStatus *status = arena_message(&command->arena,
							  &berth__v1__workload_status__descriptor);

	if (!status || engine_fill_status(answer->workload, &command->arena, status) < 0)
		return NULL;
	return status;
}

/* The replies whose one field is the workload's status. */
#define STATUS_REPLY(name, Type)                                                        \
	static ProtobufCMessage *reply_##name(struct command *command,                  \
					      const struct engine_answer *answer)       \
	{                                                                               \
		Type *reply = arena_message(&command->arena,                            \
					    &berth__v1__##name##_response__descriptor); \
                                                                                        \
		if (!reply || !(reply->status = fill_status(command, answer)))          \
			return NULL;                                                    \
		return &reply->base;                                                    \
	}

STATUS_REPLY(update_resources, Berth__V1__UpdateResourcesResponse)
STATUS_REPLY(stop, Berth__V1__StopResponse)
STATUS_REPLY(delete, Berth__V1__DeleteResponse)
STATUS_REPLY(pause, Berth__V1__PauseResponse)
STATUS_REPLY(resume, Berth__V1__ResumeResponse)

static ProtobufCMessage *reply_launch(struct command *command, const struct engine_answer *answer)
{
	Berth__V1__LaunchResponse *reply = arena_message(&command->arena,
							 &berth__v1__launch_response__descriptor);

	if (!reply || !(reply->status = fill_status(command, answer)))
		return NULL;
	reply->already_applied = answer->already_applied;
	return &reply->base;
}

static ProtobufCMessage *reply_signal(struct command *command, const struct engine_answer *answer)
{
	return arena_message(&command->arena, &berth__v1__signal_response__descriptor);
}

static ProtobufCMessage *reply_reconcile(struct command *command,
					 const struct engine_answer *answer)
{
	return &command->reconciled->base;
}

static ProtobufCMessage *reply_ack_records(struct command *command,
					   const struct engine_answer *answer)
{
	Berth__V1__AckRecordsResponse *reply =
		arena_message(&command->arena, &berth__v1__ack_records_response__descriptor);

	if (reply)
		reply->records = arena_message(&command->arena,
					       &berth__v1__record_figures__descriptor);
	if (!reply || !reply->records)
		return NULL;
	engine_fill_records(command->service->engine, reply->records);
	return &reply->base;
}

static ProtobufCMessage *reply_set_schedulable(struct command *command,
					       const struct engine_answer *answer)
{
	Berth__V1__SetSchedulableResponse *reply =
		arena_message(&command->arena, &berth__v1__set_schedulable_response__descriptor);

	if (reply)
		reply->node = arena_message(&command->arena, &berth__v1__node__descriptor);
	if (!reply || !reply->node ||
	    engine_fill_node(command->service->engine, &command->arena, reply->node) < 0)
		return NULL;
	return &reply->base;
}

/* The handlers that hand their request to the engine's command of the same name. */
#define COMMAND_HANDLER(name, Type)                                                              \
	HANDLER(name)                                                                            \
	{                                                                                        \
		struct service *service = user;                                                  \
		struct command *command = command_begin(call, service, reply_##name);            \
                                                                                                 \
		if (command)                                                                     \
			engine_##name(service->engine, (const Type *)request, &command->waiter); \
	}

COMMAND_HANDLER(launch, Berth__V1__LaunchRequest)
COMMAND_HANDLER(update_resources, Berth__V1__UpdateResourcesRequest)
COMMAND_HANDLER(stop, Berth__V1__StopRequest)
COMMAND_HANDLER(delete, Berth__V1__DeleteRequest)
COMMAND_HANDLER(signal, Berth__V1__SignalRequest)
COMMAND_HANDLER(pause, Berth__V1__PauseRequest)
COMMAND_HANDLER(resume, Berth__V1__ResumeRequest)
COMMAND_HANDLER(ack_records, Berth__V1__AckRecordsRequest)
COMMAND_HANDLER(set_schedulable, Berth__V1__SetSchedulableRequest)

HANDLER(reconcile)
{
	struct service *service = user;
	struct command *command = command_begin(call, service, reply_reconcile);

	if (!command)
		return;
	command->reconciled = arena_message(&command->arena,
					    &berth__v1__reconcile_response__descriptor);
	engine_reconcile(service->engine, (const Berth__V1__ReconcileRequest *)request,
			 &command->arena, command->reconciled, &command->waiter);
}
