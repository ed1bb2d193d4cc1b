#include "tests/escape/probe.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

char probe_found[4096];

void probe_find(const char *format, ...)
{
	size_t length = strlen(probe_found);
	va_list list;

	va_start(list, format);
	(void)vsnprintf(probe_found + length, sizeof(probe_found) - length, format, list);
	va_end(list);
}

char *probe_part(char **rest)
{
	return strsep(rest, ":");
}

static const struct probe *find(const char *argument)
{
	static const struct probe *const tables[] = { probe_calls, probe_looks, probe_bombs,
						      probe_races };
	size_t length = strcspn(argument, ":");

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		for (const struct probe *probe = tables[i]; probe->word; probe++)
			if (strlen(probe->word) == length &&
			    !strncmp(probe->word, argument, length))
				return probe;
	}
	return NULL;
}

static _Noreturn void attack(const struct probe *probe, const char *argument)
{
	const char *colon = strchr(argument, ':');
	long r = probe->attack(colon ? colon + 1 : "");
	const char *name = r >= 0 ? "OK" : strerrorname_np((int)-r);

	(void)printf("%s %s\n", argument, probe_found[0] ? probe_found : name ? name : "?");
	(void)fflush(stdout);
	_exit(0);
}

/* In a child: an attack that ends its process, or changes it, is no end of the others. */
static void try_one(const struct probe *probe, const char *argument)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		attack(probe, argument);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		(void)printf("%s cannot-fork\n", argument);
	else if (WIFSIGNALED(status))
		(void)printf("%s SIG%s\n", argument, sigabbrev_np(WTERMSIG(status)));
	(void)fflush(stdout);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const struct probe *probe = find(argv[i]);

		if (!probe) {
			(void)fprintf(stderr, "probe: there is no attack %s\n", argv[i]);
			return 2;
		}
		/* A bomb as the container's first process: the kernel's verdict is the workload's. */
		if (argc == 3 && !strcmp(argv[1], "alone") && i == 2)
			attack(probe, argv[i]);
		try_one(probe, argv[i]);
	}
	return 0;
}
