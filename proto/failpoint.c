/* Nothing here allocates or takes a lock, and the calls are those that every filter of ours permits: it runs
 * in a launch between fork and exec, and in berthd's threads. */
#include "proto/failpoint.h"

#ifdef BERTH_FAILPOINTS

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/cleanup.h"

#define VARIABLE   "BERTH_FAILPOINTS"
#define HOLD_NS    (1000L * 1000)
#define SLOTS_MAX  1024
#define NOT_IN_SET (-2)

/* Of the linker's making: the section that FAILPOINT_HERE fills; a program may have none. */
extern struct failpoint __start_berth_failpoints[] __attribute__((weak));
extern struct failpoint __stop_berth_failpoints[] __attribute__((weak));

static struct failpoint_slot *slots;
static size_t slot_count;

static void list(void)
{
	for (const struct failpoint *at = __start_berth_failpoints; at < __stop_berth_failpoints;
	     at++)
		(void)printf("%s%s\n", at->name, at->can_fail ? " error" : "");
	exit(fflush(stdout) != 0);
}

/* A set that was asked for and cannot be had would be a test that tests nothing. */
static _Noreturn void give_up(const char *path)
{
	(void)fprintf(stderr, VARIABLE "=%s: no file of failpoints: %s\n", path, strerror(errno));
	_exit(1);
}

static void map_set(const char *path)
{
	cleanup_fd int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	void *at;

	if (fd < 0 || fstat(fd, &st) < 0)
		give_up(path);
	slot_count = (size_t)st.st_size / sizeof(*slots);
	if (slot_count == 0 || slot_count > SLOTS_MAX) {
		errno = EINVAL;
		give_up(path);
	}
	at = mmap(NULL, slot_count * sizeof(*slots), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		give_up(path);
	slots = at;
}

/* Before main(), and so before any confinement. */
__attribute__((constructor)) static void begin(int argc, char **argv)
{
	const char *path = getenv(VARIABLE);

	if (argc == 2 && strcmp(argv[1], "--list-failpoints") == 0)
		list();
	if (path)
		map_set(path);
}

char *failpoint_environment(void)
{
	static char text[4096];
	const char *path = getenv(VARIABLE);

	if (!path)
		return NULL;
	(void)snprintf(text, sizeof(text), VARIABLE "=%s", path);
	return text;
}

static struct failpoint_slot *slot_of(struct failpoint *failpoint)
{
	int32_t known = __atomic_load_n(&failpoint->slot, __ATOMIC_RELAXED);

	if (!slots)
		return NULL;
	if (known == -1) {
		known = NOT_IN_SET;
		for (size_t i = 0; i < slot_count && known == NOT_IN_SET; i++)
			if (strncmp(slots[i].name, failpoint->name, FAILPOINT_NAME_MAX) == 0)
				known = (int32_t)i;
		__atomic_store_n(&failpoint->slot, known, __ATOMIC_RELAXED);
	}
	return known < 0 ? NULL : &slots[known];
}

/* One of @count, if there is one left. */
static bool take_one(uint32_t *count)
{
	uint32_t n = __atomic_load_n(count, __ATOMIC_ACQUIRE);

	while (n && !__atomic_compare_exchange_n(count, &n, n - 1, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_ACQUIRE))
		;
	return n > 0;
}

static void wait_ns(long ns)
{
	struct timespec left = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static _Noreturn void die(void)
{
	(void)raise(SIGKILL);
	/* The first process of a pid namespace cannot kill itself; a fault of its own does. */
	__builtin_trap();
}

static int act(struct failpoint_slot *slot)
{
	uint32_t argument = __atomic_load_n(&slot->argument, __ATOMIC_ACQUIRE);

	__atomic_store_n(&slot->pid, (uint32_t)getpid(), __ATOMIC_RELEASE);
	(void)__atomic_add_fetch(&slot->fired, 1, __ATOMIC_ACQ_REL);
	switch (__atomic_load_n(&slot->action, __ATOMIC_ACQUIRE)) {
	case FAILPOINT_KILL:
		die();
	case FAILPOINT_ERROR:
		return argument ? -(int)argument : -EIO;
	case FAILPOINT_DELAY:
		wait_ns((long)argument * 1000000);
		return 0;
	case FAILPOINT_HOLD:
		while (__atomic_load_n(&slot->action, __ATOMIC_ACQUIRE) == FAILPOINT_HOLD)
			wait_ns(HOLD_NS);
		return 0;
	default:
		return 0;
	}
}

int failpoint_pass(struct failpoint *failpoint)
{
	struct failpoint_slot *slot = slot_of(failpoint);

	if (!slot)
		return 0;
	(void)__atomic_add_fetch(&slot->reached, 1, __ATOMIC_ACQ_REL);
	if (!__atomic_load_n(&slot->times, __ATOMIC_ACQUIRE) || take_one(&slot->skip) ||
	    !take_one(&slot->times))
		return 0;
	return act(slot);
}

int failpoint_fail(struct failpoint *failpoint, struct err *err)
{
	int r = failpoint_pass(failpoint);

	return r < 0 ? err_set(err, ERR_INTERNAL, -r, "failpoint %s: %m", failpoint->name) : 0;
}

#endif
