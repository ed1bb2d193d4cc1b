#include "agent/telemetry/usage_message.h"

#define NEW(arena, Type, type) ((Type *)arena_message(arena, &berth__v1__##type##__descriptor))

static Berth__V1__Rate *new_rate(struct arena *arena, double average, double maximum)
{
	Berth__V1__Rate *rate = NEW(arena, Berth__V1__Rate, rate);

	if (rate) {
		rate->average = average;
		rate->maximum = maximum > average ? maximum : average;
	}
	return rate;
}

static Berth__V1__Pressure *new_pressure(struct arena *arena, const struct psi *psi)
{
	Berth__V1__Pressure *pressure = NEW(arena, Berth__V1__Pressure, pressure);

	if (pressure && psi) {
		pressure->some_avg10 = psi->some_avg10_permyriad / 100.0;
		pressure->full_avg10 = psi->full_avg10_permyriad / 100.0;
		pressure->some_total_us = psi->some_total_us;
		pressure->full_total_us = psi->full_total_us;
	}
	return pressure;
}

/* The messages below a usage, all or NULL. */
static Berth__V1__CpuUsage *new_cpu(struct arena *arena)
{
	Berth__V1__CpuUsage *cpu = NEW(arena, Berth__V1__CpuUsage, cpu_usage);

	if (!cpu)
		return NULL;
	cpu->usage_millis = new_rate(arena, 0, 0);
	cpu->pressure = new_pressure(arena, NULL);
	return cpu->usage_millis && cpu->pressure ? cpu : NULL;
}

static Berth__V1__MemoryUsage *new_memory(struct arena *arena)
{
	Berth__V1__MemoryUsage *memory = NEW(arena, Berth__V1__MemoryUsage, memory_usage);

	if (!memory)
		return NULL;
	memory->pressure = new_pressure(arena, NULL);
	return memory->pressure ? memory : NULL;
}

static Berth__V1__IoUsage *new_io(struct arena *arena)
{
	Berth__V1__IoUsage *io = NEW(arena, Berth__V1__IoUsage, io_usage);

	if (!io)
		return NULL;
	io->read_bytes_per_second = new_rate(arena, 0, 0);
	io->write_bytes_per_second = new_rate(arena, 0, 0);
	io->pressure = new_pressure(arena, NULL);
	return io->read_bytes_per_second && io->write_bytes_per_second && io->pressure ? io : NULL;
}

static void set_pressure(Berth__V1__Pressure *pressure, const struct psi *psi)
{
	pressure->some_avg10 = psi->some_avg10_permyriad / 100.0;
	pressure->full_avg10 = psi->full_avg10_permyriad / 100.0;
	pressure->some_total_us = psi->some_total_us;
	pressure->full_total_us = psi->full_total_us;
}

static void set_cpu(Berth__V1__CpuUsage *cpu, const struct usage_sample *usage)
{
	cpu->usage_ns = usage->cpu_usage_ns;
	cpu->user_ns = usage->cpu_user_ns;
	cpu->system_ns = usage->cpu_system_ns;
	cpu->periods = usage->cpu_periods;
	cpu->throttled_periods = usage->cpu_throttled_periods;
	cpu->throttled_ns = usage->cpu_throttled_ns;
	set_pressure(cpu->pressure, &usage->cpu_psi);
}

static void set_memory(Berth__V1__MemoryUsage *memory, const struct usage_sample *usage)
{
	memory->current_bytes = usage->memory_current;
	memory->working_set_bytes = usage->memory_current > usage->memory_inactive_file
					    ? usage->memory_current - usage->memory_inactive_file
					    : 0;
	memory->peak_bytes = usage->memory_peak;
	memory->anon_bytes = usage->memory_anon;
	memory->file_bytes = usage->memory_file;
	memory->swap_bytes = usage->memory_swap;
	memory->limit_bytes = usage->memory_limit;
	memory->events_low = usage->events_low;
	memory->events_high = usage->events_high;
	memory->events_max = usage->events_max;
	memory->events_oom = usage->events_oom;
	memory->events_oom_kill = usage->events_oom_kill;
	memory->window_max_bytes = usage->memory_current;
	set_pressure(memory->pressure, &usage->memory_psi);
}

static void set_io(Berth__V1__IoUsage *io, const struct usage_sample *usage)
{
	io->read_bytes = usage->io_read_bytes;
	io->write_bytes = usage->io_write_bytes;
	io->read_ops = usage->io_read_ops;
	io->write_ops = usage->io_write_ops;
	set_pressure(io->pressure, &usage->io_psi);
}

static void set_rate(Berth__V1__Rate *rate, double average, double maximum)
{
	rate->average = average;
	rate->maximum = maximum > average ? maximum : average;
}

Berth__V1__ContainerUsage *usage_message_container(struct arena *arena, const char *name,
						   const struct record *record,
						   const struct usage_rates *rates)
{
	Berth__V1__ContainerUsage *usage = NEW(arena, Berth__V1__ContainerUsage, container_usage);

	if (!usage)
		return NULL;
	usage->container = arena_strdup(arena, name);
	usage->cpu = new_cpu(arena);
	usage->memory = new_memory(arena);
	usage->io = new_io(arena);
	if (!usage->container || !usage->cpu || !usage->memory || !usage->io)
		return NULL;
	set_cpu(usage->cpu, &record->usage);
	set_memory(usage->memory, &record->usage);
	set_io(usage->io, &record->usage);
	usage->pids = record->usage.pids;
	usage->pids_limit = record->usage.pids_limit;
	usage->denied_syscalls = record->denied;
	usage->log_bytes = record->log_bytes;
	usage->log_dropped_bytes = record->log_dropped_bytes;
	usage->sample_boot_ns = record->usage.boot_ns;
	if (!rates)
		return usage;
	set_rate(usage->cpu->usage_millis, rates->cpu_average, rates->cpu_maximum);
	set_rate(usage->io->read_bytes_per_second, rates->read_average, rates->read_maximum);
	set_rate(usage->io->write_bytes_per_second, rates->write_average, rates->write_maximum);
	if (rates->memory_maximum > usage->memory->window_max_bytes)
		usage->memory->window_max_bytes = rates->memory_maximum;
	return usage;
}

Berth__V1__WorkloadUsage *usage_message_workload(struct arena *arena, const char *id)
{
	Berth__V1__WorkloadUsage *usage = NEW(arena, Berth__V1__WorkloadUsage, workload_usage);

	if (!usage)
		return NULL;
	usage->workload = arena_strdup(arena, id);
	usage->cpu = new_cpu(arena);
	usage->memory = new_memory(arena);
	usage->io = new_io(arena);
	return usage->workload && usage->cpu && usage->memory && usage->io ? usage : NULL;
}

static void add_pressure(Berth__V1__Pressure *sum, const Berth__V1__Pressure *part)
{
#define HIGHEST(member)                             \
	do {                                        \
		if (part->member > sum->member)     \
			sum->member = part->member; \
	} while (0)
	HIGHEST(some_avg10);
	HIGHEST(full_avg10);
	HIGHEST(some_total_us);
	HIGHEST(full_total_us);
#undef HIGHEST
}

static void add_rate(Berth__V1__Rate *sum, const Berth__V1__Rate *part)
{
	sum->average += part->average;
	sum->maximum += part->maximum; /* an upper bound: the maxima need not be of one moment */
}

static void add_cpu(Berth__V1__CpuUsage *sum, const Berth__V1__CpuUsage *part)
{
	sum->usage_ns += part->usage_ns;
	sum->user_ns += part->user_ns;
	sum->system_ns += part->system_ns;
	sum->periods += part->periods;
	sum->throttled_periods += part->throttled_periods;
	sum->throttled_ns += part->throttled_ns;
	add_rate(sum->usage_millis, part->usage_millis);
	add_pressure(sum->pressure, part->pressure);
}

static void add_memory(Berth__V1__MemoryUsage *sum, const Berth__V1__MemoryUsage *part)
{
	sum->current_bytes += part->current_bytes;
	sum->working_set_bytes += part->working_set_bytes;
	sum->peak_bytes += part->peak_bytes;
	sum->anon_bytes += part->anon_bytes;
	sum->file_bytes += part->file_bytes;
	sum->swap_bytes += part->swap_bytes;
	sum->limit_bytes += part->limit_bytes;
	sum->events_low += part->events_low;
	sum->events_high += part->events_high;
	sum->events_max += part->events_max;
	sum->events_oom += part->events_oom;
	sum->events_oom_kill += part->events_oom_kill;
	sum->window_max_bytes += part->window_max_bytes;
	add_pressure(sum->pressure, part->pressure);
}

static void add_io(Berth__V1__IoUsage *sum, const Berth__V1__IoUsage *part)
{
	sum->read_bytes += part->read_bytes;
	sum->write_bytes += part->write_bytes;
	sum->read_ops += part->read_ops;
	sum->write_ops += part->write_ops;
	add_rate(sum->read_bytes_per_second, part->read_bytes_per_second);
	add_rate(sum->write_bytes_per_second, part->write_bytes_per_second);
	add_pressure(sum->pressure, part->pressure);
}

void usage_message_add(Berth__V1__WorkloadUsage *sum, const Berth__V1__ContainerUsage *part)
{
	add_cpu(sum->cpu, part->cpu);
	add_memory(sum->memory, part->memory);
	add_io(sum->io, part->io);
	sum->pids += part->pids;
	sum->denied_syscalls += part->denied_syscalls;
	sum->log_bytes += part->log_bytes;
	sum->log_dropped_bytes += part->log_dropped_bytes;
}

Berth__V1__NodeUsage *usage_message_node(struct arena *arena, const struct node_sample *node,
					 double cpu_average, double cpu_maximum)
{
	Berth__V1__NodeUsage *usage = NEW(arena, Berth__V1__NodeUsage, node_usage);

	if (!usage)
		return NULL;
	usage->cpu_millis = new_rate(arena, cpu_average, cpu_maximum);
	usage->cpu_pressure = new_pressure(arena, &node->cpu_psi);
	usage->memory_pressure = new_pressure(arena, &node->memory_psi);
	usage->io_pressure = new_pressure(arena, &node->io_psi);
	usage->memory_available_bytes = node->memory_available;
	usage->memory_used_bytes = node->memory_total - node->memory_available;
	usage->load1 = node->load1;
	usage->processes = node->processes;
	if (!usage->cpu_millis || !usage->cpu_pressure || !usage->memory_pressure ||
	    !usage->io_pressure)
		return NULL;
	return usage;
}
