/*
 * Limits as they come from berthd, in the terms of sandbox/taskgroup.h.
 */
#pragma once

#include "berth/sandbox/v1/sandbox.pb-c.h"
#include "proto/err.h"
#include "sandbox/policy.h"
#include "sandbox/taskgroup.h"

/*
 * @message may be NULL: nothing is limited. Absent fields stay unset, unless @defaults has one for
 * them (a container's launch). Devices must be block devices below /dev, or numbers.
 *   ERR_INVALID  out of range, or no such device
 */
int limits_from_message(const Berth__Sandbox__V1__Limits *message, const struct policy *defaults,
			struct taskgroup_limits *ret_limits, struct err *err);
