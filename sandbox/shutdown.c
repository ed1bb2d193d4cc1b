#include "sandbox/shutdown.h"

#include <errno.h>
#include <time.h>

#include <systemd/sd-daemon.h>

#include "proto/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/departures.h"
#include "sandbox/ending.h"
#include "sandbox/layer_jobs.h"
#include "sandbox/leftovers.h"
#include "sandbox/namespace_pool.h"
#include "sandbox/reaper.h"
#include "sandbox/removal.h"
#include "sandbox/sandboxd.h"

#define LAUNCH_LIMIT_USEC (3ULL * 1000 * 1000)
#define STOP_LIMIT_USEC   (10ULL * 1000 * 1000)
#define REMOVE_LIMIT_USEC (5ULL * 1000 * 1000)
#define DEPART_LIMIT_USEC (5ULL * 1000 * 1000)
#define TURN_USEC         (20ULL * 1000)

static uint64_t now_usec(void)
{
	struct timespec now = { 0 };

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Run the loop while @goes_on, for at most @limit_usec: what it asks about changes by events only. */
static void run_while(struct sandboxd *host, bool (*goes_on)(struct sandboxd *host),
		      uint64_t limit_usec)
{
	const uint64_t end = now_usec() + limit_usec;

	while (goes_on(host)) {
		uint64_t now = now_usec();

		if (now >= end || sd_event_run(host->event, end - now) < 0)
			return;
	}
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

static int has_not_ended(struct workload *workload, void *userdata)
{
	const struct container *container;

	if (workload_count_running(workload) > 0)
		return 1;
	LIST_FOREACH (container, &workload->containers, link)
		if (container->n_sessions > 0)
			return 1;
	return 0;
}

static bool some_have_not_ended(struct sandboxd *host)
{
	return registry_walk(&host->registry, has_not_ended, NULL) != 0;
}

static int take_one(struct workload *workload, void *userdata)
{
	*(struct workload **)userdata = workload;
	return 1;
}

static bool groups_are_left(struct sandboxd *host)
{
	return host->leftovers && leftovers_count(host->leftovers) > 0;
}

/* Monitors tell of the ends, as always, and berthd hears of them. */
static void stop_workloads(struct sandboxd *host)
{
	struct workload *workload;

	agent_link_stop_asking(host->link);
	(void)registry_walk(&host->registry, kill_one, NULL);
	run_while(host, some_have_not_ended, STOP_LIMIT_USEC);
	while (registry_walk(&host->registry, take_one, &workload))
		removal_workload(host, workload, NULL, NULL);
	run_while(host, groups_are_left, REMOVE_LIMIT_USEC);
}

static int is_starting(struct workload *workload, void *userdata)
{
	const struct container *container;

	LIST_FOREACH (container, &workload->containers, link)
		if (container->state == PAGE_STARTING)
			return 1;
	return 0;
}

/* What was begun is brought to its end, and berthd hears of it; requests.c lets nothing more begin. */
static bool some_are_starting(struct sandboxd *host)
{
	return host->link && registry_walk(&host->registry, is_starting, NULL) != 0;
}

static bool some_are_here(struct sandboxd *host)
{
	return departures_count(host->departures) > 0;
}

/* After this nobody is born, and who is about to end has ended. */
static void wait_for_departures(struct sandboxd *host)
{
	size_t n;

	agent_link_free(host->link);
	host->link = NULL;
	namespace_pool_free(host->pool);
	host->pool = NULL;
	n = departures_count(host->departures);
	if (n > 0)
		(void)sd_notifyf(0, "STATUS=Stopping: waiting for helpers to end (%zu)", n);
	run_while(host, some_are_here, DEPART_LIMIT_USEC);
	n = departures_count(host->departures);
	if (n > 0)
		log_event(LOG_WARNING, NULL,
			  "%zu processes that were about to end are still there after %llu s", n,
			  DEPART_LIMIT_USEC / 1000000);
	if (host->reaper)
		reaper_collect(host->reaper);
}

/* Whatever else is in there belongs to somebody else: no event tells of it. */
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

void shutdown_run(struct sandboxd *host, bool workloads_end)
{
	run_while(host, some_are_starting, LAUNCH_LIMIT_USEC);
	if (workloads_end)
		stop_workloads(host);
	wait_for_departures(host);
	layer_jobs_stop(host->layer_jobs);
	if (workloads_end && host->hierarchy)
		remove_tree(host);
}
