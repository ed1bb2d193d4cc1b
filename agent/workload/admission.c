#include "agent/workload/admission.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

#include "proto/cleanup.h"

#define PAIR_TEXT_MAX 96

/* One row per resource: how it is read, and how people say it. */
static const struct {
	const char *name;
	const char *unit;
	size_t offset;
} resources[] = {
	{ "cpu", "millicores", offsetof(struct charge, cpu_millis) },
	{ "memory", "bytes", offsetof(struct charge, memory_bytes) },
	{ "pids", "", offsetof(struct charge, pids) },
	{ "workloads", "", offsetof(struct charge, workloads) },
};

static uint64_t *member(struct charge *charge, size_t i)
{
	return (uint64_t *)((char *)charge + resources[i].offset);
}

static uint64_t value(const struct charge *charge, size_t i)
{
	return *(const uint64_t *)((const char *)charge + resources[i].offset);
}

static uint64_t saturated_sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

void charge_add(struct charge *sum, const struct charge *more)
{
	for (size_t i = 0; i < ARRAY_SIZE(resources); i++)
		*member(sum, i) = saturated_sum(value(sum, i), value(more, i));
}

void charge_subtract(struct charge *sum, const struct charge *less)
{
	for (size_t i = 0; i < ARRAY_SIZE(resources); i++) {
		uint64_t *at = member(sum, i);

		*at = *at > value(less, i) ? *at - value(less, i) : 0;
	}
}

struct charge charge_max(const struct charge *a, const struct charge *b)
{
	struct charge max = *a;

	for (size_t i = 0; i < ARRAY_SIZE(resources); i++)
		if (value(b, i) > value(a, i))
			*member(&max, i) = value(b, i);
	return max;
}

static struct charge of_container(const Berth__V1__Container *container, uint64_t default_memory)
{
	const Berth__V1__Resources *r = container->resources;
	struct charge charge = { .memory_bytes = default_memory };

	if (!r)
		return charge;
	if (r->_cpu_request_millis_case)
		charge.cpu_millis = r->cpu_request_millis;
	if (r->_memory_request_bytes_case)
		charge.memory_bytes = r->memory_request_bytes;
	else if (r->_memory_limit_bytes_case)
		charge.memory_bytes = r->memory_limit_bytes;
	if (r->_pids_limit_case)
		charge.pids = r->pids_limit;
	return charge;
}

struct charge charge_of(const Berth__V1__WorkloadSpec *spec, uint64_t default_memory_bytes)
{
	const Berth__V1__Resources *own = spec->resources;
	struct charge init = { 0 };
	struct charge together = { 0 };
	struct charge charge;

	for (size_t i = 0; i < spec->n_containers; i++) {
		struct charge one = of_container(spec->containers[i], default_memory_bytes);

		if (spec->containers[i]->role == BERTH__V1__CONTAINER_ROLE__ROLE_INIT)
			init = charge_max(&init, &one);
		else
			charge_add(&together, &one);
	}
	charge = charge_max(&init, &together);
	if (own && own->_cpu_request_millis_case)
		charge.cpu_millis = own->cpu_request_millis;
	if (own && own->_memory_request_bytes_case)
		charge.memory_bytes = own->memory_request_bytes;
	else if (own && own->_memory_limit_bytes_case &&
		 own->memory_limit_bytes < charge.memory_bytes)
		charge.memory_bytes = own->memory_limit_bytes; /* it bounds them together */
	if (own && own->_pids_limit_case)
		charge.pids = own->pids_limit;
	charge.workloads = 1;
	return charge;
}

static void describe(size_t i, uint64_t asked, uint64_t left, char text[static PAIR_TEXT_MAX])
{
	if (resources[i].offset == offsetof(struct charge, memory_bytes))
		(void)snprintf(text, PAIR_TEXT_MAX, "%s: asked %.1f MiB, %.1f MiB left",
			       resources[i].name, (double)asked / 0x1p20, (double)left / 0x1p20);
	else
		(void)snprintf(text, PAIR_TEXT_MAX, "%s: asked %llu%s%s, %llu left",
			       resources[i].name, (unsigned long long)asked,
			       *resources[i].unit ? " " : "", resources[i].unit,
			       (unsigned long long)left);
}

int charge_fits(const struct charge *asked, const struct charge *taken,
		const struct charge *allocatable, struct engine_fault *fault, struct err *err)
{
	char sentence[ARRAY_SIZE(resources) * PAIR_TEXT_MAX] = "";
	size_t length = 0;

	for (size_t i = 0; i < ARRAY_SIZE(resources); i++) {
		uint64_t all = value(allocatable, i);
		uint64_t used = value(taken, i);
		struct fault_quota quota = { .resource = resources[i].name,
					     .unit = resources[i].unit,
					     .asked = value(asked, i),
					     .left = all > used ? all - used : 0 };
		char text[PAIR_TEXT_MAX];

		if (quota.asked <= quota.left)
			continue;
		if (fault) {
			fault->reason = FAULT_NO_ROOM;
			engine_fault_add_quota(fault, &quota);
		}
		describe(i, quota.asked, quota.left, text);
		length += (size_t)snprintf(sentence + length, sizeof(sentence) - length, "%s%s",
					   length ? "; " : "", text);
	}
	if (length == 0)
		return 0;
	return err_set(err, ERR_EXHAUSTED, ENOSPC, "no room on this host: %s", sentence);
}
