/*
 * The handlers of berth.v1.NodeAgent, one for each row of the method table; @user is the struct
 * service. See struct grpc_method for what they are given and what they owe.
 */
#pragma once

#include "agent/grpc/call.h"
#include "agent/service/service.h"

#define HANDLER(name) \
	void handle_##name(struct grpc_call *call, const ProtobufCMessage *request, void *user)

/* commands.c */
HANDLER(launch);
HANDLER(update_resources);
HANDLER(stop);
HANDLER(delete);
HANDLER(signal);
HANDLER(pause);
HANDLER(resume);
HANDLER(reconcile);
HANDLER(ack_records);
HANDLER(set_schedulable);
/* queries.c */
HANDLER(get_node);
HANDLER(get);
HANDLER(list);
/* images.c */
HANDLER(pull_image);
HANDLER(list_images);
HANDLER(get_image);
HANDLER(remove_image);
HANDLER(image_usage);
HANDLER(verify_image);
HANDLER(collect_images);
/* sessions.c */
HANDLER(exec);
HANDLER(attach);
/* log_stream.c, event_stream.c, telemetry_stream.c */
HANDLER(read_logs);
HANDLER(watch_events);
HANDLER(stream_telemetry);
