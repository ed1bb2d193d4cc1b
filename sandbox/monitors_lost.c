/*
 * A monitor has died before its container or session. While the daemon is what it was when the monitor
 * was forked, the first process becomes its child (it is a subreaper), and the kernel tells the exact
 * end. After a restart of the daemon the process goes to init, and only a kernel that keeps the exit status
 * with the pidfd (Linux 6.15, PIDFD_GET_INFO) still knows. Where nobody does, that is said, never guessed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "proto/failpoint.h"
#include "proto/log.h"
#include "sandbox/ending.h"
#include "sandbox/exit_info.h"
#include "sandbox/facts.h"
#include "sandbox/leftovers.h"
#include "sandbox/monitors.h"
#include "sandbox/outflow.h"
#include "sandbox/page_file.h"
#include "sandbox/sandboxd.h"
#include "sandbox/successor.h"

#define AGAIN_USEC (10ULL * 1000 * 1000) /* until another monitor is tried */

static void first_has_ended(struct monitor *monitor, int code, int status, const char *why)
{
	monitor->first_source = sd_event_source_disable_unref(monitor->first_source);
	monitor->ended = true;
	if (monitor->session) {
		struct monitor_exited exited = { .exit_si_code = code, .exit_si_status = status };

		ending_stamp(&exited);
		facts_exec_exited(monitor->session, &exited);
		session_free(monitor->session);
		return;
	}
	ending_without_monitor(monitor->container, code, status, why);
}

/* EPOLLIN: it has ended. EPOLLHUP: and was collected by its parent; then the status is with the pidfd. */
static int on_first_pidfd(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct monitor *monitor = userdata;
	int code, status;
	int r = exit_info_read(fd, &code, &status);

	if (r > 0)
		first_has_ended(monitor, code, status, "");
	else if (r < 0 || (revents & EPOLLHUP))
		first_has_ended(
			monitor, 0, 0,
			"monitor-lost: the monitor died first, and this kernel keeps no exit status");
	else
		(void)sd_event_source_set_io_events(source, 0); /* EPOLLHUP comes all the same */
	return 0;
}

static bool is_our_child(int pidfd)
{
	siginfo_t end = { 0 };

	return pidfd >= 0 && waitid(P_PIDFD, (id_t)pidfd, &end, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void wait_for_first(struct monitor *monitor)
{
	if (monitor->is_collected) {
		first_has_ended(monitor, monitor->collected.exit_si_code,
				monitor->collected.exit_si_status, "");
		return;
	}
	if (is_our_child(monitor->first_pidfd))
		return; /* the reaper was told to watch it when it started */
	if (monitor->first_pidfd < 0 ||
	    sd_event_add_io(monitor->host->event, &monitor->first_source, monitor->first_pidfd,
			    EPOLLIN, on_first_pidfd, monitor) < 0)
		first_has_ended(monitor, 0, 0,
				"monitor-lost: the monitor died, and nobody is left to know");
}

/* The monitor may have written its record and died before it could say so. */
static bool take_from_page(struct container *container)
{
	struct container_page page;
	struct monitor_exited exited;

	if (page_file_read(container->run_fd, &page, NULL) < 0 || page.state != PAGE_EXITED)
		return false;
	exited = (struct monitor_exited){
		.exit_si_code = page.exit_si_code,
		.exit_si_status = page.exit_si_status,
		.finished_wall_ns = page.finished_wall_ns,
		.finished_boot_ns = page.finished_boot_ns,
		.total_cpu_ns = page.total_cpu_ns,
		.total_memory_peak_bytes = page.total_memory_peak_bytes,
		.total_io_read_bytes = page.total_io_read_bytes,
		.total_io_write_bytes = page.total_io_write_bytes,
		.total_oom_kills = page.total_oom_kills,
		.log_bytes = page.log_bytes,
		.log_dropped_bytes = page.log_dropped_bytes,
		.killed_processes = page.exit_killed_processes,
	};
	container->monitor.ended = true;
	ending_record(container, &exited, "");
	return true;
}

static void give_up_page(struct container_page *page, const void *data)
{
	uint32_t state = PAGE_STARTING;

	(void)__atomic_compare_exchange_n(&page->state, &state, PAGE_FAILED, false,
					  __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* It was never exec'd, so that all there can be is its group, with a process that waits in it. */
static void undo_start(struct container *container, const char *why)
{
	struct sandboxd *host = container->monitor.host;
	struct monitor_failed failed = { .step = "monitor" };
	struct taskgroup *group = NULL;
	char path[TASKGROUP_PATH_MAX];

	/* A monitor from before may be so early that it has no socket yet: it sees this, and undoes. */
	(void)page_file_change(container->run_fd, give_up_page, NULL, NULL);
	if (monitors_group_path(container, path, NULL) == 0 &&
	    taskgroup_open(host->hierarchy, path, TASKGROUP_CONTAINER, 0, &group, NULL) == 0)
		(void)leftovers_remove(host->leftovers, group, 0, NULL);
	(void)err_set(&failed.err, ERR_INTERNAL, ECHILD, "the launch was cut off: %s", why);
	container->monitor.ended = true;
	ending_start_failed(container, &failed);
}

/* Whether another monitor has taken its place. */
static bool succeed(struct container *container)
{
	struct log_about about = { .workload = container->workload->id,
				   .container = container->name };
	struct err err = { 0 };
	char lost[200];

	if (lifeline_describe_loss(container, lost, sizeof(lost)))
		monitors_warn(container, "lost with its monitor, as nobody kept it: %s", lost);
	if (successor_begin(container, &err) < 0) {
		log_failure(LOG_ERR, &about, &err);
		return false;
	}
	log_event(LOG_NOTICE, &about, "it has another monitor, pid %d",
		  (int)container->monitor.pid);
	return true;
}

/* The daemon itself has drained its output meanwhile. Its end may have been seen too: then that is under way. */
static int on_time_to_succeed(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct container *container = userdata;

	if (container->monitor.ended)
		return 0;
	outflow_end(container);
	if (!succeed(container)) {
		outflow_begin(container);
		(void)sd_event_source_set_time_relative(source, AGAIN_USEC);
		(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	}
	return 0;
}

static void do_without(struct container *container)
{
	outflow_begin(container);
	container->successor_timer = sd_event_source_disable_unref(container->successor_timer);
	(void)sd_event_add_time_relative(container->monitor.host->event,
					 &container->successor_timer, CLOCK_BOOTTIME, AGAIN_USEC, 0,
					 on_time_to_succeed, container);
}

void monitors_lost(struct monitor *monitor, const char *why)
{
	struct log_about about = { .workload = monitor->container->workload->id,
				   .container = monitor->container->name };

	log_event(LOG_WARNING, &about, "%s", why);
	FAILPOINT("sandboxd.lost.begin");
	monitor->lost = true;
	/* Taken back, and dead before it could say STARTED again. */
	if (!monitor->session && monitor->container->state == PAGE_RUNNING)
		monitor->started = true;
	if (monitor->started && !monitor->session && take_from_page(monitor->container))
		return;
	if (monitor->started && !monitor->session) {
		if (succeed(monitor->container))
			return;
		do_without(monitor->container);
	}
	if (monitor->started)
		wait_for_first(monitor);
	else if (monitor->session)
		monitors_session_cut_off(monitor->session, why);
	else
		undo_start(monitor->container, why);
}
