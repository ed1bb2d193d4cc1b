/*
 * What the workloads use: sampled on a thread of its own, so that a slow read of a cgroup file never
 * holds up a call; told to readers in reports over windows of their own length.
 *
 * It learns of containers as the engine's listener, and reads what came with them: descriptors of
 * cgroup directories, and the container page. Nothing is asked of berth-sandboxd.
 */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "agent/workload/engine.h"
#include "berth/v1/node_agent.pb-c.h"
#include "proto/arena.h"
#include "proto/err.h"

struct telemetry;

struct telemetry_config {
	uint64_t sample_interval_ms; /* when no reader asks for a shorter one */
};

/*
 * Start, and become the listener of @engine (which must outlive it). Returns 0, or a negative errno
 * with @err filled in. The thread inherits the confinement of the caller only if that comes first.
 */
int telemetry_new(sd_event *event, struct engine *engine, const struct telemetry_config *config,
		  struct telemetry **ret, struct err *err);
void telemetry_free(struct telemetry *telemetry);
void telemetry_reconfigure(struct telemetry *telemetry, const struct telemetry_config *config);

/* What a workload has in memory, its containers together. */
struct telemetry_memory {
	uint64_t current_bytes;
	uint64_t working_set_bytes; /* less inactive file pages */
	uint64_t file_bytes;
};

/* As it is now; nothing (all 0) of one that does not run. */
struct telemetry_memory telemetry_read_memory(struct telemetry *telemetry, const char *id,
					      uint64_t instance);
/* As it was at the last sample, or is now where there was none: @each is called for every workload that runs. */
void telemetry_list_memory(const struct telemetry *telemetry,
			   void (*each)(void *userdata, const char *id, uint64_t instance,
					const struct telemetry_memory *memory),
			   void *userdata);

/* A reader: StreamTelemetry. */
struct telemetry_stream;

/*
 * Begin to report as @request says, from the next sample on; `ready` is called from the loop when there
 * is a report to take. A reader that does not take its report before the next is due misses that one,
 * and is told how many it missed.
 *
 * Returns 0, or a negative errno with @err: ERR_INVALID for an interval below 100 ms.
 */
int telemetry_stream_open(struct telemetry *telemetry,
			  const Berth__V1__StreamTelemetryRequest *request,
			  void (*ready)(void *userdata), void *userdata,
			  struct telemetry_stream **ret, struct err *err);
void telemetry_stream_close(struct telemetry_stream *stream);

/*
 * The next part of the report that is due, in @arena. Returns 1, 0 when there is none now, or -ENOMEM.
 */
int telemetry_stream_next(struct telemetry_stream *stream, struct arena *arena,
			  Berth__V1__StreamTelemetryResponse *ret);
