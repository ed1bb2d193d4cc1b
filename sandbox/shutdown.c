#include "sandbox/shutdown.h"

#include <errno.h>
#include <time.h>

#include "proto/log.h"
#include "sandbox/ending.h"
#include "sandbox/leftovers.h"
#include "sandbox/removal.h"
#include "sandbox/sandboxd.h"

#define STOP_LIMIT_USEC   (10ULL * 1000 * 1000)
#define REMOVE_LIMIT_USEC (5ULL * 1000 * 1000)
#define TURN_USEC         (20ULL * 1000)

static uint64_t now_usec(void)
{
	struct timespec now = { 0 };

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int kill_one(struct workload *workload, void *userdata)
{
	struct log_about about = { .workload = workload->id };
	struct err err = { 0 };

	(void)taskgroup_freeze(workload->group, false, NULL); /* a frozen v1 group does not die */
	if (ending_kill_workload(workload, &err) < 0)
		log_failure(LOG_WARNING, &about, &err);
	return 0;
}

static int is_running(struct workload *workload, void *userdata)
{
	return workload_count_running(workload) > 0;
}

static int take_one(struct workload *workload, void *userdata)
{
	*(struct workload **)userdata = workload;
	return 1;
}

/* Monitors tell of the ends, as always: the loop runs on until all have. */
static void wait_for_ends(struct sandboxd *host)
{
	const uint64_t limit = now_usec() + STOP_LIMIT_USEC;

	while (registry_walk(&host->registry, is_running, NULL) && now_usec() < limit)
		(void)sd_event_run(host->event, TURN_USEC);
}

static void remove_all(struct sandboxd *host)
{
	struct workload *workload;
	uint64_t limit;

	while (registry_walk(&host->registry, take_one, &workload))
		removal_workload(host, workload, NULL, NULL);
	limit = now_usec() + REMOVE_LIMIT_USEC;
	while (leftovers_count(host->leftovers) > 0 && now_usec() < limit)
		(void)sd_event_run(host->event, TURN_USEC);
}

/* The monitors are the last to leave: each ends when its exit record has been taken. */
static void remove_tree(struct sandboxd *host)
{
	const uint64_t limit = now_usec() + REMOVE_LIMIT_USEC;
	struct err err = { 0 };
	int r;

	while ((r = hierarchy_remove_if_empty(host->hierarchy, &err)) == -EBUSY &&
	       now_usec() < limit)
		(void)sd_event_run(host->event, TURN_USEC);
	if (r < 0)
		log_event(LOG_WARNING, NULL, "control groups are left below %s: %s",
			  host->hierarchy->base, r == -EBUSY ? "they are in use" : err.text);
}

void shutdown_stop_workloads(struct sandboxd *host)
{
	(void)registry_walk(&host->registry, kill_one, NULL);
	wait_for_ends(host);
	remove_all(host);
	if (host->hierarchy)
		remove_tree(host);
}
