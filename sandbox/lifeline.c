#include "sandbox/lifeline.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/descriptor_store.h"
#include "sandbox/monitor/estate.h"
#include "sandbox/sandboxd.h"

#ifndef PIPEFS_MAGIC
#define PIPEFS_MAGIC 0x50495045
#endif

void lifeline_init(struct lifeline *lifeline)
{
	*lifeline = (struct lifeline){ .attach_fd = -1 };
	for (size_t i = 0; i < ARRAY_SIZE(lifeline->fds); i++)
		lifeline->fds[i] = -1;
}

static void close_kept(struct lifeline *lifeline)
{
	for (size_t i = 0; i < ARRAY_SIZE(lifeline->fds); i++)
		fd_close(&lifeline->fds[i]);
}

void lifeline_done(struct lifeline *lifeline)
{
	close_kept(lifeline);
	fd_close(&lifeline->attach_fd);
}

/* systemd's copies */

/* The input has a name of its own, as it is forgotten alone: it ends while the container runs. */
static void store_name(const struct container *container, const char *what,
		       char name[static DESCRIPTOR_STORE_NAME_MAX])
{
	(void)snprintf(name, DESCRIPTOR_STORE_NAME_MAX, DESCRIPTOR_STORE_PREFIX "%s.%llu.%s.%u%s",
		       container->workload->id, (unsigned long long)container->workload->instance,
		       container->name, container->attempt, what);
}

static void store(struct container *container)
{
	struct lifeline *lifeline = &container->lifeline;
	char name[DESCRIPTOR_STORE_NAME_MAX];
	int fds[MONITOR_KEEP_COUNT + 1];
	size_t n = 0;

	if (!lifeline->is_stored && container->monitor.first_pidfd >= 0) {
		store_name(container, "", name);
		fds[n++] = container->monitor.first_pidfd;
		for (int kind = MONITOR_KEEP_STDOUT; kind < MONITOR_KEEP_COUNT; kind++)
			if (lifeline->fds[kind] >= 0)
				fds[n++] = lifeline->fds[kind];
		descriptor_store_put(name, fds, n);
		lifeline->is_stored = true;
	}
	if (lifeline->fds[MONITOR_KEEP_STDIN] >= 0 && !lifeline->is_stdin_stored) {
		store_name(container, ".stdin", name);
		descriptor_store_put(name, &lifeline->fds[MONITOR_KEEP_STDIN], 1);
		lifeline->is_stdin_stored = true;
	}
}

static void forget_stdin(struct container *container)
{
	char name[DESCRIPTOR_STORE_NAME_MAX];

	if (!container->lifeline.is_stdin_stored)
		return;
	store_name(container, ".stdin", name);
	descriptor_store_remove(name);
	container->lifeline.is_stdin_stored = false;
}

/* From the monitor */

void lifeline_take(struct container *container, const struct monitor_keep *keep, int *fds,
		   size_t n_fds)
{
	struct lifeline *lifeline = &container->lifeline;

	close_kept(lifeline);
	for (size_t i = 0; i < n_fds && i < keep->fd_count; i++) {
		uint32_t kind = keep->fds[i];

		if (kind > MONITOR_KEEP_NONE && kind < MONITOR_KEEP_COUNT &&
		    lifeline->fds[kind] < 0)
			lifeline->fds[kind] = take_fd(&fds[i]);
	}
	store(container);
	if (lifeline->fds[MONITOR_KEEP_STDIN] < 0)
		forget_stdin(container);
}

void lifeline_take_streams(struct container *container, int *fds, size_t n_fds)
{
	struct monitor_keep keep = { .fd_count = (uint32_t)n_fds,
				     .fds = { MONITOR_KEEP_STDOUT, MONITOR_KEEP_STDERR } };

	if (n_fds == 1 && isatty(fds[0]))
		keep.fds[0] = MONITOR_KEEP_TERMINAL;
	lifeline_take(container, &keep, fds, n_fds < 2 ? n_fds : 2);
}

void lifeline_keep_attachment(struct container *container, int fd)
{
	fd_close(&container->lifeline.attach_fd);
	container->lifeline.attach_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* After a restart */

static bool link_starts_with(int fd, const char *wanted)
{
	char path[48], target[128];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target) - 1);
	target[n > 0 ? n : 0] = '\0';
	return strncmp(target, wanted, strlen(wanted)) == 0;
}

/* "anon_inode:[pidfd]"; since Linux 6.9 they have a file system of their own. */
static bool is_pidfd(int fd)
{
	return link_starts_with(fd, "anon_inode:[pidfd]") || link_starts_with(fd, "pidfd:");
}

static bool is_pipe(int fd, uint64_t inode)
{
	struct statfs fs;
	struct stat st;

	return inode && fstat(fd, &st) == 0 && st.st_ino == inode && fstatfs(fd, &fs) == 0 &&
	       fs.f_type == PIPEFS_MAGIC;
}

static void take_stored(struct container *container, const struct container_page *page, int *fd)
{
	int *fds = container->lifeline.fds;
	int *place = NULL;

	if (is_pidfd(*fd))
		place = &container->monitor.first_pidfd;
	else if (is_pipe(*fd, page->stdout_inode))
		place = &fds[MONITOR_KEEP_STDOUT];
	else if (is_pipe(*fd, page->stderr_inode))
		place = &fds[MONITOR_KEEP_STDERR];
	else if (isatty(*fd))
		place = &fds[MONITOR_KEEP_TERMINAL];
	else if (link_starts_with(*fd, "anon_inode:seccomp"))
		place = &fds[MONITOR_KEEP_LISTENER];
	else if (link_starts_with(*fd, "/memfd:" ESTATE_NAME))
		place = &fds[MONITOR_KEEP_ESTATE];
	if (!place)
		return;
	fd_close(place);
	*place = take_fd(fd);
}

static void restore_stored(struct container *container, const struct container_page *page)
{
	int fds[DESCRIPTOR_STORE_FDS_MAX];
	char name[DESCRIPTOR_STORE_NAME_MAX];
	size_t n;

	store_name(container, "", name);
	n = descriptor_store_take(name, fds);
	container->lifeline.is_stored = n > 0;
	for (size_t i = 0; i < n; i++) {
		take_stored(container, page, &fds[i]);
		fd_close(&fds[i]);
	}
	store_name(container, ".stdin", name);
	n = descriptor_store_take(name, fds);
	container->lifeline.is_stdin_stored = n > 0;
	if (n > 0)
		container->lifeline.fds[MONITOR_KEEP_STDIN] = take_fd(&fds[0]);
	for (size_t i = 0; i < n; i++)
		fd_close(&fds[i]);
}

/*
 * Descriptor @number of the first process is the write end of the pipe whose inode the page has, unless the workload
 * has put something else there. What it is is looked at before it is opened: a name in /proc/PID/fd leads
 * wherever the process wants, and opening a fifo or a device of its may block or do something.
 */
static int reopen_pipe(pid_t pid, int number, uint64_t inode)
{
	char path[64];
	cleanup_fd int looked_fd = -1;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)pid, number);
	looked_fd = open(path, O_PATH | O_CLOEXEC);
	if (looked_fd < 0 || !is_pipe(looked_fd, inode))
		return -1;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", looked_fd);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return fd < 0 ? -1 : fd;
}

void lifeline_restore(struct container *container, const struct container_page *page)
{
	int *fds = container->lifeline.fds;

	restore_stored(container, page);
	if (container->settings.tty || container->monitor.first_pidfd < 0)
		return;
	if (fds[MONITOR_KEEP_STDOUT] < 0)
		fds[MONITOR_KEEP_STDOUT] = reopen_pipe(page->pid, STDOUT_FILENO,
						       page->stdout_inode);
	if (fds[MONITOR_KEEP_STDERR] < 0)
		fds[MONITOR_KEEP_STDERR] = reopen_pipe(page->pid, STDERR_FILENO,
						       page->stderr_inode);
}

bool lifeline_describe_loss(const struct container *container, char *text, size_t size)
{
	static const struct {
		enum monitor_keep_fd kind;
		bool of_terminal;
		bool of_pipes;
		const char *what;
	} parts[] = {
		{ MONITOR_KEEP_STDOUT, false, true, "standard output" },
		{ MONITOR_KEEP_STDERR, false, true, "standard error" },
		{ MONITOR_KEEP_TERMINAL, true, false, "its terminal" },
		{ MONITOR_KEEP_LISTENER, true, true,
		  "the names of denied system calls (ENOSYS from now on)" },
	};
	const bool tty = container->settings.tty;
	size_t used = 0;

	if (size == 0)
		return false;
	text[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(parts) && used < size; i++) {
		if (container->lifeline.fds[parts[i].kind] >= 0 ||
		    !(tty ? parts[i].of_terminal : parts[i].of_pipes) ||
		    (parts[i].kind == MONITOR_KEEP_LISTENER &&
		     container->settings.filter_source == FILTER_UNCONFINED))
			continue;
		used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
					 parts[i].what);
	}
	return used > 0;
}

void lifeline_end(struct container *container)
{
	char name[DESCRIPTOR_STORE_NAME_MAX];

	if (container->lifeline.is_stored) {
		store_name(container, "", name);
		descriptor_store_remove(name);
		container->lifeline.is_stored = false;
	}
	forget_stdin(container);
	lifeline_done(&container->lifeline);
}
