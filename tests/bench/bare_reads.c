/*
 * bare_reads SECONDS: opens the files that standard input names, one a line as "EVERY PATH", and reads each
 * of them every EVERY seconds: what telemetry costs in the kernel alone. Prints "open N", then
 * "cpu_per_second NANOSECONDS".
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

struct file {
	int fd;
	long every;
};

static int open_all(struct file *files)
{
	char line[4096];
	int count = 0;

	while (count < FILES_MAX && fgets(line, sizeof(line), stdin)) {
		char *path;

		line[strcspn(line, "\n")] = '\0';
		files[count].every = strtol(line, &path, 10);
		files[count].fd = open(path + strspn(path, " "), O_RDONLY | O_CLOEXEC);
		if (files[count].fd < 0 || files[count].every < 1) {
			perror(line);
			exit(1);
		}
		count++;
	}
	return count;
}

int main(int argc, char **argv)
{
	static struct file files[FILES_MAX];
	static char text[8192];
	long seconds = argc > 1 ? strtol(argv[1], NULL, 10) : 10;
	struct timespec next;
	uint64_t began_ns;
	int count = open_all(files);

	(void)printf("open %d\n", count);
	(void)clock_gettime(CLOCK_MONOTONIC, &next);
	began_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	for (long i = 0; i < seconds; i++) {
		for (int j = 0; j < count; j++) {
			if (i % files[j].every == 0 &&
			    pread(files[j].fd, text, sizeof(text), 0) < 0) {
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
