/*
 * bare_reads SECONDS: opens the files that standard input names, one a line, and reads all of them once a second:
 * what telemetry costs in the kernel alone. Prints "open N", then "cpu_per_second NANOSECONDS".
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILES_MAX 65536

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int open_all(int *fds)
{
	char line[4096];
	int count = 0;

	while (count < FILES_MAX && fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		fds[count] = open(line, O_RDONLY | O_CLOEXEC);
		if (fds[count] < 0) {
			perror(line);
			exit(1);
		}
		count++;
	}
	return count;
}

int main(int argc, char **argv)
{
	static int fds[FILES_MAX];
	static char text[8192];
	long seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 10;
	struct timespec next;
	uint64_t began_ns;
	int count = open_all(fds);

	(void)printf("open %d\n", count);
	(void)clock_gettime(CLOCK_MONOTONIC, &next);
	began_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (long i = 0; i < seconds; i++) {
		for (int j = 0; j < count; j++) {
			if (pread(fds[j], text, sizeof(text), 0) < 0) {
				perror("pread");
				return 1;
			}
		}
		next.tv_sec++;
		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	(void)printf("cpu_per_second %llu\n",
		     (unsigned long long)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - began_ns) /
			     (unsigned long long)seconds);
	return 0;
}
