/*
 * What telemetry keeps of each workload and container, on the loop; telemetry.c owns it, stream.c reads it.
 */
#pragma once

#include <sys/queue.h>

#include "agent/telemetry/sampler.h"
#include "agent/telemetry/telemetry.h"

#define HISTORY_MAX 5 /* samples before the end that an exit record shows */

/* A sample as the loop has it. */
struct record {
	struct usage_sample usage;
	uint64_t log_bytes, log_dropped_bytes, denied;
};

struct container_usage {
	struct target target; /* first: released as such */
	LIST_ENTRY(container_usage) link;
	struct telemetry_workload *workload; /* NULL once it has ended */
	uint64_t serial;                     /* never used twice */
	uint64_t started_boot_ns;
	uint32_t attempt;
	uint32_t history_count; /* in all; the newest is at (history_count - 1) % HISTORY_MAX */
	struct record history[HISTORY_MAX];
	char name[64];
};

struct telemetry_workload {
	TAILQ_ENTRY(telemetry_workload) link; /* by serial */
	LIST_HEAD(, container_usage) containers;
	uint64_t serial;
	uint64_t instance;
	char id[64];
};

TAILQ_HEAD(telemetry_workloads, telemetry_workload);
LIST_HEAD(telemetry_streams, telemetry_stream);

struct telemetry {
	sd_event *event;
	struct engine *engine;
	struct engine_listener listener;
	struct sampler *sampler;
	sd_event_source *timer;
	struct telemetry_config config;
	uint64_t interval_ms; /* now: the shortest that anybody wants */
	uint64_t next_serial;
	struct telemetry_workloads workloads;
	struct telemetry_streams streams;
	unsigned int stream_count;
	struct node_sample node, node_before;
	uint64_t skipped; /* samples left out because the one before was still being read */
};

/* The newest sample; NULL before the first. */
const struct record *container_usage_latest(const struct container_usage *container);

/* Streams, told by telemetry.c of what happened. */
void telemetry_stream_sampled(struct telemetry_stream *stream);
void telemetry_stream_gone(struct telemetry_stream *stream, const char *id);
uint64_t telemetry_stream_interval_ms(const struct telemetry_stream *stream);
/* Next in telemetry.streams. */
struct telemetry_stream *telemetry_stream_next_of(const struct telemetry_stream *stream);
/* Choose the interval anew, after streams came or went. */
void telemetry_pace(struct telemetry *telemetry);
