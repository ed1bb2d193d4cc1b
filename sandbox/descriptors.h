/*
 * How near the daemon is to RLIMIT_NOFILE. A container that runs holds some twenty descriptors of ours, most
 * of which come when its launch is over: refused before it begins, rather than lost when they do not fit.
 */
#pragma once

#include "proto/err.h"

/* On a hybrid host, the worst: two groups in each hierarchy, namespaces, pipes, directories. */
#define DESCRIPTORS_PER_WORKLOAD 24

/* 0, or ERR_EXHAUSTED when there is no room for another container beside those under way. */
int descriptors_check_room(struct err *err);
