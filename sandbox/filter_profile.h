/*
 * From the rules of a profile (proto/filter_rules.h) to its program. Internal to the filter: callers use
 * sandbox/filter.h.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/filter_rules.h"
#include "sandbox/filter.h"

/* The verdict of the first rule that fits the call, or the default's. */
struct filter_rule filter_profile_judge(const struct filter_profile *profile,
					const struct seccomp_data *call);

/* "berth-2026" for a workload with these capabilities. */
int filter_default_profile(uint64_t capabilities, struct filter_profile **ret_profile,
			   struct err *err);

/* The JSON profile of @request, with its errnos turned into notifications where that changes no
 * answer. */
int filter_oci_profile(const struct filter_request *request, struct filter_profile **ret_profile,
		       struct err *err);

/* The return value of a program, and libseccomp's name for it: they are the same numbers. */
uint32_t filter_action(enum filter_verdict verdict, uint16_t errnum);

/*
 * The start of a program: all calls that are decided without arguments, by number. The others, and
 * numbers of foreign ABIs, run off its end, where libseccomp's program for them is to be put.
 * *ret_instructions is malloc'ed and the caller's.
 */
int filter_tree_build(const struct filter_profile *profile, struct sock_filter **ret_instructions,
		      size_t *ret_count, struct err *err);

/*
 * Run the program for @call as the kernel would. Returns the SECCOMP_RET_ value;
 * SECCOMP_RET_KILL_PROCESS for a program that uses what seccomp does not have or that runs off its
 * end.
 */
uint32_t filter_run(const struct sock_filter *instructions, size_t count,
		    const struct seccomp_data *call);

/*
 * Compare the program with an ordered profile, for every known number and for arguments on both
 * sides of every value that a rule compares. libseccomp promises no order among rules of one call,
 * so what it made is looked at before it guards anything. ERR_UNSUPPORTED names the first call that
 * differs.
 */
int filter_check(const struct filter *filter, const struct filter_profile *profile,
		 struct err *err);
