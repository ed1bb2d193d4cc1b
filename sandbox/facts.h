/*
 * What berthd is told: a container's or a session's state as the registry has it, in the words of
 * sandbox.proto. A fact goes to the berthd that is there now; what the registry keeps can be told again
 * to the next one.
 */
#pragma once

#include "berth/sandbox/v1/sandbox.pb-c.h"
#include "proto/arena.h"
#include "sandbox/registry.h"

/* @started is what the monitor said; NULL when it is told again, without steps. */
void facts_started(struct container *container, const struct monitor_started *started);
void facts_start_failed(struct container *container);
void facts_exited(struct container *container);
void facts_denied(struct container *container, const struct monitor_denied *denied);
void facts_unkillable(struct container *container, const char *const *processes, size_t n);

void facts_exec_started(struct session *session, const struct monitor_started *started);
void facts_exec_failed(struct session *session, const struct monitor_failed *failed);
void facts_exec_exited(struct session *session, const struct monitor_exited *exited);

/* All that stands for the containers of @workload once more: Started, StartFailed. */
void facts_tell_again(struct workload *workload);

/* For the inventory: the exit as a message in @arena; NULL without memory. */
Berth__Sandbox__V1__Exited *facts_exited_message(struct container *container, struct arena *arena);
