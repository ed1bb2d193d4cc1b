/*
 * From the engine's failures to gRPC's: the one table of kinds and codes, and the google.rpc details.
 */
#pragma once

#include "agent/grpc/call.h"
#include "agent/workload/fault.h"
#include "proto/err.h"

enum grpc_code status_code(const struct err *err, const struct engine_fault *fault);

/* End @call with the code, the sentence and the details of @err and @fault; @fault may be NULL. */
void status_fail(struct grpc_call *call, const struct err *err, const struct engine_fault *fault);
