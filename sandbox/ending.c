#include "sandbox/ending.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/failpoint.h"
#include "proto/log.h"
#include "proto/signame.h"
#include "sandbox/facts.h"
#include "sandbox/monitors.h"
#include "sandbox/outflow.h"
#include "sandbox/page_file.h"
#include "sandbox/sandboxd.h"

#define LOOK_FIRST_USEC  (10ULL * 1000)
#define LOOK_LAST_USEC   (500ULL * 1000)
#define UNKILLABLE_MAX   16 /* processes named in one fact */
#define PROCESS_TEXT_MAX 160

static struct log_about about_container(const struct container *container)
{
	return (struct log_about){ .workload = container->workload->id,
				   .container = container->name };
}

static uint64_t now_usec(struct container *container)
{
	uint64_t now = 0;

	(void)sd_event_now(container->monitor.host->event, CLOCK_BOOTTIME, &now);
	return now;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now = { 0 };

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

static bool is_populated(const struct container *container)
{
	bool populated = false;

	return container->group && taskgroup_is_populated(container->group, &populated) == 0 &&
	       populated;
}

static void arm(struct container *container, sd_event_time_handler_t handler, uint64_t usec)
{
	struct sandboxd *host = container->monitor.host;

	container->kill_timer = sd_event_source_disable_unref(container->kill_timer);
	(void)sd_event_add_time_relative(host->event, &container->kill_timer, CLOCK_BOOTTIME, usec,
					 0, handler, container);
}

/* Killing */

static size_t read_small_file(const char *path, char *text, size_t size)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

/* "pid 123 (cp) in state D waits in rpc_wait_bit_killable": nothing is done by these numbers. */
static bool describe_process(int pid, char text[static PROCESS_TEXT_MAX])
{
	char path[64];
	char stat[512];
	char wchan[64];
	char *name;
	char *end;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (read_small_file(path, stat, sizeof(stat)) == 0)
		return false;
	name = strchr(stat, '(');
	end = strrchr(stat, ')');
	if (!name || !end || end[1] != ' ')
		return false;
	(void)snprintf(path, sizeof(path), "/proc/%d/wchan", pid);
	(void)read_small_file(path, wchan, sizeof(wchan));
	end[1] = '\0';
	for (char *c = name; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	(void)snprintf(text, PROCESS_TEXT_MAX, "pid %d %.40s in state %c waits in %s", pid, name,
		       end[2], wchan[0] ? wchan : "?");
	return true;
}

static FILE *open_processes(const struct container *container)
{
	int dirs[TASKGROUP_DIR_COUNT];
	FILE *file = NULL;

	if (taskgroup_open_dirs(container->group, dirs, NULL) < 0)
		return NULL;
	for (size_t i = 0; i < TASKGROUP_DIR_COUNT; i++) {
		int fd = dirs[i] < 0 || file
				 ? -1
				 : openat(dirs[i], "cgroup.procs", O_RDONLY | O_CLOEXEC);

		if (fd >= 0 && !(file = fdopen(fd, "r")))
			fd_close(&fd);
		fd_close(&dirs[i]);
	}
	return file;
}

static void tell_unkillable(struct container *container)
{
	struct log_about about = about_container(container);
	cleanup_file FILE *file = open_processes(container);
	char texts[UNKILLABLE_MAX][PROCESS_TEXT_MAX];
	const char *processes[UNKILLABLE_MAX];
	size_t n = 0;
	int pid;

	while (file && n < UNKILLABLE_MAX && fscanf(file, "%d", &pid) == 1)
		if (describe_process(pid, texts[n])) {
			log_event(LOG_ERR, &about, "lives on after SIGKILL: %s", texts[n]);
			processes[n] = texts[n];
			n++;
		}
	if (n > 0)
		facts_unkillable(container, processes, n);
}

/* It is killed, and lives: tell of it when it is time, and look again later. */
static void look_again(struct container *container, sd_event_source *source)
{
	struct sandboxd *host = container->monitor.host;
	uint64_t since = now_usec(container) - container->killed_usec;
	uint64_t wait_usec = since / 4;

	if (!container->unkillable_told && since >= host->policy.unkillable_after_ms * 1000) {
		container->unkillable_told = true;
		tell_unkillable(container);
	}
	if (wait_usec < LOOK_FIRST_USEC)
		wait_usec = LOOK_FIRST_USEC;
	if (wait_usec > LOOK_LAST_USEC)
		wait_usec = LOOK_LAST_USEC;
	(void)sd_event_source_set_time_relative(source, wait_usec);
	(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int on_kill_look(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct container *container = userdata;

	if (!is_populated(container))
		return 0;
	if (container->monitor.host->hierarchy->layout == HIERARCHY_LEGACY)
		(void)taskgroup_kill(container->group, NULL);
	look_again(container, source);
	return 0;
}

static void look_after(struct container *container)
{
	if (container_has_ended(container) || container->kill_timer || !container->group)
		return;
	container->killed_usec = now_usec(container);
	container->unkillable_told = false;
	arm(container, on_kill_look, LOOK_FIRST_USEC);
}

/* Before STARTED there may be no group yet, and the monitor knows how to undo what there is. */
static int abort_start(struct container *container, struct err *err)
{
	if (container->abort_asked)
		return 0;
	container->abort_asked = true;
	return monitors_send(&container->monitor, MONITOR_ABORT, NULL, NULL, 0, err);
}

int ending_kill_container(struct container *container, struct err *err)
{
	int r;

	FAILPOINT("sandboxd.stop.kill");
	if (container_has_ended(container))
		return 0;
	if (container->state == PAGE_STARTING)
		return abort_start(container, err);
	if (!container->group)
		return monitors_send(&container->monitor, MONITOR_ABORT, NULL, NULL, 0, err);
	r = taskgroup_kill(container->group, err);
	look_after(container);
	return r;
}

int ending_kill_workload(struct workload *workload, struct err *err)
{
	struct container *container;
	int r;

	LIST_FOREACH (container, &workload->containers, link)
		if (container->state == PAGE_STARTING)
			(void)abort_start(container, NULL); /* a monitor that is gone has ended */
	r = taskgroup_kill(workload->group, err);
	LIST_FOREACH (container, &workload->containers, link)
		if (container->state == PAGE_RUNNING)
			look_after(container);
	return r;
}

/* Records */

static void log_end(const struct container *container)
{
	struct log_about about = about_container(container);
	const struct monitor_exited *exited = &container->exited;
	char signal[SIGNAME_MAX];

	switch (exited->exit_si_code) {
	case CLD_EXITED:
		log_event(LOG_INFO, &about, "exited with %d", exited->exit_si_status);
		break;
	case CLD_KILLED:
	case CLD_DUMPED:
		log_event(LOG_INFO, &about, "killed by %s%s",
			  signame_format(exited->exit_si_status, signal),
			  exited->total_oom_kills ? ", out of memory" : "");
		break;
	default:
		log_event(LOG_WARNING, &about, "ended, nobody knows how: %s",
			  container->unknown_reason);
	}
}

void ending_record(struct container *container, const struct monitor_exited *exited,
		   const char *unknown_reason)
{
	if (container_has_ended(container))
		return;
	container->state = PAGE_EXITED;
	container->exited = *exited;
	(void)snprintf(container->unknown_reason, sizeof(container->unknown_reason), "%s",
		       unknown_reason);
	container->kill_timer = sd_event_source_disable_unref(container->kill_timer);
	container->successor_timer = sd_event_source_disable_unref(container->successor_timer);
	outflow_end(container);
	lifeline_end(container);
	log_end(container);
	facts_exited(container);
}

void ending_start_failed(struct container *container, const struct monitor_failed *failed)
{
	struct log_about about = about_container(container);

	if (container_has_ended(container))
		return;
	container->state = PAGE_FAILED;
	container->failed = *failed;
	container->kill_timer = sd_event_source_disable_unref(container->kill_timer);
	log_event(LOG_INFO, &about, "not started, at the step %s: %s", failed->step,
		  failed->err.text);
	facts_start_failed(container);
}

void ending_stamp(struct monitor_exited *exited)
{
	exited->finished_wall_ns = clock_ns(CLOCK_REALTIME);
	exited->finished_boot_ns = clock_ns(CLOCK_BOOTTIME);
}

static uint64_t known(uint64_t value)
{
	return value == TASKGROUP_UNSET || value == TASKGROUP_UNLIMITED ? 0 : value;
}

static void write_exit(struct container_page *page, const void *data)
{
	const struct monitor_exited *exited = data;

	page->state = PAGE_EXITED;
	page->exit_si_code = exited->exit_si_code;
	page->exit_si_status = exited->exit_si_status;
	page->finished_wall_ns = exited->finished_wall_ns;
	page->finished_boot_ns = exited->finished_boot_ns;
	page->total_cpu_ns = exited->total_cpu_ns;
	page->total_memory_peak_bytes = exited->total_memory_peak_bytes;
	page->total_io_read_bytes = exited->total_io_read_bytes;
	page->total_io_write_bytes = exited->total_io_write_bytes;
	page->total_oom_kills = exited->total_oom_kills;
}

static void finish(struct container *container)
{
	struct log_about about = about_container(container);
	struct monitor_exited exited = container->exited;
	char why[sizeof(container->unknown_reason)];
	struct taskgroup_totals totals;
	struct container_page page;
	struct err err = { 0 };

	if (container->group && taskgroup_read_totals(container->group, &totals, NULL) == 0) {
		exited.total_cpu_ns = known(totals.cpu_usage_ns);
		exited.total_memory_peak_bytes = known(totals.memory_peak_bytes);
		exited.total_io_read_bytes = known(totals.io_read_bytes);
		exited.total_io_write_bytes = known(totals.io_write_bytes);
		exited.total_oom_kills = known(totals.oom_kills);
	}
	outflow_end(container);
	if (page_file_read(container->run_fd, &page, NULL) == 0) {
		exited.log_bytes = page.log_bytes;
		exited.log_dropped_bytes = page.log_dropped_bytes;
	}
	FAILPOINT("sandboxd.lost.ended");
	if (page_file_change(container->run_fd, write_exit, &exited, &err) < 0)
		log_failure(LOG_ERR, &about, &err);
	memcpy(why, container->unknown_reason, sizeof(why));
	ending_record(container, &exited, why);
}

static int on_finish_look(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct container *container = userdata;

	if (is_populated(container)) {
		(void)taskgroup_kill(container->group, NULL);
		look_again(container, source);
	} else {
		finish(container);
	}
	return 0;
}

void ending_without_monitor(struct container *container, int code, int status, const char *why)
{
	if (container_has_ended(container))
		return;
	container->exited = (struct monitor_exited){ .exit_si_code = code,
						     .exit_si_status = status };
	ending_stamp(&container->exited);
	(void)snprintf(container->unknown_reason, sizeof(container->unknown_reason), "%s", why);
	container->killed_usec = now_usec(container);
	container->unkillable_told = false;
	if (container->group)
		(void)taskgroup_kill(container->group, NULL);
	if (is_populated(container))
		arm(container, on_finish_look, LOOK_FIRST_USEC);
	else
		finish(container);
}
