#include "agent/workload/timer.h"

#include <time.h>

static uint64_t host_clock(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t timer_boot_ns(const struct timer_queue *queue)
{
	return queue->clock ? queue->clock->boot_ns(queue->clock->userdata)
			    : host_clock(CLOCK_BOOTTIME);
}

uint64_t timer_wall_ns(const struct timer_queue *queue)
{
	return queue->clock ? queue->clock->wall_ns(queue->clock->userdata)
			    : host_clock(CLOCK_REALTIME);
}

/* The event source waits for the first of the queue. */
static void follow_first(struct timer_queue *queue)
{
	const struct timer *first = TAILQ_FIRST(&queue->timers);

	if (!queue->source)
		return;
	if (!first) {
		(void)sd_event_source_set_enabled(queue->source, SD_EVENT_OFF);
		return;
	}
	/* Rounded up: woken early, it would find nothing due and be set again. */
	(void)sd_event_source_set_time(queue->source, (first->at_boot_ns + 999) / 1000);
	(void)sd_event_source_set_enabled(queue->source, SD_EVENT_ONESHOT);
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	timer_queue_run(userdata);
	return 0;
}

int timer_queue_init(struct timer_queue *queue, sd_event *event, const struct engine_clock *clock,
		     struct err *err)
{
	int r;

	TAILQ_INIT(&queue->timers);
	queue->clock = clock;
	if (!event)
		return 0;
	r = sd_event_add_time(event, &queue->source, CLOCK_BOOTTIME, UINT64_MAX, 1, on_time, queue);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot set a timer: %m");
	return 0;
}

void timer_queue_done(struct timer_queue *queue)
{
	queue->source = sd_event_source_disable_unref(queue->source);
}

void timer_disarm(struct timer_queue *queue, struct timer *timer)
{
	bool was_first = TAILQ_FIRST(&queue->timers) == timer;

	if (!timer->armed)
		return;
	TAILQ_REMOVE(&queue->timers, timer, link);
	timer->armed = false;
	if (was_first)
		follow_first(queue);
}

void timer_arm(struct timer_queue *queue, struct timer *timer, uint64_t after_ns,
	       void (*fire)(struct timer *timer))
{
	struct timer *before;
	uint64_t now = timer_boot_ns(queue);

	timer_disarm(queue, timer);
	timer->at_boot_ns = after_ns > UINT64_MAX - now ? UINT64_MAX : now + after_ns;
	timer->fire = fire;
	timer->armed = true;
	/* From the end: a new deadline is mostly the latest. */
	TAILQ_FOREACH_REVERSE(before, &queue->timers, timer_list, link)
	if (before->at_boot_ns <= timer->at_boot_ns)
		break;
	if (before)
		TAILQ_INSERT_AFTER(&queue->timers, before, timer, link);
	else
		TAILQ_INSERT_HEAD(&queue->timers, timer, link);
	if (TAILQ_FIRST(&queue->timers) == timer)
		follow_first(queue);
}

void timer_queue_run(struct timer_queue *queue)
{
	uint64_t now = timer_boot_ns(queue);
	struct timer *timer;

	if (queue->firing)
		queue->firing(queue->userdata);
	while ((timer = TAILQ_FIRST(&queue->timers)) && timer->at_boot_ns <= now) {
		timer_disarm(queue, timer);
		timer->fire(timer);
	}
	follow_first(queue);
	if (queue->fired)
		queue->fired(queue->userdata);
}
