#include "agent/telemetry/sampler.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#define GO   1
#define QUIT (1ull << 32)

struct sampler {
	void (*done)(void *userdata);
	void *userdata;
	sd_event_source *source;
	pthread_t thread;
	bool has_thread;
	int go_fd;   /* loop to thread */
	int done_fd; /* thread to loop */
	bool reading;
	/* The thread reads these while `reading`, and the loop changes them only while it is not. */
	struct target **targets;
	size_t count, capacity;
	struct node_sample node;
	/* What came in the meantime. */
	struct target **waiting;
	size_t waiting_count, waiting_capacity;
	bool has_removed;
};

uint64_t sampler_boot_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- The thread ---- */

static void read_target(struct target *target)
{
	const struct container_page *page = target->page;

	target->before = target->sampled ? target->now : (struct usage_sample){ 0 };
	usage_files_read(target->files, sampler_boot_ns(), &target->now);
	target->sampled = true;
	if (!page)
		return;
	/* Single counters: each is whole by itself, so the page's sequence count is not needed. */
	target->log_bytes = __atomic_load_n(&page->log_bytes, __ATOMIC_RELAXED);
	target->log_dropped_bytes = __atomic_load_n(&page->log_dropped_bytes, __ATOMIC_RELAXED);
	target->denied = __atomic_load_n(&page->denied_total, __ATOMIC_RELAXED);
}

static void *thread_main(void *userdata)
{
	struct sampler *sampler = userdata;
	uint64_t word = 0;

	for (;;) {
		if (read(sampler->go_fd, &word, sizeof(word)) != (ssize_t)sizeof(word))
			continue; /* EINTR */
		if (word >= QUIT)
			return NULL;
		node_usage_read(sampler_boot_ns(), &sampler->node);
		for (size_t i = 0; i < sampler->count; i++)
			if (sampler->targets[i])
				read_target(sampler->targets[i]);
		word = 1;
		(void)!write(sampler->done_fd, &word, sizeof(word));
	}
}

/* ---- The loop ---- */

static int append(struct target ***array, size_t *count, size_t *capacity, struct target *target)
{
	if (*count == *capacity) {
		size_t grown = *capacity ? *capacity * 2 : 64;
		struct target **larger = realloc(*array, grown * sizeof(**array));

		if (!larger)
			return -ENOMEM;
		*array = larger;
		*capacity = grown;
	}
	(*array)[(*count)++] = target;
	return 0;
}

static int place(struct sampler *sampler, struct target *target)
{
	for (size_t i = 0; i < sampler->count; i++)
		if (!sampler->targets[i]) {
			sampler->targets[i] = target;
			target->index = i;
			return 0;
		}
	target->index = sampler->count;
	return append(&sampler->targets, &sampler->count, &sampler->capacity, target);
}

static void take_removed(struct sampler *sampler)
{
	for (size_t i = 0; i < sampler->count; i++) {
		struct target *target = sampler->targets[i];

		if (!target || !target->removed)
			continue;
		sampler->targets[i] = NULL;
		target->release(target);
	}
	sampler->has_removed = false;
	while (sampler->count > 0 && !sampler->targets[sampler->count - 1])
		sampler->count--;
}

static void take_waiting(struct sampler *sampler)
{
	for (size_t i = 0; i < sampler->waiting_count; i++) {
		struct target *target = sampler->waiting[i];

		if (target->removed || place(sampler, target) < 0)
			target->release(target);
	}
	sampler->waiting_count = 0;
}

static int on_done(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct sampler *sampler = userdata;
	uint64_t word;

	if (read(fd, &word, sizeof(word)) < 0)
		return 0;
	sampler->reading = false;
	sampler->done(sampler->userdata);
	if (sampler->has_removed)
		take_removed(sampler);
	take_waiting(sampler);
	return 0;
}

static int start_thread(struct sampler *sampler, struct err *err)
{
	sigset_t all, before;
	int r;

	/* Signals are the loop's. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&sampler->thread, NULL, thread_main, sampler);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r != 0)
		return err_set(err, ERR_INTERNAL, r, "cannot start the telemetry thread: %m");
	sampler->has_thread = true;
	(void)pthread_setname_np(sampler->thread, "telemetry");
	return 0;
}

int sampler_new(sd_event *event, void (*done)(void *userdata), void *userdata, struct sampler **ret,
		struct err *err)
{
	struct sampler *sampler = calloc(1, sizeof(*sampler));
	int r;

	if (!sampler)
		return err_oom(err);
	sampler->done = done;
	sampler->userdata = userdata;
	sampler->go_fd = eventfd(0, EFD_CLOEXEC);
	sampler->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = sampler->go_fd < 0 || sampler->done_fd < 0
		    ? -errno
		    : sd_event_add_io(event, &sampler->source, sampler->done_fd, EPOLLIN, on_done,
				      sampler);
	if (r < 0)
		r = err_set(err, ERR_INTERNAL, -r, "cannot start telemetry: %m");
	else
		r = start_thread(sampler, err);
	if (r < 0) {
		sampler_free(sampler);
		return r;
	}
	*ret = sampler;
	return 0;
}

void sampler_free(struct sampler *sampler)
{
	const uint64_t quit = QUIT;

	if (!sampler)
		return;
	if (sampler->has_thread) {
		(void)!write(sampler->go_fd, &quit, sizeof(quit));
		(void)pthread_join(sampler->thread, NULL);
	}
	for (size_t i = 0; i < sampler->count; i++)
		if (sampler->targets[i])
			sampler->targets[i]->release(sampler->targets[i]);
	for (size_t i = 0; i < sampler->waiting_count; i++)
		sampler->waiting[i]->release(sampler->waiting[i]);
	sd_event_source_disable_unref(sampler->source);
	fd_close(&sampler->go_fd);
	fd_close(&sampler->done_fd);
	free(sampler->targets);
	free(sampler->waiting);
	free(sampler);
}

int sampler_add(struct sampler *sampler, struct target *target)
{
	target->index = SIZE_MAX;
	if (!sampler->reading)
		return place(sampler, target);
	return append(&sampler->waiting, &sampler->waiting_count, &sampler->waiting_capacity,
		      target);
}

void sampler_remove(struct sampler *sampler, struct target *target)
{
	target->removed = true;
	sampler->has_removed = true;
	if (!sampler->reading)
		take_removed(sampler);
}

bool sampler_start(struct sampler *sampler)
{
	const uint64_t go = GO;

	if (sampler->reading)
		return false;
	sampler->reading = true;
	(void)!write(sampler->go_fd, &go, sizeof(go));
	return true;
}

bool sampler_is_reading(const struct sampler *sampler)
{
	return sampler->reading;
}

struct target *const *sampler_targets(const struct sampler *sampler, size_t *ret_count)
{
	*ret_count = sampler->count;
	return sampler->targets;
}

const struct node_sample *sampler_node(const struct sampler *sampler)
{
	return &sampler->node;
}
