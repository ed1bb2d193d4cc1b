/*
 * A small daemon for tests: what berth-sandboxd prepares for a launch, and the conversation with a
 * monitor. Real namespaces, cgroups and mounts; everything is removed by harness_end().
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"
#include "proto/page.h"
#include "sandbox/device_filter.h"
#include "sandbox/exec.h"
#include "sandbox/launch.h"
#include "sandbox/launcher.h"
#include "sandbox/monitor_wire.h"
#include "sandbox/namespace_pool.h"

#define HARNESS_TIMEOUT_MS 20000

struct harness {
	char directory[64]; /* rootfs/, run/, logs/ */
	struct hierarchy *hierarchy;
	struct device_filters *filters;
	struct taskgroup *workload_group;
	char workload_path[TASKGROUP_PATH_MAX];
	struct namespace_set namespaces;
	int monitors_fd;
	int program_fd;
	int root_fd;
	struct filter *filter;
	int filter_image_fd;
	struct launcher
		*launcher; /* NULL where LAUNCH_TEST_LAUNCHER=no: monitors are forked from here */
	unsigned int launches;
};

/* One launch, from the daemon's side. */
struct container {
	struct launch_spec spec;
	struct taskgroup_limits limits;
	char group_path[TASKGROUP_PATH_MAX];
	char name[32];
	int run_fd;
	int log_fd;
	int page_fd;
	const struct container_page *page;
	struct launched launched;
	struct monitor_started started;
	int started_fds[MONITOR_FDS_MAX];
	size_t started_fd_count;
	struct monitor_message last; /* of the kind that was waited for */
	struct monitor_denied denied;
	bool saw_denied;
	char warnings[1024];
};

/* False, with a line on stderr, where the tests cannot run: not root. */
bool harness_possible(void);

void harness_begin(struct harness *harness, bool host_ids);
void harness_end(struct harness *harness);

/* A spec with all defaults that runs @argv (which must stay). */
void container_init(struct container *container, struct harness *harness, const char *const *argv);
void container_launch(struct container *container, struct harness *harness);

/* Receive until @kind came, keeping what came before. Fails the test after HARNESS_TIMEOUT_MS. */
void container_expect(struct container *container, uint32_t kind);

/* The same, until one of the two came: which one. */
uint32_t container_expect_either(struct container *container, uint32_t kind, uint32_t other);
void container_tell(struct container *container, uint32_t kind, struct monitor_message *message,
		    int fd);

/* STARTED, EXITED, ACK; the monitor is collected. The record is in container->last. */
void container_run(struct container *container, struct harness *harness);
void container_finish(struct container *container);

/* Collect the monitor; its wait status. */
int container_wait_monitor(struct container *container);

/* The content of all records of @stream ("stdout"), parts joined, lines ended; malloc'ed. */
char *container_log(struct container *container, const char *stream);

/* Remove cgroup, page, logs; close everything. */
void container_done(struct container *container, struct harness *harness);
