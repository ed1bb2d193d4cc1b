/*
 * A host that is short of memory: the kernel tells that tasks wait for it (PSI triggers), and where little
 * is available Berth acts by band until enough is, then undoes what it did. Which step comes next is
 * agent/pressure/plan.c's, carrying it out the engine's; here is when.
 *
 * A stall alone is no shortage: a workload that thrashes below its own limit stalls too. So steps need
 * both, a stall and too little available.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "agent/sandboxlink/sandboxlink.h"
#include "agent/telemetry/telemetry.h"
#include "agent/workload/engine.h"
#include "proto/config.h"
#include "proto/err.h"

struct pressure;

struct pressure_config {
	bool enabled;
	bool enforce_reserve; /* limit all workloads together to what is allocatable */
	uint64_t stall_ms;
	uint64_t window_ms;
	uint64_t act_below_percent;
	uint64_t relieve_above_percent;
	uint64_t relieve_after_ms;
	uint64_t freeze_max_ms;
	/* Names of steps, by band; not copied: they outlive the next call of pressure_reconfigure(). */
	const struct config_list *best_effort;
	const struct config_list *batch;
	const struct config_list *production;
};

/* For the configuration: whether @name is that of a step. */
int pressure_check_step(const char *name, struct err *err);

/* Become the engine's engine_pressure. @event, @engine, @telemetry and @link must outlive it. Returns 0, or
 * a negative errno with @err. */
int pressure_new(sd_event *event, struct engine *engine, struct telemetry *telemetry,
		 struct sandboxlink *link, const struct pressure_config *config,
		 struct pressure **ret_pressure, struct err *err);
/* What holds workloads back stays: the next berthd finds it. Accepts NULL. */
void pressure_free(struct pressure *pressure);
/* Take over a reloaded configuration; where it is no longer enabled all is undone. */
void pressure_reconfigure(struct pressure *pressure, const struct pressure_config *config);
