#include "sandbox/requests_limits.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "proto/cleanup.h"
#include "proto/names.h"
#include "sandbox/path.h"

/* The largest two numbers have a meaning of their own in taskgroup.h, and no limit is near them. */
#define VALUE_MAX (UINT64_MAX >> 2)

static int take(const char *field, bool present, uint64_t value, uint64_t *limit, struct err *err)
{
	if (!present)
		return 0;
	if (value > VALUE_MAX)
		return err_set(err, ERR_INVALID, ERANGE, "%s: %" PRIu64 " is out of range", field,
			       value);
	*limit = value;
	return 0;
}

static int take_cpuset(const char *field, const char *text, char limit[static TASKGROUP_CPUSET_MAX],
		       struct err *err)
{
	if (strlen(text) >= TASKGROUP_CPUSET_MAX || strspn(text, "0123456789,-") != strlen(text))
		return err_set(err, ERR_INVALID, EINVAL,
			       "%s: must be a list like 0-3,7 of at most %d characters", field,
			       TASKGROUP_CPUSET_MAX - 1);
	strcpy(limit, text);
	return 0;
}

static int no_device(const char *device, struct err *err)
{
	char quoted[NAME_QUOTED_MAX];

	return err_set(
		err, ERR_INVALID, ENODEV,
		"io: %s is no block device: write its path below /dev, or its numbers as 254:0",
		names_quote(device, quoted));
}

static int resolve_device(const char *device, uint32_t *ret_major, uint32_t *ret_minor,
			  struct err *err)
{
	cleanup_fd int dev_fd = -1;
	cleanup_fd int fd = -1;
	struct stat st;
	char rest;

	if (strlen(device) <= 16 &&
	    sscanf(device, "%" SCNu32 ":%" SCNu32 "%c", ret_major, ret_minor, &rest) == 2)
		return 0;
	if (strncmp(device, "/dev/", 5) != 0 || names_check_path(device, NULL) < 0)
		return no_device(device, err);
	dev_fd = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
	fd = dev_fd < 0 ? -1 : path_open(dev_fd, device + 5, PATH_IN_ROOT, O_PATH, 0);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISBLK(st.st_mode))
		return no_device(device, err);
	*ret_major = major(st.st_rdev);
	*ret_minor = minor(st.st_rdev);
	return 0;
}

/* 0 is "no limit of this kind": berthd has no other way to leave one of the four out. */
static uint64_t rate(uint64_t value)
{
	return value == 0 || value > VALUE_MAX ? TASKGROUP_UNSET : value;
}

static int take_io(const Berth__Sandbox__V1__Limits *message, struct taskgroup_limits *limits,
		   struct err *err)
{
	if (message->n_io > TASKGROUP_IO_LIMITS_MAX)
		return err_set(err, ERR_INVALID, E2BIG, "io: %zu devices, at most %d are possible",
			       message->n_io, TASKGROUP_IO_LIMITS_MAX);
	for (size_t i = 0; i < message->n_io; i++) {
		const Berth__Sandbox__V1__IoLimit *from = message->io[i];
		struct taskgroup_io_limit *to = &limits->io_limits[i];
		int r = resolve_device(from->device, &to->major, &to->minor, err);

		if (r < 0)
			return r;
		to->read_bytes_per_s = rate(from->read_bytes_per_second);
		to->write_bytes_per_s = rate(from->write_bytes_per_second);
		to->read_ops_per_s = rate(from->read_ops_per_second);
		to->write_ops_per_s = rate(from->write_ops_per_second);
	}
	limits->io_limit_count = message->n_io;
	return 0;
}

static int take_all(const Berth__Sandbox__V1__Limits *m, struct taskgroup_limits *limits,
		    struct err *err)
{
	const struct {
		const char *field;
		bool present;
		uint64_t value;
		uint64_t *limit;
	} rows[] = {
		{ "cpu_millis", m->_cpu_millis_case != 0, m->cpu_millis, &limits->cpu_millis },
		{ "cpu_burst_us", m->_cpu_burst_us_case != 0, m->cpu_burst_us,
		  &limits->cpu_burst_us },
		{ "cpu_weight", m->_cpu_weight_case != 0, m->cpu_weight, &limits->cpu_weight },
		{ "memory_max_bytes", m->_memory_max_bytes_case != 0, m->memory_max_bytes,
		  &limits->memory_max_bytes },
		{ "memory_high_bytes", m->_memory_high_bytes_case != 0, m->memory_high_bytes,
		  &limits->memory_high_bytes },
		{ "memory_low_bytes", m->_memory_low_bytes_case != 0, m->memory_low_bytes,
		  &limits->memory_low_bytes },
		{ "memory_swap_bytes", m->_memory_swap_bytes_case != 0, m->memory_swap_bytes,
		  &limits->memory_swap_bytes },
		{ "pids_max", m->_pids_max_case != 0, m->pids_max, &limits->pids_max },
		{ "io_weight", m->_io_weight_case != 0, m->io_weight, &limits->io_weight },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int r = take(rows[i].field, rows[i].present, rows[i].value, rows[i].limit, err);

		if (r < 0)
			return r;
	}
	return 0;
}

int limits_from_message(const Berth__Sandbox__V1__Limits *message, const struct policy *defaults,
			struct taskgroup_limits *ret_limits, struct err *err)
{
	struct taskgroup_limits limits;
	int r = 0;

	taskgroup_limits_init(&limits);
	if (defaults) {
		limits.memory_max_bytes = defaults->default_memory_bytes;
		limits.pids_max = defaults->default_pids;
		limits.cpu_millis = defaults->default_cpu_millis;
	}
	if (message)
		r = take_all(message, &limits, err);
	if (message && r == 0)
		r = take_cpuset("cpuset_cpus", message->cpuset_cpus, limits.cpuset_cpus, err);
	if (message && r == 0)
		r = take_cpuset("cpuset_mems", message->cpuset_mems, limits.cpuset_mems, err);
	if (message && r == 0)
		r = take_io(message, &limits, err);
	if (r < 0)
		return err_prefix(err, r, "limits");
	*ret_limits = limits;
	return 0;
}
