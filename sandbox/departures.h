/*
 * Processes that have nothing left to do but end: helpers whose work is done, monitors whose record was
 * taken. While the daemon runs nobody waits for them; at its own end it does (sandbox/shutdown.c), so that
 * whoever sees the service stopped finds no process of it but those that are to live on.
 *
 * They are held by pidfds, for not all are our children: a monitor from before a restart is none.
 */
#pragma once

#include <stddef.h>

#include <systemd/sd-event.h>

#include "proto/cleanup.h"
#include "proto/err.h"

struct departures;

/* ERR_INTERNAL without memory. */
int departures_new(sd_event *event, struct departures **ret_departures, struct err *err);

/* Those that have not ended yet end all the same. Accepts NULL. */
void departures_free(struct departures *departures);
DEFINE_CLEANUP(struct departures *, departures_free)

/* The process behind @pidfd, which becomes theirs, is about to end. Ignored where there is nobody to hold
 * it for (NULL), no descriptor (-1) or no memory: then it is not waited for. */
void departures_expect(struct departures *departures, int pidfd);

/* How many have not ended, as far as the loop has seen. */
size_t departures_count(const struct departures *departures);
