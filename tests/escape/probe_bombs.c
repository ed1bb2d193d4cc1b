/*
 * More than there is: processes, memory of every kind that the kernel charges, files, output. Each bomb ends
 * by itself when it got all that it wanted.
 */
#include "tests/escape/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1ul << 20)

/* How many processes there can be at a time, up to the number asked for. */
static long bomb_forks(const char *most)
{
	long count = 0, limit = atol(most);
	int ends[2];
	char byte;

	if (pipe(ends) < 0)
		return -errno;
	while (count < limit) {
		pid_t pid = fork();

		if (pid < 0)
			break;
		if (pid == 0) {
			(void)close(ends[1]);
			_exit(read(ends[0], &byte, 1) < 0);
		}
		count++;
	}
	(void)close(ends[1]);
	while (wait(NULL) > 0)
		;
	probe_find("%ld", count);
	return 0;
}

/* The classic: each child forks on, for as long as the seconds asked for. */
static long bomb_fork_forever(const char *seconds)
{
	time_t end = time(NULL) + atol(seconds);

	(void)signal(SIGCHLD, SIG_IGN);
	while (time(NULL) < end)
		(void)fork();
	return 0;
}

static long fill_pages(void *memory, size_t size)
{
	if (memory == MAP_FAILED)
		return -errno;
	for (size_t at = 0; at < size; at += 4096)
		((volatile char *)memory)[at] = 1;
	return 0;
}

static long bomb_anon(size_t size)
{
	return fill_pages(
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), size);
}

static long bomb_memfd(size_t size)
{
	int fd = memfd_create("bomb", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return -errno;
	return fill_pages(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), size);
}

static long write_file(const char *path, size_t size)
{
	static char block[65536];
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	for (size_t done = 0; done < size;) {
		ssize_t n = write(fd, block, sizeof(block));

		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

static long bomb_shm(size_t size)
{
	return write_file("/dev/shm/bomb", size);
}

static long bomb_tmpfs(size_t size)
{
	return write_file("/tmp/bomb", size);
}

/* The zero page costs nothing, the tables that lead to it do: a page for every 2 MiB. */
static long bomb_tables(size_t size)
{
	size_t span = size / 4096 * (2 * MIB);
	char *memory = mmap(NULL, span, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			    0);
	volatile char sum = 0;

	if (memory == MAP_FAILED)
		return -errno;
	(void)madvise(memory, span, MADV_NOHUGEPAGE);
	for (size_t at = 0; at < span; at += 2 * MIB)
		sum = (char)(sum + memory[at]);
	return 0;
}

/* What lies in a pair of descriptors that nobody reads from, until @size is there; in several processes, as
 * one has no descriptors for so much. */
static size_t fill_pairs(int (*make)(int ends[2]), size_t size)
{
	static char block[65536];
	size_t done = 0;
	int ends[2];

	while (done < size && make(ends) == 0) {
		ssize_t n;

		(void)fcntl(ends[1], F_SETFL, O_NONBLOCK);
		while (done < size && (n = write(ends[1], block, sizeof(block))) > 0)
			done += (size_t)n;
	}
	return done;
}

static long bomb_pairs(int (*make)(int ends[2]), size_t size)
{
	long r = 0;

	(void)setpgid(0, 0);
	for (int i = 0; i < 8; i++) {
		int ready[2];
		char byte = 0;

		if (pipe(ready) < 0)
			return -errno;
		if (fork() == 0) {
			(void)fill_pairs(make, size / 8);
			if (write(ready[1], &byte, 1) == 1)
				(void)pause();
			_exit(0);
		}
		(void)close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			r = -ENOMEM; /* its end came before it was full */
		(void)close(ready[0]);
	}
	(void)signal(SIGTERM, SIG_IGN);
	(void)kill(0, SIGTERM);
	return r;
}

static int make_socket_pair(int ends[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
}

static int make_pipe(int ends[2])
{
	return pipe(ends);
}

static long bomb_sockets(size_t size)
{
	return bomb_pairs(make_socket_pair, size);
}

static long bomb_pipes(size_t size)
{
	return bomb_pairs(make_pipe, size);
}

/* anon:96 */
static long bomb_memory(const char *argument)
{
	static const struct {
		const char *kind;
		long (*bomb)(size_t size);
	} kinds[] = { { "anon", bomb_anon },     { "memfd", bomb_memfd },
		      { "shm", bomb_shm },       { "tmpfs", bomb_tmpfs },
		      { "tables", bomb_tables }, { "sockets", bomb_sockets },
		      { "pipes", bomb_pipes } };
	char text[64], *rest = text, *kind;

	(void)snprintf(text, sizeof(text), "%s", argument);
	kind = probe_part(&rest);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i].kind, kind))
			return kinds[i].bomb((size_t)atol(rest) * MIB);
	return -EINVAL;
}

/* ---- disks ---- */

static long fill_inodes(const char *directory, long most)
{
	char path[PATH_MAX + 32];
	long count = 0;

	for (; count < most; count++) {
		int fd;

		(void)snprintf(path, sizeof(path), "%s/fill-%ld", directory, count);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0)
			break;
		(void)close(fd);
	}
	return count;
}

/* Every directory that takes a file, up to @mebibytes in each and then as many empty files: what is told
 * are the places where nothing said no. */
static long bomb_disk(const char *argument)
{
	static const char *const more[] = { "/",           "/tmp",  "/etc", "/dev", "/dev/shm",
					    "/dev/mqueue", "/proc", "/sys", "/var", "/run" };
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char where[PATH_MAX], path[PATH_MAX + 8], line[8192];
	size_t size = (size_t)atol(argument) * MIB, i = 0;

	while (i < sizeof(more) / sizeof(more[0]) || (file && fgets(line, sizeof(line), file))) {
		if (i < sizeof(more) / sizeof(more[0]))
			(void)snprintf(where, sizeof(where), "%s", more[i++]);
		else if (sscanf(line, "%*s %*s %*s %*s %4095s", where) != 1)
			continue;
		(void)snprintf(path, sizeof(path), "%s/fill", where);
		if (write_file(path, size) == 0)
			probe_find("%s%s=bytes", probe_found[0] ? "," : "", where);
		(void)unlink(path);
		if (fill_inodes(where, 100000) == 100000)
			probe_find("%s%s=files", probe_found[0] ? "," : "", where);
	}
	if (!probe_found[0])
		probe_find("all-bounded");
	return 0;
}

/* Can a file be made there at all? */
static long try_create(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	(void)unlink(path);
	return 0;
}

/* ---- output ---- */

/* 3:lines or 3:giant: for so many seconds on both streams; then, how much it was. */
static long bomb_log(const char *argument)
{
	static char block[65536];
	struct timespec now, end;
	uint64_t written = 0;

	memset(block, 'a', sizeof(block));
	for (size_t i = 0; strstr(argument, "lines") && i < sizeof(block); i += 64)
		block[i] = '\n';
	memcpy(block + 100, "\0\xff\xfe\x80\r\x1b[2J", 9);
	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += atol(argument);
	do {
		for (int fd = 1; fd <= 2; fd++) {
			ssize_t n = write(fd, block, sizeof(block));

			written += n > 0 ? (uint64_t)n : 0;
		}
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec ||
		 (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
	(void)printf("\n");
	probe_find("%llu", (unsigned long long)written);
	return 0;
}

const struct probe probe_bombs[] = {
	{ "alone", NULL }, /* the next one is tried in the program's own process */
	{ "forks", bomb_forks },
	{ "fork-forever", bomb_fork_forever },
	{ "memory", bomb_memory },
	{ "disk", bomb_disk },
	{ "create", try_create },
	{ "log", bomb_log },
	{ 0 },
};
