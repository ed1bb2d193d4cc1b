/*
 * What this host has and can do: its own facts, and what berth-sandboxd said in its Hello.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/workload/engine.h"
#include "berth/sandbox/v1/sandbox.pb-c.h"
#include "proto/arena.h"

struct host {
	char hostname[65];
	char boot_id[37];
	char machine_id[33];
	char kernel[65];
	char architecture[65];
	struct engine_resources found;                /* what the kernel says there is */
	struct arena arena;                           /* of @hello */
	const Berth__Sandbox__V1__HelloResult *hello; /* the last one; NULL before the first */
	struct provider *provider;                    /* NULL: it keeps no images */
};

/* Read the facts of the running kernel. What cannot be read stays empty or 0. */
void host_init(struct host *host);
void host_done(struct host *host);
/* Copy @hello. Returns 0 or -ENOMEM, and then the old one stays. */
int host_take_hello(struct host *host, const Berth__Sandbox__V1__HelloResult *hello);

/* Why nothing new can be begun, "" where it can: berth-sandboxd or its monitors are of another release. */
const char *host_why_no_starts(const struct host *host);

/* Whether a feature is there; an unknown one, or any before the first Hello, counts as there:
 * berth-sandboxd has the last word. *ret_sentence (may be NULL) says why not. */
bool host_has(const struct host *host, const char *feature, const char **ret_sentence);
/* Whether berth-sandboxd says that it has it: one of another release may not know of it. */
bool host_offers(const struct host *host, const char *feature);
/* The limits of containers that name none; 0 where the host has no default. */
uint64_t host_default_memory(const struct host *host);
uint64_t host_default_pids(const struct host *host);
