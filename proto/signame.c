#include "proto/signame.h"

#include <errno.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "proto/names.h"
#include "proto/quantity.h"

/* Numbers, not SIGRTMIN: that is a call, and what matters is what the workload's C library has. */
#define RT_FIRST    34
#define SIGNAL_LAST 64

/* What follows "RTMIN" or "RTMAX": nothing, or @sign and a number; → 0 to 30, or -1. */
static int parse_distance(const char *text, char sign)
{
	uint64_t distance;

	if (!*text)
		return 0;
	if (*text != sign ||
	    quantity_parse_decimal(text + 1, 0, SIGNAL_LAST - RT_FIRST, &distance, NULL) < 0)
		return -1;
	return (int)distance;
}

static int parse_realtime(const char *name)
{
	int distance;

	if (strncasecmp(name, "RTMIN", 5) == 0) {
		distance = parse_distance(name + 5, '+');
		return distance < 0 ? -1 : RT_FIRST + distance;
	}
	if (strncasecmp(name, "RTMAX", 5) == 0) {
		distance = parse_distance(name + 5, '-');
		return distance < 0 ? -1 : SIGNAL_LAST - distance;
	}
	return -1;
}

static int parse_name(const char *name)
{
	if (strncasecmp(name, "SIG", 3) == 0)
		name += 3;
	for (int signal = 1; signal < 32; signal++) {
		const char *known = sigabbrev_np(signal);

		if (known && strcasecmp(name, known) == 0)
			return signal;
	}
	return parse_realtime(name);
}

int signame_parse(const char *text, int *ret_signal, struct err *err)
{
	char quoted[NAME_QUOTED_MAX];
	uint64_t number;
	int signal;

	if (text && quantity_parse_decimal(text, 1, SIGNAL_LAST, &number, NULL) == 0)
		signal = (int)number;
	else
		signal = text ? parse_name(text) : -1;
	if (signal < 0)
		return err_set(
			err, ERR_INVALID, EINVAL,
			"%s is not a signal: a name as in signal(7), RTMIN+n, RTMAX-n, or a number from 1 to %d",
			names_quote(text, quoted), SIGNAL_LAST);
	*ret_signal = signal;
	return 0;
}

const char *signame_format(int signal, char buffer[static SIGNAME_MAX])
{
	const char *known = signal > 0 && signal < 32 ? sigabbrev_np(signal) : NULL;

	if (known)
		(void)snprintf(buffer, SIGNAME_MAX, "SIG%s", known);
	else if (signal == RT_FIRST)
		(void)snprintf(buffer, SIGNAME_MAX, "SIGRTMIN");
	else if (signal > RT_FIRST && signal <= SIGNAL_LAST)
		(void)snprintf(buffer, SIGNAME_MAX, "SIGRTMIN+%d", signal - RT_FIRST);
	else
		(void)snprintf(buffer, SIGNAME_MAX, "signal %d", signal);
	return buffer;
}
