/*
 * grpc.reflection.v1 and v1alpha (the same messages): what tools such as grpcurl ask to learn the contract.
 */
#pragma once

#include "agent/grpc/descriptors.h"
#include "agent/grpc/server.h"

/* Serve both on @server, answering from @descriptors (which outlive it): services are those of the set
 * that @server serves. */
int grpc_reflection_add(struct grpc_server *server, const struct grpc_descriptors *descriptors,
			struct err *err);
