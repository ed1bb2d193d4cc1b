#include "sandbox/reaper.h"

#include <search.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct watch {
	pid_t pid;
	reaper_func *func;
	void *userdata;
};

struct reaper {
	void *by_pid; /* tsearch(3) */
	sd_event_source *sigchld;
};

static int compare(const void *a, const void *b)
{
	pid_t left = ((const struct watch *)a)->pid;
	pid_t right = ((const struct watch *)b)->pid;

	return left < right ? -1 : left > right;
}

static struct watch *find(struct reaper *reaper, pid_t pid)
{
	const struct watch key = { .pid = pid };
	struct watch **at = tfind(&key, &reaper->by_pid, compare);

	return at ? *at : NULL;
}

static void collect_one(struct reaper *reaper, pid_t pid)
{
	struct watch *watch = find(reaper, pid);
	siginfo_t end = { 0 };

	if (waitid(P_PID, (id_t)pid, &end, WEXITED | WNOHANG) < 0 || end.si_pid == 0)
		return;
	if (!watch)
		return; /* somebody's orphan, of no interest */
	(void)tdelete(watch, &reaper->by_pid, compare);
	watch->func(pid, end.si_code, end.si_status, watch->userdata);
	free(watch);
}

void reaper_collect(struct reaper *reaper)
{
	for (;;) {
		siginfo_t end = { 0 };

		if (waitid(P_ALL, 0, &end, WEXITED | WNOHANG | WNOWAIT) < 0 || end.si_pid == 0)
			return;
		collect_one(reaper, end.si_pid);
	}
}

static int on_sigchld(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	reaper_collect(userdata);
	return 0;
}

int reaper_new(sd_event *event, struct reaper **ret_reaper, struct err *err)
{
	cleanup(reaper_free_p) struct reaper *reaper = calloc(1, sizeof(*reaper));
	int r;

	if (!reaper)
		return err_oom(err);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		return err_set(err, ERR_UNSUPPORTED, errno, "cannot become a child subreaper: %m");
	r = sd_event_add_signal(event, &reaper->sigchld, SIGCHLD, on_sigchld, reaper);
	if (r < 0)
		return err_set(err, ERR_INTERNAL, -r, "cannot wait for SIGCHLD: %m");
	*ret_reaper = take_ptr(&reaper);
	return 0;
}

void reaper_free(struct reaper *reaper)
{
	if (!reaper)
		return;
	sd_event_source_unref(reaper->sigchld);
	tdestroy(reaper->by_pid, free);
	free(reaper);
}

int reaper_watch(struct reaper *reaper, pid_t pid, reaper_func *func, void *userdata,
		 struct err *err)
{
	struct watch *watch = find(reaper, pid);

	if (watch) {
		watch->func = func;
		watch->userdata = userdata;
		return 0;
	}
	watch = malloc(sizeof(*watch));
	if (!watch)
		return err_oom(err);
	*watch = (struct watch){ pid, func, userdata };
	if (!tsearch(watch, &reaper->by_pid, compare)) {
		free(watch);
		return err_oom(err);
	}
	return 0;
}

void reaper_forget(struct reaper *reaper, pid_t pid, const void *userdata)
{
	struct watch *watch = find(reaper, pid);

	if (!watch || watch->userdata != userdata)
		return;
	(void)tdelete(watch, &reaper->by_pid, compare);
	free(watch);
}

void reaper_kill_child(pid_t pid)
{
	cleanup_fd int pidfd = pidfd_open(pid, 0);
	siginfo_t end = { 0 };

	if (pidfd >= 0 && waitid(P_PIDFD, (id_t)pidfd, &end, WEXITED | WNOHANG | WNOWAIT) == 0)
		(void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
}
