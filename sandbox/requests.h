/*
 * What berthd may ask: a closed table of verbs. Each request is taken apart under a budget, its names are
 * checked, its target is found, and only then a handler sees it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"

struct packet;
struct sandboxd;

/*
 * Carry out the request in @packet, which may hold anything, and answer it on @connection. Returns 0, also
 * where the answer is a failure; or a negative errno with @err when its bytes are no request, or its
 * descriptors not those of its verb, and the connection should end. An agent_link_func.
 */
int requests_handle(uint64_t connection, struct packet *packet, void *sandboxd, struct err *err);

/* Tell the berthd that is there what this host permits from now on. */
void requests_tell_policy(struct sandboxd *host);

/* The sentence with which what begins something new is refused, "" where it is not: programs of different
 * releases. */
const char *requests_why_no_starts(const struct sandboxd *host);
