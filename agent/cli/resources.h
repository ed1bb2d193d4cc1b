/*
 * The resource options that `run` and `resize` share.
 */
#pragma once

#include "berth/v1/types.pb-c.h"

enum resources_option {
	RESOURCES_CPU_REQUEST = 512,
	RESOURCES_MEMORY_REQUEST,
	RESOURCES_CPU_WEIGHT,
};

#define RESOURCES_SHORT_OPTIONS "m:c:p:"
#define RESOURCES_LONG_OPTIONS                                                               \
	{ "memory", required_argument, NULL, 'm' }, { "cpu", required_argument, NULL, 'c' }, \
		{ "pids", required_argument, NULL, 'p' },                                    \
		{ "cpu-request", required_argument, NULL, RESOURCES_CPU_REQUEST },           \
		{ "memory-request", required_argument, NULL, RESOURCES_MEMORY_REQUEST },     \
	{                                                                                    \
		"cpu-weight", required_argument, NULL, RESOURCES_CPU_WEIGHT                  \
	}

/* Take @option with @value into @resources. Returns 1; 0 for an option that is none of these; or -EINVAL
 * after saying what is wrong. */
int resources_take_option(Berth__V1__Resources *resources, int option, const char *value);
