/*
 * Validation: every field of every command against what its comment in the contract promises. All wrong
 * fields are found at once, each with its path.
 */
#pragma once

#include <stdbool.h>

#include "agent/workload/fault.h"
#include "agent/workload/host.h"
#include "berth/v1/node_agent.pb-c.h"
#include "berth/v1/types.pb-c.h"
#include "proto/err.h"

#define MOUNTS_MAX 64 /* of a container */

/* Where in a request: paths of wrong fields begin with @prefix. */
struct check {
	struct engine_fault *fault;
	const char *prefix;
};

/* "<prefix>.<path>": @text. An empty @fmt is the prefix itself; a path that begins with '[' follows it
 * without a dot. */
void check_wrong(const struct check *check, const char *text, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The same with the sentence of @err, where @r is negative. */
void check_result(const struct check *check, int r, const struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

void validate_fence(const Berth__V1__Fence *fence, bool needs_generation,
		    struct engine_fault *fault);
void validate_id(const char *id, const char *path, struct engine_fault *fault);
/* That @message, which may be NULL, and all below it have no field that this release does not know. */
void validate_known(const ProtobufCMessage *message, const struct check *check);
/* @prefix is the spec's own path. */
void validate_spec(const Berth__V1__WorkloadSpec *spec, const char *prefix,
		   struct engine_fault *fault);
void validate_container(const Berth__V1__Container *container, const Berth__V1__WorkloadSpec *spec,
			const struct check *check);
/* NULL is fine: nothing is asked for. */
void validate_resources(const Berth__V1__Resources *resources, const struct check *check);
/* @field: where the reference is; its policy is beside it. */
void validate_image(const char *reference, Berth__V1__PullPolicy policy, const char *field,
		    const struct check *check);
void validate_identity(const Berth__V1__Identity *identity, const struct check *check);
/* The probes of @container. */
void validate_probes(const Berth__V1__Container *container, const struct check *check);
/* How an image is run: @run, of which the first @n_own mounts are the spec's. */
void validate_run(const Berth__V1__Container *run, size_t n_own, const struct check *check);
void validate_command(char *const *command, size_t n, const struct check *check);
void validate_env(Berth__V1__Container__EnvEntry *const *env, size_t n, const struct check *check);

/*
 * Whether this host can and may do what @spec, which is valid, asks. 0, or a negative errno with @err, and
 * the field in @fault:
 *   ERR_UNSUPPORTED  HOST_CANNOT: it cannot enforce it
 *   ERR_DENIED       POLICY: its policy forbids it
 */
int supported_spec(const Berth__V1__WorkloadSpec *spec, const struct host *host,
		   struct engine_fault *fault, struct err *err);
/* @check: where the fields of @resources, or of @identity, are. */
int supported_resources(const Berth__V1__Resources *resources, const char *whose,
			const struct check *check, const struct host *host, struct err *err);
int supported_capabilities(const Berth__V1__Identity *identity, const char *whose,
			   const struct check *check, const struct host *host, struct err *err);
