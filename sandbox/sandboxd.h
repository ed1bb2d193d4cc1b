/*
 * What berth-sandboxd holds from its start to its end, for the files that carry out its requests.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include <systemd/sd-event.h>

#include "sandbox/layer_store.h"
#include "sandbox/policy.h"
#include "sandbox/registry.h"

#define SANDBOXD_PROTOCOL 1
#define SANDBOXD_VERSION  "0.1.0"

struct agent_link;
struct departures;
struct device_filters;
struct filter_cache;
struct hierarchy;
struct launcher;
struct layer_jobs;
struct leftovers;
struct namespace_pool;
struct reaper;
struct slow_writes;

struct sandboxd {
	sd_event *event;
	struct policy policy;
	const char *policy_path;
	struct hierarchy *hierarchy;
	struct device_filters *device_filters; /* NULL where the kernel has no such programs */
	struct filter_cache *filters;
	struct reaper *reaper;
	struct departures *departures;
	struct idranges *ranges;
	struct namespace_pool *pool;
	struct registry registry;
	struct leftovers *leftovers;
	struct launcher *launcher;
	struct agent_link *link;
	struct slow_writes *slow_writes;
	struct layer_store layers;
	struct layer_jobs *layer_jobs;
	int unpack_program_fd; /* -1: not installed */
	int monitor_program_fd;
	int monitors_fd; /* -1 in legacy */
	int groups_lock_fd;
	int run_fd;
	int log_fd;
	int proc_fd;
	uid_t agent_uid;
	gid_t agent_gid; /* of berthd, which reads the log files */
	char boot_id[40];
	bool stopping;
	/* What was of nobody when the daemon started, and was removed. */
	struct {
		size_t groups;      /* with their processes */
		size_t directories; /* of workloads and containers, in the run directory */
		size_t descriptors; /* in systemd's store */
		size_t layers;      /* unpacked or removed by half */
		size_t mounts;      /* of volumes */
	} orphans;
	size_t foreign_groups; /* where only ours should be; left alone */
	/* Why nothing new is begun, "" if it is: the monitors' program, or berthd, is of another release. */
	char monitor_mismatch[sizeof(((struct err *)0)->text)];
	char agent_mismatch[256];
};
