/*
 * The output of a container that has no monitor, since every one that it got has died: it is read, so that the
 * container never waits for a reader, and dropped. What is read is what sandbox/lifeline.h keeps.
 */
#pragma once

#include "sandbox/registry.h"

/* Nobody else reads it any more: from here on the loop does. What is read is counted in the page as
 * dropped, and no faster than a few megabytes a second. */
void outflow_begin(struct container *container);

/* The container has ended: what is still in the pipes is counted, where outflow_begin() was called. */
void outflow_end(struct container *container);
