/*
 * From samples to the messages of berth.v1.
 */
#pragma once

#include "agent/telemetry/model.h"
#include "berth/v1/types.pb-c.h"

/* What a reader's window adds to a sample: averages and maxima. */
struct usage_rates {
	double cpu_average, cpu_maximum; /* millicores */
	double read_average, read_maximum, write_average, write_maximum;
	uint64_t memory_maximum;
};

/* NULL without memory in @arena; @rates may be NULL. */
Berth__V1__ContainerUsage *usage_message_container(struct arena *arena, const char *name,
						   const struct record *record,
						   const struct usage_rates *rates);
Berth__V1__NodeUsage *usage_message_node(struct arena *arena, const struct node_sample *node,
					 double cpu_average, double cpu_maximum);
/* Add the figures of @part to the sums of @sum, whose messages have been made. Pressure is not a sum:
 * the highest stays. */
void usage_message_add(Berth__V1__WorkloadUsage *sum, const Berth__V1__ContainerUsage *part);
Berth__V1__WorkloadUsage *usage_message_workload(struct arena *arena, const char *id);
