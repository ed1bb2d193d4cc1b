#include "sandbox/outflow.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proto/log.h"
#include "sandbox/page_file.h"
#include "sandbox/sandboxd.h"

/* Of one pipe; a workload that writes more waits, as it would for a slow disk. */
#define READS_A_TURN 16
#define TURN_USEC    (100ULL * 1000)

static void add_dropped(struct container_page *page, const void *data)
{
	page->log_dropped_bytes += *(const uint64_t *)data;
}

static void count(struct container *container, uint64_t bytes)
{
	struct log_about about = { .workload = container->workload->id,
				   .container = container->name };
	struct err err = { 0 };

	if (bytes && page_file_change(container->run_fd, add_dropped, &bytes, &err) < 0)
		log_failure(LOG_WARNING, &about, &err);
}

static int on_output(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	static char buffer[64U << 10];
	ssize_t n = read(fd, buffer, sizeof(buffer));

	if (n > 0)
		count(userdata, (uint64_t)n);
	else if (n == 0 ||
		 (errno != EAGAIN && errno != EINTR)) /* a terminal without a slave: EIO */
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

void outflow_begin(struct container *container)
{
	struct log_about about = { .workload = container->workload->id,
				   .container = container->name };

	for (int i = MONITOR_KEEP_STDOUT; i <= MONITOR_KEEP_TERMINAL; i++) {
		sd_event_source **source = &container->stream_sources[i];
		int r;

		if (container->lifeline.fds[i] < 0 || *source)
			continue;
		r = sd_event_add_io(container->monitor.host->event, source,
				    container->lifeline.fds[i], EPOLLIN, on_output, container);
		if (r >= 0)
			r = sd_event_source_set_priority(*source, SD_EVENT_PRIORITY_IDLE);
		if (r >= 0)
			r = sd_event_source_set_ratelimit(*source, TURN_USEC, READS_A_TURN);
		if (r < 0)
			log_event(LOG_WARNING, &about, "nobody reads its output any more");
	}
}

void outflow_end(struct container *container)
{
	for (int i = MONITOR_KEEP_STDOUT; i <= MONITOR_KEEP_TERMINAL; i++) {
		int left = 0;

		if (container->stream_sources[i] &&
		    ioctl(container->lifeline.fds[i], FIONREAD, &left) == 0 && left > 0)
			count(container, (uint64_t)left);
		container->stream_sources[i] =
			sd_event_source_disable_unref(container->stream_sources[i]);
	}
}
