/*
 * Groups on the running kernel, for the tests here: a hierarchy in a base of its own, pairs of groups
 * with names that are new each time, and children that start inside.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/types.h>

#include "proto/cleanup.h"
#include "sandbox/group_file.h"
#include "sandbox/hierarchy.h"
#include "sandbox/taskgroup.h"

#define MIB     (UINT64_C(1) << 20)
#define WAIT_MS 20000

extern struct hierarchy *hierarchy;

void fail_err(const struct err *err);

#define must(call)                      \
	do {                            \
		if ((call) < 0)         \
			fail_err(&err); \
	} while (0)

/* A workload's group and a container's in it. */
struct pair {
	struct taskgroup *workload, *container;
};

/* @limits, or none where it is NULL, are the container's. */
void make_pair(const struct taskgroup_limits *limits, struct pair *pair);

/* The number in the name of the last pair: "w<number>.1". */
unsigned int last_pair(void);

/* Kill what is inside, reap it, remove both. */
void end_pair(struct pair *pair);

/* Start @run in the group, the limits in force; its result is the exit code. */
pid_t start(const struct taskgroup *group, int (*run)(void *), void *argument);
siginfo_t end_of(pid_t pid);
int run_forever(void *argument);

/* The text of the file of the controller's version. */
void assert_file(const struct taskgroup *group, enum hierarchy_controller controller,
		 const char *v2_file, const char *v1_file, const char *v2_text,
		 const char *v1_text);

/*
 * Run the tests. In argv[1] may be "unit", for the group that systemd delegated to the test's unit, or
 * the path of another base. Whatever is left behind, descriptors too, is a failure. 77 without root.
 */
int run_cgroup_tests(int argc, char **argv, const struct CMUnitTest *tests, size_t count);
