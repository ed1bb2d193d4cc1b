/*
 * Terminal records: what the kernel told of the end of a container, and the sentence about it. Nothing
 * is guessed: exit code 137 is an exit code.
 */
#pragma once

#include "agent/workload/model.h"

struct record *record_new(void); /* NULL without memory */
void record_free(struct record *record);

/* The record of @container's end, which @fact tells. NULL without memory. */
struct record *record_of_exit(const struct container *container,
			      const Berth__Sandbox__V1__Exited *fact);
/* The kernel, or berth-sandboxd, has forgotten how it ended: @why. */
struct record *record_of_unknown(const struct container *container, const char *why);
/* It was never exec'd. */
/* START_FAILED for what the workload's owner can mend, HOST_FAILURE for what the host has to. */
Berth__V1__Reason record_failure_reason(const struct err *failure);
struct record *record_of_failed_start(const struct container *container, const struct err *failure,
				      const char *step);

/* kind, code, signal and sentence of a process: for exec sessions too. */
int record_fill_end(Berth__V1__ExitRecord *record, struct arena *arena, int32_t exit_si_code,
		    int32_t exit_si_status, const char *unknown_reason);
Berth__V1__DeniedSyscall *record_denied(struct arena *arena, uint32_t number, int32_t errnum,
					uint64_t times, const char *program);
