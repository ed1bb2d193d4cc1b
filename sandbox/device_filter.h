/*
 * Which device nodes a group may open or make: an allow list, enforced by the kernel however the node
 * came to be. On cgroup2 (unified and hybrid) by a BPF_PROG_TYPE_CGROUP_DEVICE program that is built
 * here, in legacy by the devices controller. It is the second wall: the first is that a container's
 * /dev holds nothing else and that mknod(2) is not permitted.
 *
 * bpf(2), Documentation/admin-guide/cgroup-v2.rst "Device controller",
 * cgroup-v1/devices.rst.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "proto/cleanup.h"
#include "proto/err.h"
#include "sandbox/taskgroup.h"

#define DEVICE_ANY       UINT32_MAX
#define DEVICE_RULES_MAX 64

enum device_access {
	DEVICE_MKNOD = 1, /* the kernel's BPF_DEVCG_ACC_* */
	DEVICE_READ = 2,
	DEVICE_WRITE = 4,
};

struct device_rule {
	char type;      /* 'c' or 'b' */
	uint8_t access; /* enum device_access, or'ed */
	uint32_t major;
	uint32_t minor; /* DEVICE_ANY: all of the major */
};

/* null, zero, full, random, urandom, tty, ptmx, and the pseudo terminals. */
extern const struct device_rule device_filter_default[];
extern const size_t device_filter_default_count;

/*
 * Programs by their list, so that equal lists share one. At most 64 are kept; the one that was not
 * asked for the longest goes first, which detaches it from no group. Forked children may use what the
 * parent loaded.
 */
struct device_filters;

int device_filters_new(struct device_filters **ret_filters, struct err *err);
void device_filters_free(struct device_filters *filters); /* accepts NULL; attached filters stay */
DEFINE_CLEANUP(struct device_filters *, device_filters_free)

/*
 * Load the program for the list ahead of time, so that a launch finds it. 0 where it is already there,
 * and in legacy, which has none.
 *
 *   ERR_INVALID      too many rules, or one that is none
 *   ERR_UNSUPPORTED  the kernel has no such programs (CONFIG_CGROUP_BPF)
 */
int device_filters_prepare(struct device_filters *filters, const struct hierarchy *hierarchy,
			   const struct device_rule *rules, size_t count, struct err *err);

/*
 * Put the list in force for @group and all below it, once in the group's life and before a process is
 * in it: nothing else opens. A list of the group above holds as well, so the narrower one wins.
 */
int device_filters_apply(struct device_filters *filters, const struct hierarchy *hierarchy,
			 const struct taskgroup *group, const struct device_rule *rules,
			 size_t count, struct err *err);
