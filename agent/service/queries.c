/*
 * Questions: answered at once.
 */
#include "agent/service/handlers.h"
#include "agent/service/status.h"

#define REPLY_BYTES (16U << 20)

HANDLER(get_node)
{
	struct service *service = user;
	cleanup_arena struct arena arena;
	Berth__V1__GetNodeResponse reply = BERTH__V1__GET_NODE_RESPONSE__INIT;

	arena_init(&arena, REPLY_BYTES);
	reply.node = arena_message(&arena, &berth__v1__node__descriptor);
	if (!reply.node || engine_fill_node(service->engine, &arena, reply.node) < 0)
		grpc_call_fail(call, GRPC_RESOURCE_EXHAUSTED, "describe the node: out of memory",
			       NULL);
	else
		(void)grpc_call_reply(call, &reply.base); /* the server logs it */
}

HANDLER(get)
{
	struct service *service = user;
	cleanup_arena struct arena arena;
	cleanup_fault struct engine_fault fault;
	Berth__V1__GetResponse reply = BERTH__V1__GET_RESPONSE__INIT;
	struct err err = { 0 };

	arena_init(&arena, REPLY_BYTES);
	engine_fault_init(&fault);
	if (engine_get(service->engine, (const Berth__V1__GetRequest *)request, &arena, &reply,
		       &err, &fault) < 0)
		status_fail(call, &err, &fault);
	else
		(void)grpc_call_reply(call, &reply.base); /* the server logs it */
}

HANDLER(list)
{
	struct service *service = user;
	cleanup_arena struct arena arena;
	cleanup_fault struct engine_fault fault;
	Berth__V1__ListResponse reply = BERTH__V1__LIST_RESPONSE__INIT;
	struct err err = { 0 };

	arena_init(&arena, REPLY_BYTES);
	engine_fault_init(&fault);
	if (engine_list(service->engine, (const Berth__V1__ListRequest *)request, &arena, &reply,
			&err, &fault) < 0)
		status_fail(call, &err, &fault);
	else
		(void)grpc_call_reply(call, &reply.base); /* the server logs it */
}
