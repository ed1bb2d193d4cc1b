#include "sandbox/slow_write.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/cleanup.h"
#include "sandbox/agent_link.h"
#include "sandbox/group_file.h"
#include "sandbox/reaper.h"
#include "sandbox/sandboxd.h"

#define UNDER_WAY_MAX 16
#define TIMEOUT_USEC  (10000ULL * 1000)
#define PORTION_BYTES (32ULL << 20) /* between two of them the child can be killed */

struct child {
	LIST_ENTRY(child) link;
	struct slow_writes *writes;
	struct asker asker;
	pid_t pid;
	int pidfd;
	sd_event_source *timer;
	char what[160];
};

struct slow_writes {
	struct sandboxd *host;
	LIST_HEAD(, child) children;
	size_t count;
};

static void child_free(struct child *child)
{
	LIST_REMOVE(child, link);
	child->writes->count--;
	if (child->pid > 0)
		reaper_forget(child->writes->host->reaper, child->pid, child);
	sd_event_source_disable_unref(child->timer);
	fd_close(&child->pidfd);
	free(child);
}

struct slow_writes *slow_writes_new(struct sandboxd *host)
{
	struct slow_writes *writes = calloc(1, sizeof(*writes));

	if (writes)
		writes->host = host;
	return writes;
}

void slow_writes_free(struct slow_writes *writes)
{
	if (!writes)
		return;
	while (!LIST_EMPTY(&writes->children)) {
		struct child *child = LIST_FIRST(&writes->children);

		(void)pidfd_send_signal(child->pidfd, SIGKILL, NULL, 0);
		child_free(child);
	}
	free(writes);
}

/* In the child: what there is to take back may be less than was asked for (EAGAIN). */
static int take_back(const struct slow_write *write)
{
	char value[32];
	int r = 0;

	for (uint64_t left = write->bytes; left > 0 && r == 0;) {
		uint64_t portion = left < PORTION_BYTES ? left : PORTION_BYTES;

		(void)snprintf(value, sizeof(value), "%" PRIu64, portion);
		r = group_file_write(write->dir_fd, write->file, value);
		left -= portion;
	}
	return r == -EAGAIN ? 0 : r;
}

static void answer(struct child *child, int error)
{
	struct agent_link *link = child->writes->host->link;
	Berth__Sandbox__V1__Reply done = BERTH__SANDBOX__V1__REPLY__INIT;
	struct err err = { 0 };

	if (error == 0) {
		agent_link_reply(link, child->asker, &done, NULL, 0);
		return;
	}
	(void)err_set(&err, error == ETIMEDOUT ? ERR_TIMEOUT : ERR_INTERNAL, error, "cannot %s: %s",
		      child->what,
		      error == ETIMEDOUT ? "the kernel was still at it after 10 s"
					 : strerror(error));
	agent_link_reply_failure(link, child->asker, &err);
}

static void on_end(pid_t pid, int code, int status, void *userdata)
{
	struct child *child = userdata;

	child->pid = 0; /* collected */
	answer(child, code == CLD_EXITED ? status : ETIMEDOUT);
	child_free(child);
}

/* It is told of when it has ended: until then its number is its own. */
static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct child *child = userdata;

	(void)pidfd_send_signal(child->pidfd, SIGKILL, NULL, 0);
	return 0;
}

static int watch(struct child *child, struct err *err)
{
	struct sandboxd *host = child->writes->host;
	int r;

	child->pidfd = pidfd_open(child->pid,
				  0); /* ours and not collected: the number is its own */
	if (child->pidfd < 0)
		return err_set(err, ERR_EXHAUSTED, errno, "cannot watch a child: %m");
	r = sd_event_add_time_relative(host->event, &child->timer, CLOCK_BOOTTIME, TIMEOUT_USEC, 0,
				       on_timeout, child);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot watch a child: %m");
	return reaper_watch(host->reaper, child->pid, on_end, child, err);
}

int slow_write_begin(struct slow_writes *writes, const struct slow_write *write, struct err *err)
{
	struct child *child;
	int r;

	if (writes->count >= UNDER_WAY_MAX)
		return err_set(err, ERR_EXHAUSTED, EAGAIN,
			       "cannot %s: %d such requests are under way", write->what,
			       UNDER_WAY_MAX);
	child = calloc(1, sizeof(*child));
	if (!child)
		return err_oom(err);
	*child = (struct child){ .writes = writes, .asker = write->asker, .pidfd = -1 };
	(void)snprintf(child->what, sizeof(child->what), "%s", write->what);
	LIST_INSERT_HEAD(&writes->children, child, link);
	writes->count++;
	child->pid = fork();
	if (child->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(-(write->value ? group_file_write(write->dir_fd, write->file, write->value)
				     : take_back(write)));
	}
	r = child->pid < 0 ? err_set(err, ERR_EXHAUSTED, errno, "cannot fork: %m")
			   : watch(child, err);
	if (r < 0) {
		if (child->pid > 0)
			reaper_kill_child(child->pid);
		child_free(child);
	}
	return r;
}
