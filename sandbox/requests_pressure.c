/* Requests of a host that is short of memory: WatchPressure, Reclaim, Squeeze, LimitWorkloads. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/agent_link.h"
#include "sandbox/call.h"
#include "sandbox/hierarchy.h"
#include "sandbox/sandboxd.h"
#include "sandbox/slow_write.h"
#include "sandbox/taskgroup.h"

#define WINDOW_MIN_US     500000ULL
#define WINDOW_MAX_US     10000000ULL
#define BYTES_MAX         (UINT64_MAX >> 2)
#define LIMIT_MIN_BYTES   (16ULL << 20) /* less is a mistake, and would end everything */
#define SQUEEZE_MIN_BYTES (1ULL << 20)

static const struct {
	enum hierarchy_pressure which;
	const char *name;
} sources[] = { { HIERARCHY_PRESSURE_WORKLOADS, "workloads" },
		{ HIERARCHY_PRESSURE_HOST, "host" } };

static int add_source(struct call *call, size_t index,
		      Berth__Sandbox__V1__WatchPressureResult *result, int *ret_fd)
{
	const Berth__Sandbox__V1__WatchPressure *wish = call->request->watch_pressure;
	Berth__Sandbox__V1__PressureSource *source =
		arena_message(call->arena, &berth__sandbox__v1__pressure_source__descriptor);
	int fd;

	if (!source)
		return -ENOMEM;
	source->name = (char *)sources[index].name;
	source->stall_us = wish->stall_us;
	source->window_us = wish->window_us;
	fd = hierarchy_watch_pressure(call->host->hierarchy, sources[index].which,
				      &source->stall_us, &source->window_us);
	if (fd < 0)
		return fd;
	if (arena_append(call->arena, &result->sources, &result->n_sources, source) < 0) {
		fd_close(&fd);
		return -ENOMEM;
	}
	*ret_fd = fd;
	return 0;
}

/* With the umask of a service nobody but root could open a file in it. Its group may look, no more: the files
 * in it stay root's. */
static int open_group(const struct sandboxd *host)
{
	int fd = hierarchy_open_workloads(host->hierarchy);

	if (fd >= 0 && (fchown(fd, (uid_t)-1, host->agent_gid) < 0 || fchmod(fd, 0750) < 0))
		fd_close(&fd);
	return fd;
}

/*
 * Safe: which files these are is the daemon's choice. The descriptors tell averages and nothing else; a
 * trigger costs the kernel one reading in a tenth of its window, which is bounded from below, and ends
 * with the descriptor. The directory opens files for reading only in the hands of who is not root.
 */
int call_watch_pressure(struct call *call, struct err *err)
{
	const Berth__Sandbox__V1__WatchPressure *wish = call->request->watch_pressure;
	Berth__Sandbox__V1__Reply reply = BERTH__SANDBOX__V1__REPLY__INIT;
	Berth__Sandbox__V1__WatchPressureResult result =
		BERTH__SANDBOX__V1__WATCH_PRESSURE_RESULT__INIT;
	int fds[ARRAY_SIZE(sources) + 1];
	size_t n = 0;
	int r = -EOPNOTSUPP;

	if (wish->window_us < WINDOW_MIN_US || wish->window_us > WINDOW_MAX_US ||
	    wish->stall_us == 0 || wish->stall_us > wish->window_us)
		return err_set(err, ERR_INVALID, EINVAL,
			       "window_us: from %llu to %llu; stall_us: from 1 to the window",
			       WINDOW_MIN_US, WINDOW_MAX_US);
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		r = add_source(call, i, &result, &fds[n]);
		n = result.n_sources;
	}
	if (n == 0)
		return err_set(err, ERR_UNSUPPORTED, -r,
			       "the kernel does not tell of stalls: %m (PSI: boot with psi=1)");
	fds[n] = open_group(call->host);
	result.has_group = fds[n] >= 0;
	n += result.has_group;
	reply.result_case = BERTH__SANDBOX__V1__REPLY__RESULT_WATCH_PRESSURE;
	reply.watch_pressure = &result;
	agent_link_reply(call->host->link, call->asker, &reply, fds, n);
	for (size_t i = 0; i < n; i++)
		fd_close(&fds[i]);
	return 1;
}

static int begin(struct call *call, struct slow_write *write, const char *what, struct err *err)
{
	cleanup_fd int dir_fd = -1;
	char text[160];
	int r;

	(void)snprintf(text, sizeof(text), "%s of workload %s", what, call->workload->id);
	write->what = text;
	write->asker = call->asker;
	dir_fd = call->workload->group ? taskgroup_open_memory_dir(call->workload->group) : -ENOENT;
	if (dir_fd < 0)
		return err_set(err, ERR_UNAVAILABLE, -dir_fd, "its cgroup could not be opened: %m");
	write->dir_fd = dir_fd;
	r = slow_write_begin(call->host->slow_writes, write, err);
	return r < 0 ? r : 1;
}

/* Safe: takes memory from one workload of ours, as the kernel does by itself; in a child, whose number
 * is bounded. */
int call_reclaim(struct call *call, struct err *err)
{
	const Berth__Sandbox__V1__Reclaim *wish = call->request->reclaim;
	const struct hierarchy_feature *feature = hierarchy_feature(call->host->hierarchy,
								    "cgroup.memory.reclaim");
	bool v2 = hierarchy_is_v2(call->host->hierarchy, CONTROLLER_MEMORY);
	struct slow_write write = { .file = v2 ? "memory.reclaim" : "memory.force_empty",
				    .value = v2 ? NULL : "0",
				    .bytes = wish->bytes };

	if (wish->bytes == 0 || wish->bytes > BYTES_MAX)
		return err_set(err, ERR_INVALID, ERANGE, "bytes: out of range");
	if (!feature || !feature->supported)
		return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP, "%s",
			       feature ? feature->sentence : "no memory controller");
	return begin(call, &write, "take memory back", err);
}

/* Safe: a limit of one workload of ours, that slows it and kills nothing. */
int call_squeeze(struct call *call, struct err *err)
{
	uint64_t bytes = call->request->squeeze->memory_high_bytes;
	char value[32] = "max";
	struct slow_write write = { .file = "memory.high", .value = value };

	if (!hierarchy_is_v2(call->host->hierarchy, CONTROLLER_MEMORY))
		return err_set(err, ERR_UNSUPPORTED, EOPNOTSUPP,
			       "memory.high is a matter of cgroup v2");
	if (bytes > BYTES_MAX || (bytes && bytes < SQUEEZE_MIN_BYTES))
		return err_set(err, ERR_INVALID, ERANGE, "memory_high_bytes: out of range");
	if (bytes)
		(void)snprintf(value, sizeof(value), "%" PRIu64, bytes);
	return begin(call, &write, "set memory.high", err);
}

/* Safe: bounds all workloads of ours together, whom berthd may end anyway, and nobody else. Never below
 * what they hold, so that the kernel ends none by it now. */
int call_limit_workloads(struct call *call, struct err *err)
{
	const struct hierarchy *hierarchy = call->host->hierarchy;
	bool v2 = hierarchy_is_v2(hierarchy, CONTROLLER_MEMORY);
	uint64_t limit = call->request->limit_workloads->memory_max_bytes;
	cleanup_fd int dir_fd = hierarchy_open_workloads(hierarchy);
	char value[32];
	struct slow_write write = { .dir_fd = dir_fd,
				    .file = v2 ? "memory.max" : "memory.limit_in_bytes",
				    .value = value,
				    .what = "limit the memory of all workloads",
				    .asker = call->asker };
	int r = 0;

	if (dir_fd < 0)
		return err_set(err, ERR_UNSUPPORTED, -dir_fd,
			       "there is no memory controller to limit all workloads by");
	if (limit > BYTES_MAX || (limit && limit < LIMIT_MIN_BYTES))
		return err_set(err, ERR_INVALID, ERANGE,
			       "memory_max_bytes: at least %llu, or 0 for none", LIMIT_MIN_BYTES);
	if (limit)
		r = hierarchy_check_workloads_fit(dir_fd, v2, limit, err);
	if (limit)
		(void)snprintf(value, sizeof(value), "%" PRIu64, limit);
	else
		(void)snprintf(value, sizeof(value), "%s", v2 ? "max" : "-1");
	if (r == 0)
		r = slow_write_begin(call->host->slow_writes, &write, err);
	return r < 0 ? r : 1;
}
