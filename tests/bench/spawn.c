/*
 * bench_spawn NAME N COMMAND...: runs COMMAND N times, one after the other, "%" in an argument being the number of
 * the run. COMMAND prints what bench_first prints. Prints, in nanoseconds, "NAME" (to the program's first
 * instruction) and "NAME_to_end" (until COMMAND has ended) for each run: how other runtimes are timed, without
 * a shell or an interpreter in between.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static char *with_number(const char *argument, unsigned long number)
{
	const char *percent = strchr(argument, '%');
	char *text = NULL;

	if (!percent)
		return strdup(argument);
	if (asprintf(&text, "%.*s%lu%s", (int)(percent - argument), argument, number, percent + 1) <
	    0)
		return NULL;
	return text;
}

static void read_all(int fd, char *text, size_t size)
{
	size_t at = 0;
	ssize_t n;

	while (at + 1 < size && (n = read(fd, text + at, size - 1 - at)) > 0)
		at += (size_t)n;
	text[at] = '\0';
}

static int spawn(char **argv, int out_fd, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	int r;

	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	(void)posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
	r = posix_spawnp(ret_pid, argv[0], &actions, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	return r;
}

static int run_once(const char *name, char **argv)
{
	uint64_t began_ns = now_ns(), first_ns;
	char text[256];
	int ends[2], status;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0 || spawn(argv, ends[1], &pid) != 0) {
		perror(argv[0]);
		return 1;
	}
	(void)close(ends[1]);
	read_all(ends[0], text, sizeof(text));
	(void)close(ends[0]);
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		(void)fprintf(stderr, "%s: status %#x\n", argv[0], (unsigned int)status);
		return 1;
	}
	first_ns = strtoull(text, NULL, 10);
	(void)printf("%s_to_end %llu\n", name, (unsigned long long)(now_ns() - began_ns));
	if (first_ns > began_ns)
		(void)printf("%s %llu\n", name, (unsigned long long)(first_ns - began_ns));
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long runs;
	char **arguments;

	if (argc < 4)
		return 2;
	runs = strtoul(argv[2], NULL, 10);
	arguments = calloc((size_t)argc, sizeof(*arguments));
	if (!arguments)
		return 1;
	for (unsigned long i = 0; i < runs; i++) {
		for (int j = 3; j < argc; j++)
			arguments[j - 3] = with_number(argv[j], i);
		if (run_once(argv[1], arguments) != 0)
			return 1;
		for (int j = 3; j < argc; j++)
			free(arguments[j - 3]);
	}
	free(arguments);
	return 0;
}
