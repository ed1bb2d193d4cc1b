#include <stdio.h>
#include <string.h>

#include "agent/workload/validate.h"
#include "proto/cleanup.h"
#include "proto/cpulist.h"
#include "proto/ranges.h"

#define QUOTA_US_PER_MILLI 100 /* of the period of 100 ms */
#define MEMORY_MIN_BYTES   (1ULL << 20)
#define MEMORY_MAX_BYTES   (1ULL << 52)

static const char *const rlimit_names[] = {
	"AS",   "CORE",   "CPU",   "DATA", "FSIZE",  "LOCKS",  "MEMLOCK",    "MSGQUEUE",
	"NICE", "NOFILE", "NPROC", "RSS",  "RTPRIO", "RTTIME", "SIGPENDING", "STACK",
};

static void check_range(const struct check *check, uint64_t value, uint64_t min, uint64_t max,
			const char *field)
{
	char text[96];

	if (value >= min && value <= max)
		return;
	(void)snprintf(text, sizeof(text), "%llu is not from %llu to %llu",
		       (unsigned long long)value, (unsigned long long)min, (unsigned long long)max);
	check_wrong(check, text, "%s", field);
}

static void check_cpu(const Berth__V1__Resources *r, const struct check *check)
{
	if (r->_cpu_request_millis_case)
		check_range(check, r->cpu_request_millis, 0, RANGE_CPU_MILLIS_MAX,
			    "cpu_request_millis");
	if (r->_cpu_limit_millis_case)
		check_range(check, r->cpu_limit_millis, RANGE_CPU_MILLIS_MIN, RANGE_CPU_MILLIS_MAX,
			    "cpu_limit_millis");
	if (r->_cpu_weight_case)
		check_range(check, r->cpu_weight, 1, RANGE_WEIGHT_MAX, "cpu_weight");
	if (r->_cpu_request_millis_case && r->_cpu_limit_millis_case &&
	    r->cpu_request_millis > r->cpu_limit_millis)
		check_wrong(check, "is more than cpu_limit_millis", "cpu_request_millis");
	if (!r->_cpu_burst_us_case || r->cpu_burst_us == 0)
		return;
	if (!r->_cpu_limit_millis_case)
		check_wrong(check, "needs cpu_limit_millis", "cpu_burst_us");
	else
		check_range(check, r->cpu_burst_us, 0,
			    (uint64_t)r->cpu_limit_millis * QUOTA_US_PER_MILLI, "cpu_burst_us");
}

static void check_memory(const Berth__V1__Resources *r, const struct check *check)
{
	uint64_t limit = r->_memory_limit_bytes_case ? r->memory_limit_bytes : MEMORY_MAX_BYTES;

	if (r->_memory_limit_bytes_case)
		check_range(check, r->memory_limit_bytes, MEMORY_MIN_BYTES, MEMORY_MAX_BYTES,
			    "memory_limit_bytes");
	if (r->_memory_request_bytes_case && r->memory_request_bytes > limit)
		check_wrong(check, "is more than memory_limit_bytes allows",
			    "memory_request_bytes");
	if (r->_memory_high_bytes_case)
		check_range(check, r->memory_high_bytes, MEMORY_MIN_BYTES, limit,
			    "memory_high_bytes");
	if (r->_memory_low_bytes_case && r->memory_low_bytes > limit)
		check_wrong(check, "is more than memory_limit_bytes allows", "memory_low_bytes");
	if (r->_memory_swap_bytes_case)
		check_range(check, r->memory_swap_bytes, 0, MEMORY_MAX_BYTES, "memory_swap_bytes");
}

static bool take_number(const char **text, unsigned long max, unsigned long *ret)
{
	const char *p = *text;
	unsigned long n = 0;

	while (*p >= '0' && *p <= '9' && n <= max)
		n = n * 10 + (unsigned long)(*p++ - '0');
	if (p == *text || n > max)
		return false;
	*text = p;
	*ret = n;
	return true;
}

static void check_cpuset(const char *list, const char *field, const struct check *check)
{
	if (*list && (strlen(list) > RANGE_CPUSET_LENGTH_MAX || !cpulist_is_valid(list)))
		check_wrong(check,
			    "must be numbers and ranges, like \"0-3,7\", of at most 255 characters",
			    "%s", field);
}

/* "254:0", or "/dev/<name>[/<name>]" in plain letters. */
static bool is_device(const char *text)
{
	unsigned long number;

	if (strncmp(text, "/dev/", 5) == 0) {
		size_t n = strspn(text + 5, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					    "0123456789._-/");

		return n > 0 && n < 128 && text[5 + n] == '\0' && !strstr(text, "..") &&
		       !strstr(text, "//");
	}
	return take_number(&text, 4095, &number) && *text++ == ':' &&
	       take_number(&text, 1048575, &number) && *text == '\0';
}

static void check_io_limit(const Berth__V1__IoLimit *limit, size_t i, const struct check *check)
{
	char field[64];

	if (!is_device(limit->device))
		check_wrong(check, "must be like \"/dev/vda\" or \"254:0\"",
			    "io_limits[%zu].device", i);
	(void)snprintf(field, sizeof(field), "io_limits[%zu].read_ops_per_second", i);
	check_range(check, limit->read_ops_per_second, 0, RANGE_IO_OPS_MAX, field);
	(void)snprintf(field, sizeof(field), "io_limits[%zu].write_ops_per_second", i);
	check_range(check, limit->write_ops_per_second, 0, RANGE_IO_OPS_MAX, field);
}

static void check_io(const Berth__V1__Resources *r, const struct check *check)
{
	if (r->_io_weight_case)
		check_range(check, r->io_weight, 1, RANGE_WEIGHT_MAX, "io_weight");
	if (r->n_io_limits > RANGE_IO_LIMITS_MAX)
		check_wrong(check, "at most 16 devices", "io_limits");
	for (size_t i = 0; i < r->n_io_limits; i++)
		check_io_limit(r->io_limits[i], i, check);
}

static bool is_rlimit(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(rlimit_names); i++)
		if (strcmp(rlimit_names[i], name) == 0)
			return true;
	return false;
}

static void check_rlimits(const Berth__V1__Resources *r, const struct check *check)
{
	for (size_t i = 0; i < r->n_rlimits; i++) {
		const Berth__V1__Rlimit *limit = r->rlimits[i];

		if (i >= ARRAY_SIZE(rlimit_names)) {
			check_wrong(check, "more than there are limits", "rlimits");
			return;
		}
		if (!is_rlimit(limit->name))
			check_wrong(check,
				    "must be a name as in setrlimit(2) without RLIMIT_: NOFILE",
				    "rlimits[%zu].name", i);
		if (limit->soft > limit->hard)
			check_wrong(check, "is more than the hard limit", "rlimits[%zu].soft", i);
		for (size_t j = 0; j < i; j++)
			if (strcmp(r->rlimits[j]->name, limit->name) == 0)
				check_wrong(check, "is given twice", "rlimits[%zu].name", i);
	}
}

void validate_resources(const Berth__V1__Resources *resources, const struct check *check)
{
	if (!resources)
		return;
	check_cpu(resources, check);
	check_memory(resources, check);
	if (resources->_pids_limit_case)
		check_range(check, resources->pids_limit, 1, RANGE_PIDS_MAX, "pids_limit");
	check_cpuset(resources->cpuset_cpus, "cpuset_cpus", check);
	check_cpuset(resources->cpuset_mems, "cpuset_mems", check);
	check_io(resources, check);
	check_rlimits(resources, check);
}
