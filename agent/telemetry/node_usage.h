/*
 * What the whole host uses: /proc/stat, /proc/meminfo, /proc/loadavg, /proc/pressure.
 * Sources: proc(5); Documentation/accounting/psi.rst.
 */
#pragma once

#include <stdint.h>

#include "agent/telemetry/usage_files.h"

struct node_sample {
	uint64_t boot_ns;
	uint64_t cpu_busy_ns; /* all cores: not idle and not waiting for io */
	uint64_t memory_total, memory_available;
	uint64_t processes;
	double load1;
	struct psi cpu_psi, memory_psi, io_psi;
};

/* Read into @sample; what the host does not have stays as it is. */
void node_usage_read(uint64_t boot_ns, struct node_sample *sample);
