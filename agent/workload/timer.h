/*
 * Deadlines of the engine on CLOCK_BOOTTIME, in one ordered queue behind one event source, so that a
 * thousand workloads cost one descriptor and tests can own the clock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "agent/workload/engine.h"

#define NS_PER_MS  UINT64_C(1000000)
#define NS_PER_SEC UINT64_C(1000000000)

struct timer { /* embedded; all zero: not armed */
	TAILQ_ENTRY(timer) link;
	uint64_t at_boot_ns;
	void (*fire)(struct timer *timer);
	bool armed;
};

TAILQ_HEAD(timer_list, timer);

struct timer_queue {
	struct timer_list timers; /* the soonest first */
	sd_event_source *source;  /* NULL without a loop */
	const struct engine_clock *clock;
	void (*firing)(void *userdata); /* before a batch */
	void (*fired)(void *userdata);  /* after it */
	void *userdata;
};

/* @event may be NULL; @clock NULL means the host's. Returns 0 or a negative errno with @err. */
int timer_queue_init(struct timer_queue *queue, sd_event *event, const struct engine_clock *clock,
		     struct err *err);
void timer_queue_done(struct timer_queue *queue);

uint64_t timer_boot_ns(const struct timer_queue *queue);
uint64_t timer_wall_ns(const struct timer_queue *queue);

/* Call @fire once @after_ns from now; replaces what was armed. */
void timer_arm(struct timer_queue *queue, struct timer *timer, uint64_t after_ns,
	       void (*fire)(struct timer *timer));
void timer_disarm(struct timer_queue *queue, struct timer *timer);
/* Fire what is due. */
void timer_queue_run(struct timer_queue *queue);
