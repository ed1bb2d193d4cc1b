/*
 * Groups of workloads and containers that no record speaks of: the daemon died between making one and writing
 * it down, or the record was lost. Nobody would ever stop what runs in them or remove them.
 */
#pragma once

struct sandboxd;

/* After recovery_run(): kill and remove them, now where it takes no time and else by sandbox/leftovers.h.
 * Waits for the processes to be gone, for a second at most: the ids that they run with are free now.
 * What has processes and was made by somebody else stays, and is told. */
void recovery_remove_strangers(struct sandboxd *host);
