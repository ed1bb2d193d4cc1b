#include "tests/bench/launch_bed.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *const bed_argv[] = { "/bin/one_byte", "/data/pipe", NULL };

static void must(int ok, const char *what)
{
	if (ok)
		return;
	(void)fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

void bed_begin(struct bed *bed)
{
	const char *directory = getenv("BERTH_TEST_PROGRAMS");
	char path[256], command[600];

	harness_begin(&bed->harness, false);
	(void)snprintf(command, sizeof(command), "cp '%s' '%s/rootfs/bin/one_byte'",
		       directory ? directory : BENCH_ONE_BYTE, bed->harness.directory);
	if (directory)
		(void)snprintf(command, sizeof(command),
			       "cp '%s/one_byte' '%s/rootfs/bin/one_byte'", directory,
			       bed->harness.directory);
	must(system(command) == 0, "cp");
	(void)snprintf(path, sizeof(path), "%s/volume", bed->harness.directory);
	must(mkdir(path, 0755) == 0, path);
	bed->volume_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	must(bed->volume_fd >= 0, path);
	must(mkfifoat(bed->volume_fd, "pipe", 0666) == 0, "pipe");
	must(fchmodat(bed->volume_fd, "pipe", 0666, 0) == 0, "pipe");
	/* Read-write: otherwise it would end with each workload. */
	bed->pipe_fd = openat(bed->volume_fd, "pipe", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	must(bed->pipe_fd >= 0, "pipe");
}

void bed_end(struct bed *bed)
{
	(void)close(bed->pipe_fd);
	(void)close(bed->volume_fd);
	harness_end(&bed->harness);
}

void bed_wait_byte(const struct bed *bed)
{
	struct pollfd polled = { bed->pipe_fd, POLLIN, 0 };
	char byte;

	must(poll(&polled, 1, 10000) == 1, "no byte from the workload");
	must(read(bed->pipe_fd, &byte, 1) == 1, "pipe");
}

uint64_t bed_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

void bed_report(const char *name, uint64_t *ns, size_t count)
{
	qsort(ns, count, sizeof(*ns), ascending);
	(void)printf("%s runs %zu: min %llu median %llu p99 %llu us\n", name, count,
		     (unsigned long long)ns[0] / 1000, (unsigned long long)ns[count / 2] / 1000,
		     (unsigned long long)ns[count * 99 / 100] / 1000);
}
