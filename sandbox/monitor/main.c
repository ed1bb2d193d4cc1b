/*
 * berth-monitor: what is left of a monitor after the launch, and the launcher that forks monitors. Started by no
 * one but the launch itself, which hands over its setup and descriptors (setup.h), and by berth-sandboxd.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/monitor/launcher.h"
#include "sandbox/monitor/setup.h"

static void say(const char *text, size_t length)
{
	(void)!write(STDERR_FILENO, text, length);
}

static void keep_to_ourselves(int fd)
{
	if (fd >= 0)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static bool is_launcher(void)
{
	struct stat st;

	return fstat(LAUNCHER_FD, &st) == 0 && S_ISSOCK(st.st_mode);
}

int main(int argc, char **argv)
{
	static const char usage[] =
		"berth-monitor is started by berth-sandboxd, one for each container; it does nothing by hand\n" MONITOR_MARK
		"\n";
	static struct monitor_setup setup;

	if (argc > 0 && is_launcher())
		return launcher_run(argv[0]);
	if (pread(MONITOR_SETUP_FD, &setup, sizeof(setup), 0) != (ssize_t)sizeof(setup) ||
	    setup.version != MONITOR_SETUP_VERSION) {
		say(usage, sizeof(usage) - 1);
		return 2;
	}
	(void)close(MONITOR_SETUP_FD);
	keep_to_ourselves(setup.control_fd);
	keep_to_ourselves(setup.page_fd);
	return monitor_run(&setup);
}
