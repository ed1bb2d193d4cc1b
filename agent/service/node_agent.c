/*
 * berth.v1.NodeAgent: the methods, and who may call them.
 */
#include "agent/service/handlers.h"
#include "agent/service/roles.h"
#include "proto/log.h"

#define ROW(method_, kind_, handler_, roles_, flags_, request_, response_)                       \
	{                                                                                        \
		.path = "/berth.v1.NodeAgent/" method_, .kind = (kind_),                         \
		.request = &berth__v1__##request_##__descriptor,                                 \
		.response = &berth__v1__##response_##__descriptor, .handler = handle_##handler_, \
		.flags = ROLES(roles_) | (flags_)                                                \
	}
#define UNARY(method, handler, roles) \
	ROW(method, GRPC_UNARY, handler, roles, 0, handler##_request, handler##_response)
#define ENDLESS(method, handler, roles)                                                         \
	ROW(method, GRPC_SERVER_STREAM, handler, roles, GRPC_METHOD_ENDLESS, handler##_request, \
	    handler##_response)
#define STREAM(method, handler, roles) \
	ROW(method, GRPC_SERVER_STREAM, handler, roles, 0, handler##_request, handler##_response)
#define BIDI(method, handler, roles)                                                   \
	ROW(method, GRPC_BIDI, handler, roles, GRPC_METHOD_ENDLESS, handler##_request, \
	    handler##_response)

/* clang-format off */
static const struct grpc_method methods[] = {
	/*	method			handler			roles */
	UNARY(	"GetNode",		get_node,		ROLES_ALL),
	UNARY(	"Launch",		launch,			ROLES_COMMAND),
	UNARY(	"UpdateResources",	update_resources,	ROLES_COMMAND),
	UNARY(	"Stop",			stop,			ROLES_COMMAND),
	UNARY(	"Delete",		delete,			ROLES_COMMAND),
	UNARY(	"Get",			get,			ROLES_ALL),
	UNARY(	"List",			list,			ROLES_ALL),
	UNARY(	"Reconcile",		reconcile,		ROLES_COMMAND),
	UNARY(	"Signal",		signal,			ROLES_COMMAND),
	UNARY(	"Pause",		pause,			ROLES_COMMAND),
	UNARY(	"Resume",		resume,			ROLES_COMMAND),
	BIDI(	"Exec",			exec,			ROLE_OPERATOR),
	BIDI(	"Attach",		attach,			ROLE_OPERATOR),
	ENDLESS("ReadLogs",		read_logs,		ROLES_COMMAND),
	ENDLESS("WatchEvents",		watch_events,		ROLES_ALL),
	UNARY(	"AckRecords",		ack_records,		ROLES_COMMAND),
	ENDLESS("StreamTelemetry",	stream_telemetry,	ROLES_ALL),
	UNARY(	"SetSchedulable",	set_schedulable,	ROLES_COMMAND),
	STREAM(	"PullImage",		pull_image,		ROLES_COMMAND),
	UNARY(	"ListImages",		list_images,		ROLES_ALL),
	UNARY(	"GetImage",		get_image,		ROLES_ALL),
	UNARY(	"RemoveImage",		remove_image,		ROLES_COMMAND),
	UNARY(	"ImageUsage",		image_usage,		ROLES_ALL),
	UNARY(	"VerifyImage",		verify_image,		ROLES_COMMAND),
	UNARY(	"CollectImages",	collect_images,		ROLES_COMMAND),
};
/* clang-format on */

const struct grpc_method *service_methods(size_t *ret_n)
{
	*ret_n = ARRAY_SIZE(methods);
	return methods;
}

int service_authorise(struct grpc_call *call, void *user, struct err *err)
{
	const struct service *service = user;
	const struct grpc_peer *peer = grpc_call_peer(call);
	unsigned int roles = roles_of_peer(service->settings, peer);
	char name[PEER_NAME_MAX];
	char text[256];
	int r = roles_permit(roles, grpc_call_method(call), err);

	if (r < 0) {
		log_event(LOG_WARNING,
			  &(struct log_about){ .request = grpc_call_id(call),
					       .peer = grpc_peer_text(peer, text, sizeof(text)) },
			  "refused: %s", err->text);
	} else if (roles) {
		grpc_call_mark(call);
		engine_call_began(service->engine, peer_name(peer, name));
	}
	return r;
}

void service_log_call(struct grpc_call *call, const struct grpc_call_end *end, void *user)
{
	const struct grpc_method *method = grpc_call_method(call);
	const struct service *service = user;
	int priority = end->code == GRPC_INTERNAL ? LOG_WARNING : LOG_DEBUG;
	char name[PEER_NAME_MAX];
	char text[256];

	if (grpc_call_is_marked(call))
		engine_call_ended(service->engine, peer_name(grpc_call_peer(call), name));
	log_event(priority,
		  &(struct log_about){
			  .request = grpc_call_id(call),
			  .peer = grpc_peer_text(grpc_call_peer(call), text, sizeof(text)) },
		  "%s ended with %s after %llu us", method ? method->path : "a call of no method",
		  grpc_code_name(end->code), (unsigned long long)end->usec);
}
