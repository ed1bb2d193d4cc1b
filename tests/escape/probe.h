/*
 * The attacker's program: static, so that it runs in any root file system. Each argument is one attack, a
 * word or word:argument, tried in a process of its own; one line tells how it ended:
 *
 *	<argument> <OK, an errno's name, a signal's name, or what was found>
 */
#pragma once

#include <stddef.h>

struct probe {
	const char *word;
	/* Try it. Returns at least 0, or a negative errno; what it finds, if anything, goes to probe_find(). */
	long (*attack)(const char *argument);
};

/* What an attack has to say instead of "OK". */
extern char probe_found[4096];
void probe_find(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The tables: of probe_calls.c, probe_looks.c, probe_bombs.c, probe_races.c; each ends with an empty row. */
extern const struct probe probe_calls[];
extern const struct probe probe_looks[];
extern const struct probe probe_bombs[];
extern const struct probe probe_races[];

/* r of a system call as an attack's result. */
#define OUTCOME(r) ((r) < 0 ? -(long)errno : 0L)

/* Cut "a:b:c" at the next colon: the part that *@rest begins with, in place. NULL when there is no more. */
char *probe_part(char **rest);
