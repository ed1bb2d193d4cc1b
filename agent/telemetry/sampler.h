/*
 * The thread that reads. It and the loop never touch a container's figures at the same time: the loop
 * hands all targets over (sampler_start), the thread reads them and hands them back (`done`, on the
 * loop). While it is at work the loop only adds and removes, which waits for the hand-back.
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "agent/telemetry/node_usage.h"
#include "agent/telemetry/usage_files.h"
#include "proto/err.h"
#include "proto/page.h"

/* A container that is sampled: embedded in what the loop keeps of it. */
struct target {
	struct usage_files *files;
	const struct container_page *page; /* mapped read-only; NULL where there is none */
	struct usage_sample now, before;
	uint64_t log_bytes, log_dropped_bytes, denied;
	bool sampled; /* `now` holds; with `before.boot_ns` not 0 that too */
	bool removed; /* free it at the hand-back */
	size_t index; /* in the sampler's table */
	void (*release)(
		struct target *target); /* frees it: on the loop, when the thread has it not */
};

struct sampler;

int sampler_new(sd_event *event, void (*done)(void *userdata), void *userdata, struct sampler **ret,
		struct err *err);
/* Waits for the reading that is under way; all targets are released. */
void sampler_free(struct sampler *sampler);

/* Returns 0 or -ENOMEM; the target is the sampler's from then on. */
int sampler_add(struct sampler *sampler, struct target *target);
/* It is released now, or at the hand-back. */
void sampler_remove(struct sampler *sampler, struct target *target);

/* Read all targets and the node. False: the last reading is still under way, and this one is left out. */
bool sampler_start(struct sampler *sampler);
bool sampler_is_reading(const struct sampler *sampler);

/* Of the loop, while nothing is being read. Slots may be NULL. */
struct target *const *sampler_targets(const struct sampler *sampler, size_t *ret_count);
const struct node_sample *sampler_node(const struct sampler *sampler);

/* CLOCK_BOOTTIME, nanoseconds. */
uint64_t sampler_boot_ns(void);
