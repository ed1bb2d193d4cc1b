/*
 * Failpoints: named places where a test makes a process die, fail or wait. They are there in a build with
 * -DBERTH_FAILPOINTS=ON only; in any other build they are nothing, and even their names are gone.
 *
 * A test arms them in a file of struct failpoint_slot, one for each name, whose path is in the environment
 * variable BERTH_FAILPOINTS of the daemons. Every process maps it shared, so that what counts there goes
 * on over fork, exec and restart, in a process that can open no file any more too, and so that the test
 * sees what was reached. tests/fault/failpoint arms them for a person; `--list-failpoints`, in such a
 * build an option of every program, tells which ones it has.
 *
 *	FAILPOINT("sandboxd.exec.forked");               may die or wait here
 *	FAILPOINT_RETURN("sandboxd.launch.record", err); may return a failure too
 *
 * A name is <process>.<verb>.<step>, of lower-case letters and dashes, and used once in the tree.
 */
#pragma once

#include <stdint.h>

#include "proto/err.h"

#define FAILPOINT_NAME_MAX 64

enum failpoint_action {
	FAILPOINT_NONE = 0,
	FAILPOINT_KILL = 1,  /* SIGKILL to the process itself */
	FAILPOINT_ERROR = 2, /* @argument is the errno; where it cannot fail nothing happens */
	FAILPOINT_DELAY = 3, /* by @argument milliseconds */
	FAILPOINT_HOLD = 4,  /* until @action is another one */
};

/* One line of the file: 128 bytes, all numbers little-endian and used atomically. */
struct failpoint_slot {
	char name[FAILPOINT_NAME_MAX];
	uint32_t action;   /* enum failpoint_action */
	uint32_t argument; /* of the action */
	uint32_t skip;     /* pass so many times before it acts */
	uint32_t times;    /* act so many times; 0: not armed */
	uint32_t reached;  /* how often it was passed, armed or not */
	uint32_t fired;    /* how often it acted */
	uint32_t pid;      /* who acted last, in its own pid namespace */
	uint32_t reserved[9];
};

#ifdef BERTH_FAILPOINTS

struct failpoint {
	const char *name;
	uint32_t can_fail;
	int32_t slot; /* in the file; -1: not looked for yet */
};

/* 0, or the negative errno that the test wants here. */
int failpoint_pass(struct failpoint *failpoint);
int failpoint_fail(struct failpoint *failpoint, struct err *err);

/* "BERTH_FAILPOINTS=<path>" for an environment that is made by hand, or NULL. */
char *failpoint_environment(void);

#define FAILPOINT_HERE(name_, can_fail_)                       \
	static struct failpoint failpoint_here __attribute__(( \
		section("berth_failpoints"), used, aligned(8))) = { (name_), (can_fail_), -1 }

#define FAILPOINT(name_)                               \
	do {                                           \
		FAILPOINT_HERE(name_, 0);              \
		(void)failpoint_pass(&failpoint_here); \
	} while (0)

#define FAILPOINT_RETURN(name_, err_)                                      \
	do {                                                               \
		FAILPOINT_HERE(name_, 1);                                  \
		int failpoint_r = failpoint_fail(&failpoint_here, (err_)); \
		if (failpoint_r < 0)                                       \
			return failpoint_r;                                \
	} while (0)

#else

#define FAILPOINT(name_)              ((void)0)
#define FAILPOINT_RETURN(name_, err_) ((void)0)

static inline char *failpoint_environment(void)
{
	return NULL;
}

#endif
