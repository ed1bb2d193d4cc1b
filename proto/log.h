/*
 * What the daemons tell the operator: one sentence an event, with what it is about beside it.
 *
 * Under systemd (JOURNAL_STREAM is what stderr is) an event goes to the journal with fields:
 * BERTH_WORKLOAD, BERTH_CONTAINER, BERTH_REQUEST, BERTH_PEER, BERTH_ERRNO. Elsewhere it is one line
 * of text on stderr:
 *
 *	berthd[412]: warning: workload w-1 container main request 7: cannot ...
 *
 * Sentences may hold words of a peer or of a workload: control characters are written as '?', and an
 * event is cut at LOG_SENTENCE_MAX bytes. Nothing here allocates or fails; errno is kept.
 *
 * Priorities are syslog(3)'s: LOG_ERR: the operator must act; LOG_WARNING: somebody may have to;
 * LOG_NOTICE: the daemon's own life; LOG_INFO: that of workloads; LOG_DEBUG: each request.
 */
#pragma once

#include <stdint.h>
#include <syslog.h>

#include "proto/err.h"

#define LOG_SENTENCE_MAX 1024

/* What an event is about; NULL, "" and 0 are left out. */
struct log_about {
	const char *workload;
	const char *container;
	uint64_t request;
	const char *peer; /* "uid 990 pid 412", "10.0.0.7:5123 CN=sched-1" */
};

/* Once at start: @program is the name before each line and must outlive all events. Events above
 * @priority_max (LOG_INFO: no LOG_DEBUG) are not written. Without it: "berth", LOG_INFO, stderr. */
void log_open(const char *program, int priority_max);
void log_set_priority_max(int priority_max);

/* @about may be NULL: log_event(LOG_INFO, &(struct log_about){ .workload = id }, "%s has ended", id). */
void log_event(int priority, const struct log_about *about, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The failure where it stops: its text, its kind's name and errno beside it. */
void log_failure(int priority, const struct log_about *about, const struct err *err);
