/*
 * What a workload does in the stories and busybox cannot:
 *
 *   probe fault            dies of a real SIGSEGV, which the first process of a pid namespace does too
 *   probe eat MIB          touches that much memory, then ends
 *   probe hold MIB         touches that much memory, says "held", and keeps it
 *   probe thrash FILE      reads it from end to end, again and again
 *   probe spin MS          uses cpu time for so long
 *   probe bytes N          writes N bytes of a pattern that names its own offset
 *   probe check N          reads stdin, and says whether it is that pattern
 *   probe mount TIMES      tries mount(2)
 *   probe burn-then-idle   100 ms of cpu, then rests, again and again
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void spin(uint64_t ms)
{
	uint64_t end = now_ms() + ms;

	while (now_ms() < end)
		;
}

static int eat(size_t mib)
{
	for (size_t i = 0; i < mib; i++) {
		volatile char *block = malloc(1 << 20);

		if (!block)
			return 1;
		for (size_t at = 0; at < 1 << 20; at += 4096)
			block[at] = 1;
	}
	return 0;
}

static int hold(size_t mib)
{
	if (eat(mib) != 0)
		return 1;
	(void)puts("held");
	(void)fflush(stdout);
	for (;;)
		(void)pause();
}

static int thrash(const char *path)
{
	static char block[1 << 20];
	int fd = open(path, O_RDONLY);

	while (fd >= 0 && lseek(fd, 0, SEEK_SET) == 0)
		while (read(fd, block, sizeof(block)) > 0)
			;
	return 1;
}

/* 16 bytes that say where they are. */
static void pattern(uint64_t offset, char out[static 18])
{
	(void)snprintf(out, 18, "%015llx\n", (unsigned long long)offset);
}

static int write_bytes(uint64_t n)
{
	char block[18];

	for (uint64_t at = 0; at < n; at += 16) {
		pattern(at, block);
		if (fwrite(block, 1, n - at < 16 ? (size_t)(n - at) : 16, stdout) == 0)
			return 1;
	}
	return fflush(stdout) != 0;
}

static int check_bytes(uint64_t n)
{
	char block[18], got[16];
	uint64_t at = 0;
	size_t length;

	while ((length = fread(got, 1, sizeof(got), stdin)) > 0) {
		pattern(at, block);
		if (memcmp(got, block, length) != 0) {
			(void)printf("wrong at %llu\n", (unsigned long long)at);
			return 1;
		}
		at += length;
	}
	(void)printf("%llu of %llu\n", (unsigned long long)at, (unsigned long long)n);
	return at != n;
}

static int try_mount(int times)
{
	for (int i = 0; i < times; i++)
		if (mount("none", "/tmp", "tmpfs", 0, "") == 0)
			return 1;
	(void)printf("mount: %s\n", strerror(errno));
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;

	if (strcmp(verb, "fault") == 0)
		*(volatile int *)n = 1;
	if (strcmp(verb, "eat") == 0)
		return eat(n);
	if (strcmp(verb, "hold") == 0)
		return hold(n);
	if (strcmp(verb, "thrash") == 0 && argc > 2)
		return thrash(argv[2]);
	if (strcmp(verb, "spin") == 0)
		return spin(n), 0;
	if (strcmp(verb, "bytes") == 0)
		return write_bytes(n);
	if (strcmp(verb, "check") == 0)
		return check_bytes(n);
	if (strcmp(verb, "mount") == 0)
		return try_mount((int)n);
	while (strcmp(verb, "burn-then-idle") == 0) {
		spin(100);
		(void)usleep(300000);
	}
	(void)fprintf(stderr, "probe: %s?\n", verb);
	return 2;
}
