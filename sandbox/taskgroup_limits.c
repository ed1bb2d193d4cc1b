/*
 * From the neutral limits to the files of either version. The two tables here are all that is known of
 * the difference; what a version cannot do is refused by name and never left out.
 */
#include "sandbox/taskgroup_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/cpulist.h"

#define MEMORY_MIN 4096

void taskgroup_limits_init(struct taskgroup_limits *limits)
{
	*limits = (struct taskgroup_limits){
		.cpu_millis = TASKGROUP_UNSET,
		.cpu_burst_us = TASKGROUP_UNSET,
		.cpu_weight = TASKGROUP_UNSET,
		.memory_max_bytes = TASKGROUP_UNSET,
		.memory_high_bytes = TASKGROUP_UNSET,
		.memory_low_bytes = TASKGROUP_UNSET,
		.memory_swap_bytes = TASKGROUP_UNSET,
		.memory_oom_group = TASKGROUP_UNSET,
		.pids_max = TASKGROUP_UNSET,
		.io_weight = TASKGROUP_UNSET,
	};
}

/* One value: what it may be, and the feature of the host that it rests on (NULL: always there). */
struct value_rule {
	const char *name;
	size_t offset;
	uint64_t min;
	uint64_t max;
	bool may_be_unlimited;
	const char *feature;
};

static const struct value_rule value_rules[] = {
	{ "cpu_millis", offsetof(struct taskgroup_limits, cpu_millis), RANGE_CPU_MILLIS_MIN,
	  RANGE_CPU_MILLIS_MAX, true, NULL },
	{ "cpu_burst_us", offsetof(struct taskgroup_limits, cpu_burst_us), 0,
	  RANGE_CPU_MILLIS_MAX *(uint64_t)TASKGROUP_CPU_PERIOD_US / 1000, false,
	  "cgroup.cpu.burst" },
	{ "cpu_weight", offsetof(struct taskgroup_limits, cpu_weight), 1, RANGE_WEIGHT_MAX, false,
	  NULL },
	{ "memory_max_bytes", offsetof(struct taskgroup_limits, memory_max_bytes), MEMORY_MIN,
	  INT64_MAX, true, NULL },
	{ "memory_high_bytes", offsetof(struct taskgroup_limits, memory_high_bytes), MEMORY_MIN,
	  INT64_MAX, true, "cgroup.memory.high" },
	{ "memory_low_bytes", offsetof(struct taskgroup_limits, memory_low_bytes), 0, INT64_MAX,
	  true, "cgroup.memory.low" },
	{ "memory_swap_bytes", offsetof(struct taskgroup_limits, memory_swap_bytes), 0, INT64_MAX,
	  true, "cgroup.memory.swap" },
	{ "memory_oom_group", offsetof(struct taskgroup_limits, memory_oom_group), 0, 1, false,
	  "cgroup.memory.oom_group" },
	{ "pids_max", offsetof(struct taskgroup_limits, pids_max), 1, RANGE_PIDS_MAX, true, NULL },
	{ "io_weight", offsetof(struct taskgroup_limits, io_weight), 1, RANGE_WEIGHT_MAX, false,
	  "cgroup.io.weight" },
};

static int check_feature(const struct hierarchy *hierarchy, const char *name, const char *feature,
			 struct err *err)
{
	const struct hierarchy_feature *found = hierarchy_feature(hierarchy, feature);

	if (found && found->supported)
		return 0;
	return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP, "cannot enforce %s on this %s host: %s",
		       name, hierarchy_layout_name(hierarchy->layout),
		       found ? found->sentence : feature);
}

static int check_value(const struct hierarchy *hierarchy, const struct taskgroup_limits *limits,
		       const struct value_rule *rule, struct err *err)
{
	uint64_t value;

	memcpy(&value, (const char *)limits + rule->offset, sizeof(value));
	if (value == TASKGROUP_UNSET)
		return 0;
	if (value == TASKGROUP_UNLIMITED ? !rule->may_be_unlimited
					 : value < rule->min || value > rule->max)
		return err_set(err, ERR_INVALID, EINVAL,
			       "%s is %" PRIu64 "; it must be %" PRIu64 " to %" PRIu64, rule->name,
			       value, rule->min, rule->max);
	return rule->feature ? check_feature(hierarchy, rule->name, rule->feature, err) : 0;
}

static int check_cpuset(const struct hierarchy *hierarchy, const char *name, const char *text,
			const char *available, struct err *err)
{
	int r;

	if (!*text)
		return 0;
	r = check_feature(hierarchy, name, "cgroup.cpuset", err);
	if (r < 0)
		return r;
	if (!cpulist_is_valid(text))
		return err_set(err, ERR_INVALID, EINVAL, "%s is not a list like \"0-3,7\"", name);
	if (!cpulist_is_subset(text, available))
		return err_set(err, ERR_INVALID, EINVAL, "%s is %s, but this host has %s", name,
			       text, available);
	return 0;
}

static int check_io_limits(const struct hierarchy *hierarchy, const struct taskgroup_limits *limits,
			   struct err *err)
{
	if (limits->io_limit_count > TASKGROUP_IO_LIMITS_MAX)
		return err_set(err, ERR_INVALID, E2BIG, "more than %d io_limits",
			       TASKGROUP_IO_LIMITS_MAX);
	for (size_t i = 0; i < limits->io_limit_count; i++) {
		const struct taskgroup_io_limit *limit = &limits->io_limits[i];
		const uint64_t values[] = { limit->read_bytes_per_s, limit->write_bytes_per_s,
					    limit->read_ops_per_s, limit->write_ops_per_s };

		for (size_t k = 0; k < ARRAY_SIZE(values); k++) {
			if (values[k] == 0 || (k >= 2 && values[k] > RANGE_IO_OPS_MAX &&
					       values[k] < TASKGROUP_UNLIMITED))
				return err_set(err, ERR_INVALID, EINVAL,
					       "io_limits of device %u:%u: %" PRIu64
					       " is no rate per second",
					       limit->major, limit->minor, values[k]);
		}
	}
	return limits->io_limit_count ? check_feature(hierarchy, "io_limits", "cgroup.io.max", err)
				      : 0;
}

static int check_burst(const struct taskgroup_limits *limits, struct err *err)
{
	uint64_t quota_us;

	if (limits->cpu_burst_us == TASKGROUP_UNSET || limits->cpu_millis >= TASKGROUP_UNLIMITED)
		return 0;
	quota_us = limits->cpu_millis * (TASKGROUP_CPU_PERIOD_US / 1000);
	if (limits->cpu_burst_us > quota_us)
		return err_set(err, ERR_INVALID, EINVAL,
			       "cpu_burst_us is %" PRIu64
			       ", more than the quota of a period, %" PRIu64,
			       limits->cpu_burst_us, quota_us);
	return 0;
}

int taskgroup_limits_check(const struct hierarchy *hierarchy, const struct taskgroup_limits *limits,
			   struct err *err)
{
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(value_rules); i++) {
		r = check_value(hierarchy, limits, &value_rules[i], err);
		if (r < 0)
			return r;
	}
	r = check_burst(limits, err);
	if (r < 0)
		return r;
	r = check_cpuset(hierarchy, "cpuset_cpus", limits->cpuset_cpus, hierarchy->cpuset_cpus,
			 err);
	if (r < 0)
		return r;
	r = check_cpuset(hierarchy, "cpuset_mems", limits->cpuset_mems, hierarchy->cpuset_mems,
			 err);
	if (r < 0)
		return r;
	return check_io_limits(hierarchy, limits, err);
}

__attribute__((format(printf, 4, 5))) static void add(struct settings *settings,
						      enum hierarchy_controller controller,
						      const char *file, const char *format, ...)
{
	struct setting *row = &settings->rows[settings->count++];
	va_list ap;

	row->controller = controller;
	row->file = file;
	va_start(ap, format);
	(void)vsnprintf(row->value, sizeof(row->value), format, ap);
	va_end(ap);
}

/* A number, or what stands for no limit in that file. */
static void add_bytes(struct settings *settings, enum hierarchy_controller controller,
		      const char *file, uint64_t value, const char *unlimited)
{
	if (value == TASKGROUP_UNLIMITED)
		add(settings, controller, file, "%s", unlimited);
	else if (value != TASKGROUP_UNSET)
		add(settings, controller, file, "%" PRIu64, value);
}

static void add_cpu_quota(const struct hierarchy *hierarchy, uint64_t millis,
			  struct settings *settings)
{
	bool v2 = hierarchy_is_v2(hierarchy, CONTROLLER_CPU);
	uint64_t quota_us = millis * (TASKGROUP_CPU_PERIOD_US / 1000);

	if (millis == TASKGROUP_UNSET)
		return;
	if (v2 && millis == TASKGROUP_UNLIMITED)
		add(settings, CONTROLLER_CPU, "cpu.max", "max %d", TASKGROUP_CPU_PERIOD_US);
	else if (v2)
		add(settings, CONTROLLER_CPU, "cpu.max", "%" PRIu64 " %d", quota_us,
		    TASKGROUP_CPU_PERIOD_US);
	else if (millis == TASKGROUP_UNLIMITED) /* v1's period is 100 ms and stays so */
		add(settings, CONTROLLER_CPU, "cpu.cfs_quota_us", "-1");
	else
		add(settings, CONTROLLER_CPU, "cpu.cfs_quota_us", "%" PRIu64, quota_us);
}

/* A burst must not exceed the quota at any time: one of 0 is written before the quota changes. */
static void add_cpu(const struct hierarchy *hierarchy, const struct taskgroup_limits *limits,
		    struct settings *settings)
{
	bool v2 = hierarchy_is_v2(hierarchy, CONTROLLER_CPU);
	const char *burst = v2 ? "cpu.max.burst" : "cpu.cfs_burst_us";

	if (limits->cpu_weight != TASKGROUP_UNSET) {
		/* 100 of 10000 and 1024 of 262144 are what a group has that nobody weighed. */
		uint64_t shares = limits->cpu_weight * 1024 / 100;

		add(settings, CONTROLLER_CPU, v2 ? "cpu.weight" : "cpu.shares", "%" PRIu64,
		    v2 ? limits->cpu_weight : shares);
	}
	if (limits->cpu_burst_us != TASKGROUP_UNSET && limits->cpu_millis != TASKGROUP_UNSET)
		add(settings, CONTROLLER_CPU, burst, "0");
	add_cpu_quota(hierarchy, limits->cpu_millis, settings);
	add_bytes(settings, CONTROLLER_CPU, burst, limits->cpu_burst_us, "0");
}

/*
 * v1 limits memory, and memory and swap together, and refuses a state in which the first is above the
 * second. What the group may swap stays as it was where only memory changes.
 */
static void add_v1_memory(const struct taskgroup_limits *limits,
			  const struct taskgroup_v1_memory *memory, struct settings *settings)
{
	static const char plain[] = "memory.limit_in_bytes", both[] = "memory.memsw.limit_in_bytes";
	uint64_t limit = limits->memory_max_bytes, swap = limits->memory_swap_bytes, sum;

	if (limit == TASKGROUP_UNSET && swap == TASKGROUP_UNSET)
		return;
	if (limit == TASKGROUP_UNSET)
		limit = memory->limit_bytes;
	if (swap == TASKGROUP_UNSET)
		swap = memory->limit_with_swap_bytes == TASKGROUP_UNLIMITED
			       ? TASKGROUP_UNLIMITED
			       : memory->limit_with_swap_bytes - memory->limit_bytes;
	sum = limit == TASKGROUP_UNLIMITED || swap == TASKGROUP_UNLIMITED ? TASKGROUP_UNLIMITED
									  : limit + swap;
	if (sum == TASKGROUP_UNLIMITED && memory->limit_with_swap_bytes == TASKGROUP_UNLIMITED) {
		add_bytes(settings, CONTROLLER_MEMORY, plain, limit, "-1");
		return;
	}
	if (sum >= memory->limit_with_swap_bytes) { /* raised: make room first */
		add_bytes(settings, CONTROLLER_MEMORY, both, sum, "-1");
		add_bytes(settings, CONTROLLER_MEMORY, plain, limit, "-1");
	} else {
		add_bytes(settings, CONTROLLER_MEMORY, plain, limit, "-1");
		add_bytes(settings, CONTROLLER_MEMORY, both, sum, "-1");
	}
}

static void add_memory(const struct hierarchy *hierarchy, const struct taskgroup_limits *limits,
		       const struct taskgroup_v1_memory *memory, struct settings *settings)
{
	static const struct taskgroup_v1_memory fresh = { TASKGROUP_UNLIMITED,
							  TASKGROUP_UNLIMITED };

	if (!hierarchy_is_v2(hierarchy, CONTROLLER_MEMORY)) {
		add_v1_memory(limits, memory ? memory : &fresh, settings);
		return;
	}
	add_bytes(settings, CONTROLLER_MEMORY, "memory.max", limits->memory_max_bytes, "max");
	add_bytes(settings, CONTROLLER_MEMORY, "memory.swap.max", limits->memory_swap_bytes, "max");
	add_bytes(settings, CONTROLLER_MEMORY, "memory.high", limits->memory_high_bytes, "max");
	add_bytes(settings, CONTROLLER_MEMORY, "memory.low", limits->memory_low_bytes, "max");
	add_bytes(settings, CONTROLLER_MEMORY, "memory.oom.group", limits->memory_oom_group, "0");
}

static void add_v2_rate(char *text, size_t size, const char *key, uint64_t rate)
{
	size_t used = strlen(text);

	if (rate == TASKGROUP_UNLIMITED)
		(void)snprintf(text + used, size - used, " %s=max", key);
	else if (rate != TASKGROUP_UNSET)
		(void)snprintf(text + used, size - used, " %s=%" PRIu64, key, rate);
}

static void add_v2_io_limit(const struct taskgroup_io_limit *limit, struct settings *settings)
{
	char rates[160] = "";

	add_v2_rate(rates, sizeof(rates), "rbps", limit->read_bytes_per_s);
	add_v2_rate(rates, sizeof(rates), "wbps", limit->write_bytes_per_s);
	add_v2_rate(rates, sizeof(rates), "riops", limit->read_ops_per_s);
	add_v2_rate(rates, sizeof(rates), "wiops", limit->write_ops_per_s);
	if (rates[0])
		add(settings, CONTROLLER_IO, "io.max", "%u:%u%s", limit->major, limit->minor,
		    rates);
}

static void add_v1_io_limit(const struct taskgroup_io_limit *limit, struct settings *settings)
{
	const struct {
		const char *file;
		uint64_t rate;
	} rates[] = {
		{ "blkio.throttle.read_bps_device", limit->read_bytes_per_s },
		{ "blkio.throttle.write_bps_device", limit->write_bytes_per_s },
		{ "blkio.throttle.read_iops_device", limit->read_ops_per_s },
		{ "blkio.throttle.write_iops_device", limit->write_ops_per_s },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		if (rates[i].rate == TASKGROUP_UNSET)
			continue;
		add(settings, CONTROLLER_IO, rates[i].file, "%u:%u %" PRIu64, limit->major,
		    limit->minor, rates[i].rate == TASKGROUP_UNLIMITED ? 0 : rates[i].rate);
	}
}

static void add_io(const struct hierarchy *hierarchy, const struct taskgroup_limits *limits,
		   struct settings *settings)
{
	const struct hierarchy_feature *weight = hierarchy_feature(hierarchy, "cgroup.io.weight");
	bool v2 = hierarchy_is_v2(hierarchy, CONTROLLER_IO);

	if (limits->io_weight != TASKGROUP_UNSET) {
		/* bfq's go from 1 to 1000 around the same 100; the feature's sentence is the file. */
		bool bfq = strstr(weight->sentence, "bfq") != NULL;
		uint64_t value = limits->io_weight;

		if (bfq && value > 1000)
			value = 1000;
		if (!bfq && !v2 && value < 10)
			value = 10;
		add(settings, CONTROLLER_IO, weight->sentence, "%" PRIu64, value);
	}
	for (size_t i = 0; i < limits->io_limit_count; i++) {
		if (v2)
			add_v2_io_limit(&limits->io_limits[i], settings);
		else
			add_v1_io_limit(&limits->io_limits[i], settings);
	}
}

void taskgroup_translate(const struct hierarchy *hierarchy, const struct taskgroup_limits *limits,
			 const struct taskgroup_v1_memory *memory, struct settings *ret_settings)
{
	ret_settings->count = 0;
	add_memory(hierarchy, limits, memory, ret_settings);
	add_bytes(ret_settings, CONTROLLER_PIDS, "pids.max", limits->pids_max, "max");
	add_cpu(hierarchy, limits, ret_settings);
	if (limits->cpuset_cpus[0])
		add(ret_settings, CONTROLLER_CPUSET, "cpuset.cpus", "%s", limits->cpuset_cpus);
	if (limits->cpuset_mems[0])
		add(ret_settings, CONTROLLER_CPUSET, "cpuset.mems", "%s", limits->cpuset_mems);
	add_io(hierarchy, limits, ret_settings);
}
