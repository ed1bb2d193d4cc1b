/*
 * Ending the daemon together with its workloads: for a host that is given back, for demonstrations and
 * tests.
 */
#pragma once

struct sandboxd;

/* Kill all workloads, wait until their processes are gone (some seconds at most), remove what they
 * left, and the daemon's own groups. What does not go is told in the log. */
void shutdown_stop_workloads(struct sandboxd *host);
