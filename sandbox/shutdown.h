/*
 * The daemon's end, as it was asked for. Whoever sees the service stopped finds no process of it but the
 * monitors of workloads that live on, and of exec sessions in them.
 */
#pragma once

#include <stdbool.h>

struct sandboxd;

/*
 * Hang up on berthd, end the daemon's own helpers, and wait, some seconds at most, until they and the
 * monitors that have nothing left to do are gone. With @workloads_end, for a host that is given back, for
 * demonstrations and tests, first kill all workloads, wait until their processes are gone and remove what
 * they left, and at last the daemon's own groups. What does not go is told in the log.
 *
 * Takes a host whose startup failed, if it has an event loop.
 */
void shutdown_run(struct sandboxd *host, bool workloads_end);
