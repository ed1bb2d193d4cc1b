/*
 * What berth-sandboxd does for a host that may be short of memory: it opens the kernel's triggers, which
 * berthd has no privilege for, and bounds all workloads together. Asked again with every connection.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "agent/sandboxlink/sandboxlink.h"

#define WATCH_SOURCES_MAX 4

struct watch {
	sd_event *event;
	struct sandboxlink *link;
	void (*stalled)(void *userdata); /* tasks waited for memory for longer than was asked for */
	void *userdata;

	size_t n_sources;
	int fds[WATCH_SOURCES_MAX]; /* PSI files */
	sd_event_source *sources[WATCH_SOURCES_MAX];
	uint64_t window_us;   /* the longest that the kernel took */
	int group_fd;         /* of all workloads; -1: none */
	char sentence[256];   /* what is watched, or why nothing is */
	uint64_t limit_bytes; /* of all workloads together, in force; 0: none */
	char limit_failure[384];
};

/* Nothing is watched. @event and @link must outlive it. */
void watch_init(struct watch *watch, sd_event *event, struct sandboxlink *link,
		void (*stalled)(void *userdata), void *userdata);
void watch_done(struct watch *watch);

/* Ask for triggers. What was watched before is watched until they come. */
void watch_ask(struct watch *watch, uint64_t stall_us, uint64_t window_us);
/* Watch nothing. */
void watch_end(struct watch *watch, const char *why);
/* Ask for a limit of all workloads together; 0: none. */
void watch_limit(struct watch *watch, uint64_t bytes);
