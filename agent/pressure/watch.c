#include "agent/pressure/watch.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "proto/cleanup.h"
#include "proto/log.h"

void watch_init(struct watch *watch, sd_event *event, struct sandboxlink *link,
		void (*stalled)(void *userdata), void *userdata)
{
	*watch = (struct watch){
		.event = event,
		.link = link,
		.stalled = stalled,
		.userdata = userdata,
		.group_fd = -1,
		.sentence = "berth-sandboxd was not asked yet",
	};
}

static void forget_sources(struct watch *watch)
{
	for (size_t i = 0; i < watch->n_sources; i++) {
		watch->sources[i] = sd_event_source_disable_unref(watch->sources[i]);
		fd_close(&watch->fds[i]);
	}
	watch->n_sources = 0;
}

void watch_done(struct watch *watch)
{
	forget_sources(watch);
	fd_close(&watch->group_fd);
}

void watch_end(struct watch *watch, const char *why)
{
	forget_sources(watch);
	(void)snprintf(watch->sentence, sizeof(watch->sentence), "%s", why);
}

/* ---- triggers ------------------------------------------------------------------------------------- */

static int on_stall(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct watch *watch = userdata;

	/* The group went away under the trigger: a new connection brings a new one. */
	if (revents & (EPOLLERR | EPOLLHUP)) {
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
		return 0;
	}
	watch->stalled(watch->userdata);
	return 0;
}

static int add_source(struct watch *watch, int *fd)
{
	size_t i = watch->n_sources;
	int r = sd_event_add_io(watch->event, &watch->sources[i], *fd, EPOLLPRI, on_stall, watch);

	if (r < 0)
		return r;
	watch->fds[i] = take_fd(fd);
	watch->n_sources++;
	return 0;
}

static void describe(struct watch *watch, const Berth__Sandbox__V1__WatchPressureResult *result)
{
	size_t length = 0;

	watch->window_us = 0;
	watch->sentence[0] = '\0';
	for (size_t i = 0; i < result->n_sources && length < sizeof(watch->sentence); i++) {
		const Berth__Sandbox__V1__PressureSource *source = result->sources[i];

		if (source->window_us > watch->window_us)
			watch->window_us = source->window_us;
		length += (size_t)snprintf(
			watch->sentence + length, sizeof(watch->sentence) - length,
			"%sstalls of %llu ms within %llu ms, of %s", i ? "; " : "",
			(unsigned long long)source->stall_us / 1000,
			(unsigned long long)source->window_us / 1000,
			strcmp(source->name, "host") == 0 ? "the whole host" : "all workloads");
	}
}

static void take_triggers(struct watch *watch,
			  const Berth__Sandbox__V1__WatchPressureResult *result, int *fds,
			  size_t n_fds)
{
	size_t n = result->n_sources;

	forget_sources(watch);
	for (size_t i = 0; i < n && i < n_fds && i < WATCH_SOURCES_MAX; i++)
		if (add_source(watch, &fds[i]) < 0)
			break; /* of no use to wait for what cannot be told */
	fd_close(&watch->group_fd);
	if (result->has_group && n < n_fds)
		watch->group_fd = take_fd(&fds[n]);
	describe(watch, result);
}

static void on_triggers(void *userdata, const struct sandboxlink_call *call,
			struct sandboxlink_reply *reply)
{
	struct watch *watch = userdata;

	if (!reply->message)
		return; /* the next connection asks again */
	if (reply->err->kind != ERR_NONE) {
		watch_end(watch, reply->err->text);
		log_event(LOG_WARNING, NULL, "nothing is done when memory runs short: %s",
			  reply->err->text);
		return;
	}
	if (reply->message->result_case == BERTH__SANDBOX__V1__REPLY__RESULT_WATCH_PRESSURE)
		take_triggers(watch, reply->message->watch_pressure, reply->fds, reply->n_fds);
}

void watch_ask(struct watch *watch, uint64_t stall_us, uint64_t window_us)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__WatchPressure message = BERTH__SANDBOX__V1__WATCH_PRESSURE__INIT;
	const struct sandboxlink_call call = { .done = on_triggers, .userdata = watch };

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_WATCH_PRESSURE;
	request.watch_pressure = &message;
	message.stall_us = stall_us;
	message.window_us = window_us;
	/* Where it cannot be sent the next connection asks. */
	(void)sandboxlink_send(watch->link, &request, &call, NULL);
}

/* ---- the limit ------------------------------------------------------------------------------------ */

static void on_limited(void *userdata, const struct sandboxlink_call *call,
		       struct sandboxlink_reply *reply)
{
	struct watch *watch = userdata;

	if (!reply->message)
		return;
	if (reply->err->kind == ERR_NONE) {
		watch->limit_bytes = call->key[0];
		watch->limit_failure[0] = '\0';
		return;
	}
	(void)snprintf(watch->limit_failure, sizeof(watch->limit_failure), "%s", reply->err->text);
	log_event(LOG_WARNING, NULL, "the host's reserve of memory is not enforced: %s",
		  reply->err->text);
}

void watch_limit(struct watch *watch, uint64_t bytes)
{
	Berth__Sandbox__V1__Request request = BERTH__SANDBOX__V1__REQUEST__INIT;
	Berth__Sandbox__V1__LimitWorkloads message = BERTH__SANDBOX__V1__LIMIT_WORKLOADS__INIT;
	const struct sandboxlink_call call = { .done = on_limited,
					       .userdata = watch,
					       .key = { bytes } };

	request.verb_case = BERTH__SANDBOX__V1__REQUEST__VERB_LIMIT_WORKLOADS;
	request.limit_workloads = &message;
	message.memory_max_bytes = bytes;
	(void)sandboxlink_send(watch->link, &request, &call, NULL);
}
