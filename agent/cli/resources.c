#include "agent/cli/resources.h"

#include "agent/cli/cli.h"
#include "proto/quantity.h"

/* `optional` fields are the one member of a oneof that is named after them. */
#define SET(resources, FIELD, field, value)                                              \
	do {                                                                             \
		(resources)->_##field##_case = BERTH__V1__RESOURCES___##FIELD##_##FIELD; \
		(resources)->field = (value);                                            \
	} while (0)

int resources_take_option(Berth__V1__Resources *resources, int option, const char *value)
{
	struct err err = { 0 };
	uint64_t number = 0;
	int r;

	switch (option) {
	case 'm':
		r = quantity_parse_bytes(value, &number, &err);
		SET(resources, MEMORY_LIMIT_BYTES, memory_limit_bytes, number);
		break;
	case RESOURCES_MEMORY_REQUEST:
		r = quantity_parse_bytes(value, &number, &err);
		SET(resources, MEMORY_REQUEST_BYTES, memory_request_bytes, number);
		break;
	case 'c':
		r = quantity_parse_cpu_millis(value, &number, &err);
		SET(resources, CPU_LIMIT_MILLIS, cpu_limit_millis, (uint32_t)number);
		break;
	case RESOURCES_CPU_REQUEST:
		r = quantity_parse_cpu_millis(value, &number, &err);
		SET(resources, CPU_REQUEST_MILLIS, cpu_request_millis, (uint32_t)number);
		break;
	case RESOURCES_CPU_WEIGHT:
		r = quantity_parse_decimal(value, 1, 10000, &number, &err);
		SET(resources, CPU_WEIGHT, cpu_weight, (uint32_t)number);
		break;
	case 'p':
		r = quantity_parse_decimal(value, 1, UINT32_MAX, &number, &err);
		SET(resources, PIDS_LIMIT, pids_limit, (uint32_t)number);
		break;
	default:
		return 0;
	}
	if (r < 0)
		return cli_fail(-EINVAL, "%s", err.text);
	return 1;
}
